"""Objects of a provider that its consumers read as their own: ClusterCachedResources, their endpoint slices, and virtual resources.

kcp 0.28 to 0.31 called them CachedResources: both kinds are served, by the same programs (`names.CachedKinds`).

Nothing is copied: where kcp has a cache server for its shards, a single server reads the objects where they are (`registry.projection`).
"""
