"""The store of several servers: an etcd cluster behind the `Store` interface, spoken to over gRPC."""
