"""APIs published from one workspace and bound in others: schemas, exports, bindings, and the catalog source that serves what is bound."""
