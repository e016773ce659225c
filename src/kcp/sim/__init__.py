"""A physical Kubernetes cluster, simulated: our own API server, small controllers that give workloads a life, and fault switches.

A product, not a test double: `kcp sandbox` and `kcp sim cluster` start it, demos, tests and benchmarks break it. A real kubeconfig can
take its place. `cluster.SimCluster` is the composition.
"""
