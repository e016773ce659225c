"""Command lines: `kcp`, `workload-syncer`, `kubectl-kcp`, `kubectl-workspaces` (`kubectl-ws`). Each parses, calls one room, and prints."""
