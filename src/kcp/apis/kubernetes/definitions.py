"""OpenAPI definitions of Kubernetes' types, from the data files of the `kubernetes-validate` package.

The file is held as bytes with an index of where each definition stands. A definition is parsed when somebody asks for it, and what was
parsed is the caller's: nothing is kept. `raw` gives it as the file has it (JSON Schema with nullable types, for `compile_schema`),
`published` in the OpenAPI v3 dialect of an API server.
Before: `registry.builtin` (schemas), `apiserver.openapi`, `compute`.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.meta import JSONObject

MINOR = 36
"""Kubernetes 1.36: what this server says it is; older definitions are taken where these are missing."""

COMPONENT_PREFIX = "#/components/schemas/"
_SOURCE_PREFIX = "#/$defs/"
_START = re.compile(rb'\n    "([A-Za-z0-9_.-]+)": \{')
_WITNESS = "io.k8s.api.core.v1.PodSpec"

INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"

_FREE_FORM = frozenset(
    {
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
        "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceSubresourceStatus",
    }
)
"""Types that hold any JSON: nothing below them is known, so nothing below them is unknown either."""


class Definitions:
    """Definitions by name, such as `io.k8s.api.apps.v1.Deployment`."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._extents: dict[str, tuple[int, int]] = {}
        self._index()

    def _index(self) -> None:
        """Find each definition by the file's indentation; a file laid out differently is rewritten in that layout first."""
        starts = [(found.group(1).decode(), found.end() - 1) for found in _START.finditer(self._raw)]
        if not any(name == _WITNESS for name, _ in starts):
            self._raw = orjson.dumps({"$defs": orjson.loads(self._raw)["$defs"]}, option=orjson.OPT_INDENT_2) + b"\n"
            starts = [(found.group(1).decode(), found.end() - 1) for found in _START.finditer(self._raw)]
        for name, start in starts:
            self._extents[name] = (start, self._raw.index(b"\n    }", start) + 6)

    def names(self) -> Iterator[str]:
        return iter(self._extents)

    def __contains__(self, name: str) -> bool:
        return name in self._extents

    def raw(self, name: str) -> JSONObject:
        """A fresh definition as the file has it. Raises KeyError."""
        start, end = self._extents[name]
        parsed: JSONObject = orjson.loads(self._raw[start:end])
        return parsed

    def published(self, name: str) -> JSONObject:
        """A fresh definition as kube-apiserver publishes it. Raises KeyError."""
        return _published(name, self.raw(name))

    def of_kind(self, gvk: GVK) -> str | None:
        """The name of a kind's definition."""
        return _kind_index(self).get(gvk)


@lru_cache(maxsize=2)
def _kind_index(definitions: Definitions) -> dict[GVK, str]:
    """Names by kind, read off the names themselves: parsing all definitions to find the few that are kinds would cost memory."""
    index: dict[GVK, str] = {}
    for name in definitions.names():
        package, version, kind = name.rsplit(".", 2)
        group = _GROUP_OF_PACKAGE.get(package)
        if group is not None:
            index.setdefault(GVK(group, version, kind), name)
    return index


_GROUP_OF_PACKAGE = {
    "io.k8s.api.core": "",
    "io.k8s.api.apps": "apps",
    "io.k8s.api.batch": "batch",
    "io.k8s.api.autoscaling": "autoscaling",
    "io.k8s.api.policy": "policy",
    "io.k8s.api.networking": "networking.k8s.io",
    "io.k8s.api.discovery": "discovery.k8s.io",
    "io.k8s.api.events": "events.k8s.io",
    "io.k8s.api.rbac": "rbac.authorization.k8s.io",
    "io.k8s.api.storage": "storage.k8s.io",
    "io.k8s.api.scheduling": "scheduling.k8s.io",
    "io.k8s.api.node": "node.k8s.io",
    "io.k8s.api.coordination": "coordination.k8s.io",
    "io.k8s.api.certificates": "certificates.k8s.io",
    "io.k8s.api.authentication": "authentication.k8s.io",
    "io.k8s.api.authorization": "authorization.k8s.io",
    "io.k8s.api.admissionregistration": "admissionregistration.k8s.io",
    "io.k8s.api.flowcontrol": "flowcontrol.apiserver.k8s.io",
    "io.k8s.api.resource": "resource.k8s.io",
    "io.k8s.kube-aggregator.pkg.apis.apiregistration": "apiregistration.k8s.io",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions": "apiextensions.k8s.io",
    "io.k8s.apimachinery.pkg.apis.meta": "meta.k8s.io",
}


@lru_cache(maxsize=1)
def load() -> Definitions:
    """The definitions of Kubernetes 1.36, or of the newest older minor that is installed."""
    # The package is found, not imported: importing it would load a JSON Schema validator that nothing here uses.
    spec = importlib.util.find_spec("kubernetes_validate")
    for place in (spec.submodule_search_locations if spec else None) or ():
        for minor in range(MINOR, 20, -1):
            file = Path(place) / "kubernetes-json-schema" / f"v1.{minor}.0-local" / "_definitions.json"
            if file.is_file():
                return Definitions(file.read_bytes())
    raise FileNotFoundError("no Kubernetes definitions found: install the package kubernetes-validate>=1.36")


def _published(name: str, definition: JSONObject) -> JSONObject:
    """JSON Schema with nullable types to OpenAPI v3 as kube-apiserver publishes it."""
    if name == INT_OR_STRING:
        kept = {"x-kubernetes-int-or-string": True, "format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
        return {"description": definition.get("description", ""), **kept}
    if name == QUANTITY:
        return {"description": definition.get("description", ""), "oneOf": [{"type": "string"}, {"type": "number"}]}
    made: JSONObject = _plain(definition)
    if name in _FREE_FORM and ".JSON" in name:
        made.pop("type", None)
    for field in ("apiVersion", "kind"):
        made.get("properties", {}).get(field, {}).pop("enum", None)
    return made


def _plain(node: Any) -> Any:
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    made: JSONObject = {}
    for key, value in node.items():
        if key == "type" and isinstance(value, list):
            made[key] = next((kind for kind in value if kind != "null"), "object")
        elif key == "$ref" and isinstance(value, str):
            reference = {"$ref": COMPONENT_PREFIX + value.removeprefix(_SOURCE_PREFIX)}
            made |= reference if len(node) == 1 else {"allOf": [reference]}  # v3.0 ignores whatever stands beside a $ref
        else:
            made[key] = _plain(value) if isinstance(value, (dict, list)) else value
    return made
