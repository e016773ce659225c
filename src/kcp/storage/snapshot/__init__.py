"""Snapshots: everything that a store holds at one revision, in one file, and stores made from such files."""
