"""Every built-in kind has a message; each message has the fields of its OpenAPI definition; any object survives the way there and back.

The objects come from the definitions of `kubernetes-validate`, which know nothing of protobuf: which structs are embedded, which names
differ and which types look different in JSON must come out right by itself.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kcp.apimachinery.gvk import GVK
from kcp.apis.kubernetes import definitions, protobuf
from kcp.apis.kubernetes.kinds import KINDS
from kcp.apiserver.protobuf.envelope import decode, encode, has_message
from kcp.apiserver.protobuf.structs import Struct
from kcp.apiserver.protobuf.types import types

META = "io.k8s.apimachinery.pkg.apis.meta.v1"
CRD = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"
KIND_FIELDS = {"apiVersion", "kind"}
"""Of an object with a kind these are in the envelope, or nowhere if it is part of another object."""
MOST_NESTING = 14
ANSWERED = (
    GVK("autoscaling", "v1", "Scale"),
    GVK("policy", "v1", "Eviction"),
    GVK("", "v1", "Binding"),
    GVK("authentication.k8s.io", "v1", "TokenRequest"),
    GVK("meta.k8s.io", "v1", "DeleteOptions"),
    GVK("", "v1", "DeleteOptions"),
    GVK("", "v1", "Status"),
    GVK("meta.k8s.io", "v1", "PartialObjectMetadata"),
    GVK("meta.k8s.io", "v1beta1", "PartialObjectMetadataList"),
)
WITH_DEFINITIONS = tuple(kind.gvk for kind in KINDS) + ANSWERED[:4]


@pytest.mark.parametrize("gvk", [*(kind.gvk for kind in KINDS), *ANSWERED], ids=str)
def test_a_kind_that_is_served_has_a_message(gvk: GVK) -> None:
    assert has_message(gvk.api_version, gvk.kind)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "list" in kind.verbs], ids=lambda k: str(k.gvk))
def test_a_kind_that_is_listed_has_a_message_for_lists(kind: Any) -> None:
    assert has_message(kind.gvk.api_version, f"{kind.kind}List")


def test_messages_are_of_the_minor_version_that_this_server_says_it_is() -> None:
    assert {source.rpartition("@")[2].rpartition(".")[0] for source in protobuf.load().source} == {f"v0.{definitions.MINOR}"}


# --- fields ---


def _messages() -> Iterator[Descriptor]:
    """Every message that can be part of a kind that is served."""
    held, seen = types(), set[str]()
    names = [held.message_of(gvk.api_version, gvk.kind) for gvk in WITH_DEFINITIONS]
    waiting = [held.descriptor(name) for name in names if name is not None]
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name in seen:
            continue
        seen.add(descriptor.full_name)
        waiting += [field.message_type for field in descriptor.fields if field.message_type is not None]
        if not descriptor.GetOptions().map_entry:
            yield descriptor


def test_fields_are_those_of_the_definition() -> None:
    held, checked = definitions.load(), 0
    for descriptor in _messages():
        converter = types().converter(descriptor)
        name = "io." + descriptor.full_name.replace("k8s.io", "k8s", 1).replace("apiextensions_apiserver", "apiextensions-apiserver")
        if not isinstance(converter, Struct) or name not in held:
            continue
        wanted = set(held.raw(name).get("properties", {}))
        assert set(converter.puts()) - KIND_FIELDS == wanted - KIND_FIELDS, descriptor.full_name
        checked += 1
    assert checked > 300


# --- there and back ---


@cache
def _definition(name: str) -> dict[str, Any]:
    return definitions.load().raw(name)


class Sampler:
    """Objects of a schema; never with a zero value, which counts as absent in some places."""

    def __init__(self, draws: random.Random, likelihood: float) -> None:
        self._draws = draws
        self._likelihood = likelihood
        """Of a field that is not required."""

    def object(self, gvk: GVK) -> dict[str, Any]:
        name = definitions.load().of_kind(gvk)
        assert name is not None, gvk
        made = {"metadata": {"name": "a"}, **self._of(_definition(name), 0)}
        if made["metadata"] == {}:
            del made["metadata"]
        return {**made, "apiVersion": gvk.api_version, "kind": gvk.kind}

    def _of(self, schema: dict[str, Any], depth: int) -> Any:
        if reference := schema.get("$ref"):
            name = reference.removeprefix("#/$defs/")
            special = _SPECIAL.get(name)
            return special(self, depth) if special is not None else self._of(_definition(name), depth)
        kind = schema.get("type", "object")
        kind = next(each for each in kind if each != "null") if isinstance(kind, list) else kind
        if kind == "object":
            return self._mapping(schema, depth)
        if kind == "array":
            return [self._of(schema["items"], depth + 1) for _ in range(self._draws.randint(1, 2))]
        return self._scalar(kind, schema)

    def _mapping(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        if values := schema.get("additionalProperties"):
            return {key: self._of(values, depth + 1) for key in self._draws.sample(["a", "b/c", "ü"], 2)}
        required = schema.get("required", ())
        made = {}
        for key, inner in schema.get("properties", {}).items():
            if key in KIND_FIELDS and ("enum" in inner or "metadata" in schema["properties"]):
                continue
            if key in required or (depth < MOST_NESTING and self._draws.random() < self._likelihood):
                value = self._of(inner, depth + 1)
                if value != {} or key in required or "$ref" not in inner:
                    made[key] = value
        return made

    def _scalar(self, kind: str, schema: dict[str, Any]) -> Any:
        if kind == "boolean":
            return True
        if kind == "integer":
            return self._draws.choice([1, -1, 2**31 - 1] if schema.get("format") == "int32" else [1, 2**53, -(2**62)])
        if kind == "number":
            return self._draws.choice([1, 2.5, -1e300])
        if schema.get("format") == "byte":
            return base64.b64encode(self._draws.randbytes(self._draws.randint(1, 4))).decode()
        return self._draws.choice(schema.get("enum") or ["a", "ünï \n", "0"])

    def json(self, depth: int) -> Any:
        return self._draws.choice([{"a": [1, None, {"b": 2.5}]}, {"f:a": {".": {}}}])

    def any_json(self, depth: int) -> Any:
        return self._draws.choice([0, "", False, [], {}, {"a": None}, [1]])

    def pick(self, *choices: Any) -> Any:
        return self._draws.choice(choices)

    def schema(self, depth: int) -> Any:
        return self._of({"$ref": f"#/$defs/{CRD}.JSONSchemaProps"}, depth + 4)


_SPECIAL: dict[str, Callable[[Sampler, int], Any]] = {
    f"{META}.Time": lambda s, _: s.pick("2026-01-02T03:04:05Z", "1970-01-01T00:00:00Z"),
    f"{META}.MicroTime": lambda s, _: s.pick("2026-01-02T03:04:05.000006Z", "1970-01-01T00:00:00.000000Z"),
    f"{META}.FieldsV1": Sampler.json,
    "io.k8s.apimachinery.pkg.api.resource.Quantity": lambda s, _: s.pick("1", "100m", "1Gi", "-0.5"),
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": lambda s, _: s.pick(0, 8080, "", "http", "25%"),
    "io.k8s.apimachinery.pkg.runtime.RawExtension": Sampler.json,
    f"{CRD}.JSON": Sampler.any_json,
    f"{CRD}.JSONSchemaPropsOrArray": lambda s, depth: s.pick(s.schema(depth), [s.schema(depth)]),
    f"{CRD}.JSONSchemaPropsOrBool": lambda s, depth: s.pick(s.schema(depth), True, False),
    f"{CRD}.JSONSchemaPropsOrStringArray": lambda s, depth: s.pick(s.schema(depth), ["a", "b"]),
}


@pytest.mark.parametrize("gvk", WITH_DEFINITIONS, ids=str)
def test_a_full_object_of_a_kind_survives(gvk: GVK) -> None:
    obj = Sampler(random.Random(7), likelihood=0.7 if gvk.kind == "CustomResourceDefinition" else 1.0).object(gvk)
    assert decode(encode(obj)) == obj


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(WITH_DEFINITIONS), st.integers(0, 2**32), st.sampled_from([0.1, 0.3, 0.5]))
def test_any_object_survives(gvk: GVK, seed: int, likelihood: float) -> None:
    obj = Sampler(random.Random(seed), likelihood).object(gvk)
    shown = decode(encode(obj))
    assert decode(encode(shown)) == shown, "a second time changes nothing"
    assert _without_empty(shown) == _without_empty(obj)


def _without_empty(value: Any) -> Any:
    """An empty struct that is no pointer is not seen in protobuf."""
    if isinstance(value, list):
        return [_without_empty(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    shown = {key: _without_empty(inner) for key, inner in value.items()}
    return {key: inner for key, inner in shown.items() if inner != {} and inner != []}
