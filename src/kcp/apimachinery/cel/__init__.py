"""Kubernetes' CEL: expressions compiled once against declared types, evaluated within a cost limit.

    text → `parser` (with `lexer`, `macros`) → `checker` (types, overloads) → `estimate` (cost ahead of time) → `plan` (closures)

`program.compile_expression` is the way in; `rules` and `rulecheck` are x-kubernetes-validations. Nothing here is imported before the first
expression is compiled. Before: `registry.writes`, `apis.kubernetes`, `apiserver.admission`. Why the language is implemented here rather
than bound from a library: `docs/adr/0009-cel.md`.
"""
