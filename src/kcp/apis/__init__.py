"""The kinds this server knows: Kubernetes' own (`kubernetes/`) and ours (one folder per API group), as data and pure functions.

Nothing here serves, stores or watches; `registry` turns these descriptions into resources.
"""
