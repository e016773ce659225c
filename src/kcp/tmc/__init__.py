"""Transparent Multi-Cluster: placement, syncing, aggregation and health over many physical clusters.

A detachable top layer: nothing below imports it, and `kcp start` without `--enable-tmc` loads none of it.
"""
