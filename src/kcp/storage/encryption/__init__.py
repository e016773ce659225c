"""Encryption at rest: what of each resource is sealed before a store sees it, and opened before anybody else does."""
