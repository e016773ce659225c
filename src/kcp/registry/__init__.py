"""Generic REST over a Store: which resource is served here (catalog), and create, read, update, delete, watch of its objects.

Before: `apiserver` and `virtual`. After: `storage`.
"""
