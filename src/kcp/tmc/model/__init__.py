"""Names and values that placement, syncer, view and aggregation share. Pure."""
