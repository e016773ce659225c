"""AggregatedViews: the objects of a workspace as one, over all clusters that run them."""
