"""Kubernetes' protobuf wire format for built-in kinds; imported by `body`, `negotiate` and `handlers.watch` when a client speaks it."""
