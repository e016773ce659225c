"""An update of the status of a custom resource concerns the status alone: only that gets defaults, only that is held against the schema.

Before: `writes`. Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource/{status_strategy.go,validator.go}.
"""

from __future__ import annotations

from dataclasses import replace

from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.schema.structural import Schema


def default_status(schema: Schema, obj: JSONObject) -> None:
    """Fill in the defaults of `obj.status`; the rest is as it is stored, whatever defaults its schema has got since."""
    alone = {"status": obj["status"]} if "status" in obj else {}
    schema.default(alone)
    if "status" in alone:
        obj["status"] = alone["status"]


def status_faults(schema: Schema, new: JSONObject, old: JSONObject) -> list[Cause]:
    """The texts name fields as seen from the status, as upstream's do: its schema is one of its own there."""
    node = schema.child("status")
    if node is None or "status" not in new:
        return []
    held = new["status"]
    found = node.validate_update(held, old["status"]) if "status" in old else node.validate(held)
    return [replace(cause, field=_below_status(cause.field)) for cause in found]


def _below_status(path: str) -> str:
    if path in ("", "<nil>"):
        return "status"
    return f"status{path}" if path.startswith("[") else f"status.{path}"
