"""What shards share, at the URL of kcp's cache server."""
