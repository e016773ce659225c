"""Virtual workspaces: views of stored objects under `/services/…`, transformed on the way out and in.

The framework is resolve → authorize → transform → serve. What a view shows is defined above (`tmc.view`) or beside it.
"""
