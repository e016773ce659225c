"""Clients of a Kubernetes API: over HTTPS or in the same process, with the same methods, errors and watches.

Before: controllers, TMC, CLI. After: a server, here or elsewhere.
"""
