"""Controllers of a simulated cluster, one file each: what the controller manager, the scheduler and the kubelets of a real cluster do.

Each observes through informers, decides with a pure function and commits only differences.
Before: `sim.cluster`, which starts them. After: the cluster's own API server.
"""
