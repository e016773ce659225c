"""The virtual workspaces of TMC: what a syncer sees of the control plane."""
