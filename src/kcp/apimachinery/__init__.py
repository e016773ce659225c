"""Pure Kubernetes API machinery: objects, identities, errors, selectors, patches, apply, schemas.

Nothing here waits, reads a clock or touches the outside; every function maps values to values.
"""
