"""kcp with Transparent Multi-Cluster: one Kubernetes-compatible control plane over many clusters."""

__version__ = "0.12.0.dev0"
