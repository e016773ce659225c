"""The definitions of Kubernetes' own kinds, from the data of the `kubernetes-validate` distribution.

Before: the catalog of built-in kinds, the OpenAPI endpoint, CRD-like schemas that refer to built-in types.
After: a JSON file of 1.6 MB that is read once, when first needed, and kept as bytes per definition: parsed as a whole it would cost
ten times its size in memory.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import orjson

from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.schema.compile import compile_schema
from kcp.apimachinery.schema.node import Schema

KUBERNETES_VERSION = "v1.36.0"
_DATA = Path("kubernetes-json-schema", f"{KUBERNETES_VERSION}-local", "_definitions.json")


@cache
def _encoded() -> dict[str, bytes]:
    spec = find_spec("kubernetes_validate")
    if spec is None or not spec.submodule_search_locations:
        raise LookupError("the distribution kubernetes-validate, which holds the built-in schemas, is not installed")
    document = orjson.loads(Path(spec.submodule_search_locations[0], _DATA).read_bytes())
    return {name: orjson.dumps(definition) for name, definition in document["$defs"].items()}


def definition_names() -> frozenset[str]:
    """Names such as `io.k8s.api.core.v1.PodSpec`."""
    return frozenset(_encoded())


def definition(name: str) -> JSONObject:
    """One definition as published, descriptions included. The caller owns the result.

    Raises: LookupError for an unknown name.
    """
    encoded = _encoded().get(name)
    if encoded is None:
        raise LookupError(f"Kubernetes {KUBERNETES_VERSION} has no definition {name}")
    parsed: JSONObject = orjson.loads(encoded)
    return parsed


@lru_cache(maxsize=256)
def builtin_schema(name: str) -> Schema:
    """The compiled schema of one built-in kind, such as `io.k8s.api.apps.v1.Deployment`."""
    return compile_schema(definition(name), resolve=definition)
