"""The syncer: one process per physical cluster. Spec down, status up, nothing kept in memory that a restart would miss.

A separate program with two clients: it imports neither the server nor the other rooms of TMC.
"""
