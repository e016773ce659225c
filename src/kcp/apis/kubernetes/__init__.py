"""Kubernetes' own kinds: names, schemas, printer columns, defaults and rules.

`kinds` is the table, `definitions` holds the schemas, `rules` joins defaults and validation by GVK, `columns` prints, `compute` writes the
APIResourceSchemas of the compute export.
"""
