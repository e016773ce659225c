"""Which APIs the physical clusters have, and whether they are those that workspaces mean: imports, comparison, negotiation."""
