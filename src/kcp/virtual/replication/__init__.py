"""`/services/replication/<cluster>/<endpoint slice>/clusters/…`: what a ClusterCachedResource lets consumers read."""
