"""The controllers every Kubernetes API needs: namespace deletion, garbage collection, CRDs, quota, service accounts, roles, events.

Each works for a server without workspaces (cluster "") and, with wildcard informers, for all workspaces of a kcp server at once.
Before: `server.compose` and simulated clusters. After: `controller`.
"""
