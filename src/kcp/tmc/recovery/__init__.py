"""Recovery: what has failed is mended by strategies that act, one `Recovery` object for each time; all state is in the objects."""
