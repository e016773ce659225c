"""ResourceProjections: copies of objects on further clusters, changed on the way."""
