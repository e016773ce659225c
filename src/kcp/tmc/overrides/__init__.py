"""OverridePolicies: how copies differ from their object, cluster by cluster."""
