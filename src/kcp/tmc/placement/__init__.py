"""Which clusters run what: the pure decision, and the controllers that carry it from a Placement to namespaces and objects."""
