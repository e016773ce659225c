"""Is each physical cluster there? Heartbeats, readiness and what Locations count."""
