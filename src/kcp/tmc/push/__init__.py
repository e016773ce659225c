"""Push mode: the server itself runs the syncer of a SyncTarget that carries a kubeconfig. The same engine, another place."""
