"""Migration of a workload from one cluster to another: live, by snapshot, or halted and resumed; checked before and after, and undone."""
