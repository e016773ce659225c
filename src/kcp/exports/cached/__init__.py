"""Objects of a provider that its consumers read as their own: ClusterCachedResources, their endpoint slices, and virtual resources.

Nothing is copied: where kcp has a cache server for its shards, a single server reads the objects where they are (`registry.projection`).
"""
