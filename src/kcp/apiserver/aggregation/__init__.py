"""Aggregation: APIs that another server serves behind this one, as APIServices name them.

    apis       which group versions are elsewhere, where that is, what is served there
    filter     requests for them, sent on under their users' names

Source: k8s.io/kube-aggregator.
"""
