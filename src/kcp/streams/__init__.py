"""What flows over an upgraded connection: bytes both ways, WebSocket messages, SPDY streams. No HTTP and no Kubernetes in it.

Before: `apiserver.upgrades` (the server's side), `client.upgrade` (the client's), `sim`, `tmc.tunnel`. After: nothing.
"""
