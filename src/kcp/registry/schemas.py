"""Schemas of custom resources, held once however many workspaces have them.

A CRD or an APIResourceSchema gives a `HeldSchema`: the encoded OpenAPI text, and its compiled form from the first use on. Two with equal
text are the same object, so a CRD installed in a thousand workspaces is compiled once.
Before: `crd`. After: `apimachinery.schema`, `apimachinery.cel`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import orjson

from kcp.apimachinery.meta import JSONObject, encode
from kcp.apimachinery.schema.structural import Schema, compile_schema

if TYPE_CHECKING:
    from kcp.apimachinery.cel.rules import RuleNode

_RULES = b'"x-kubernetes-validations"'


class HeldSchema:
    """One OpenAPI v3 schema of a whole kind."""

    __slots__ = ("__weakref__", "_compiled", "_has_rules", "_rules", "_text", "digest")

    def __init__(self, text: bytes, digest: str) -> None:
        self._text = text
        self._compiled: Schema | None = None
        self._has_rules = _RULES in text
        self._rules: RuleNode | None = None
        self.digest = digest
        """Hex; equal for equal text."""

    def openapi(self) -> JSONObject:
        """A fresh copy of the schema, the caller's to change."""
        parsed: JSONObject = orjson.loads(self._text)
        return parsed

    def compiled(self) -> Schema | None:
        """None where the schema says nothing: everything is kept."""
        if self._compiled is None:
            self._compiled = compile_schema(self.openapi())
        return self._compiled

    def rules(self) -> RuleNode | None:
        """The rules in it, compiled on first use; None if there are none."""
        if self._rules is None and self._has_rules:
            from kcp.apimachinery.cel.rules import compile_rules

            compiled = self.compiled()
            self._rules = compile_rules(compiled) if compiled is not None else None
            self._has_rules = self._rules is not None
        return self._rules


_held: WeakValueDictionary[str, HeldSchema] = WeakValueDictionary()


def hold(openapi: JSONObject) -> HeldSchema:
    """The one holder of this schema."""
    text = orjson.dumps(openapi)
    digest = hashlib.sha256(text).hexdigest()
    found = _held.get(digest)
    if found is None:
        found = _held[digest] = HeldSchema(encode(openapi), digest)
    return found
