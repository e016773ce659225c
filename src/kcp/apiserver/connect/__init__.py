"""Subresources that are connections: what is asked of them, how a request becomes one, and what is spoken over it.

Before: `sim.dialing`, `tmc.tunnel`, `tenancy.mountproxy`. After: `kcp.streams`.
"""
