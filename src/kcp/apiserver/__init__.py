"""The HTTP side of a Kubernetes API server: parsing, filters, authentication, authorization, handlers, discovery, OpenAPI.

Knows nothing of workspaces or TMC: what a URL's cluster means and which resources exist are asked through Protocols.
Before: the ASGI server. After: `registry`.
"""
