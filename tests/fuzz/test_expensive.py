"""Input that is within every limit on its size and still meant to cost much: each ends with an answer, within a second of processor time.

Aspects: selectors, lists, patches of all four kinds, apply and managedFields, CRD schemas and their rules, policies, patterns, YAML.
Every request is held to the promise in `target.Answer.check`.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from tests.fuzz import target
from tests.fuzz.target import Answer, Target

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
JSON_PATCH, STRATEGIC, APPLY = "application/json-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Target]:
    with target.simulated() as running:
        running.check("POST", MAPS, config_map("small", {"a": "b"}))
        yield running


def config_map(name: str, data: Any, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": data}


def patch(cluster: Target, body: object, media: str, path: str = f"{MAPS}/small", query: str = "") -> Answer:
    return cluster.check("PATCH", f"{path}{query}", body, {"content-type": media})


def crd(schema: dict[str, Any], **version: Any) -> dict[str, Any]:
    names = {"plural": "dears", "kind": "Dear", "listKind": "DearList", "singular": "dear"}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **version}]
    spec = {"group": "example.io", "scope": "Namespaced", "names": names, "versions": versions}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "dears.example.io"},
        "spec": spec,
    }


def causes(answer: Answer) -> list[str]:
    return [cause["message"] for cause in answer.body["details"]["causes"]]


# --- reads ---


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=9223372036854775807", 200),
        ("labelSelector=" + quote(",".join(f"k{n}!=v" for n in range(10_000))), None),
        ("labelSelector=" + quote("a in (" + ",".join(f"v{n}" for n in range(50_000)) + ")"), None),
        ("labelSelector=" + quote("(" * 100_000), 400),
        ("fieldSelector=" + quote(",".join("metadata.name!=x" for _ in range(10_000))), None),
        ("continue=" + "A" * 500_000, 400),
        ("&".join(f"a{n}=b" for n in range(100_000)), 200),
    ],
)
def test_a_dear_query(cluster: Target, query: str, status: int | None) -> None:
    answer = cluster.check("GET", f"{MAPS}?{query}")
    assert answer.status == status or (status is None and answer.status in (200, 400))


def test_an_accept_header_of_half_a_megabyte(cluster: Target) -> None:
    accept = ",".join(f"application/json;as=Table;v=v{n + 2};g=meta.k8s.io" for n in range(10_000))
    assert cluster.check("GET", MAPS, headers={"accept": accept}).status == 406


# --- patches ---


def test_more_operations_than_upstream_takes(cluster: Target) -> None:
    answer = patch(cluster, [{"op": "test", "path": "/data/a", "value": "b"}] * 10_001, JSON_PATCH)
    assert answer.status == 413
    assert answer.body["message"] == "The allowed maximum operations in a JSON patch is 10000, got 10001"


def test_a_patch_that_copies_itself_larger_and_larger(cluster: Target) -> None:
    """Source: apiserver/pkg/server/config.go (JSONPatchMaxCopyBytes)."""
    operations = [{"op": "copy", "from": "/data", "path": f"/data/x{n}"} for n in range(60)]
    assert patch(cluster, operations, JSON_PATCH).status == 422


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "add", "path": "/data/l", "value": [0] * 200_000}, *[{"op": "add", "path": "/data/l/0", "value": 1}] * 9_000],
        [{"op": "add", "path": "/data/l", "value": [0] * 200_000}, *[{"op": "move", "from": "/data/l/0", "path": "/data/l/-"}] * 9_000],
        [{"op": "add", "path": "/data/l", "value": list(range(100_000))}, *[{"op": "copy", "from": "/data/l", "path": "/data/m"}] * 9_000],
        [{"op": "add", "path": "/data/l", "value": list(range(100_000))}, *[{"op": "test", "path": "/data/l", "value": [0]}] * 9_000],
        [{"op": "move", "from": "/data/a", "path": "/" + "/".join("a" * 20_000)}] * 50,
        [{"op": "add", "path": "/data" + "/x" * n, "value": {}} for n in range(2_000)],
    ],
    ids=["insert", "rotate", "copy", "test", "long path", "deep"],
)
def test_a_patch_of_dear_operations(cluster: Target, operations: list[Any]) -> None:
    assert patch(cluster, operations, JSON_PATCH).status in (200, 413, 422)


@pytest.mark.parametrize("count", [2_000, 20_000])
def test_a_strategic_merge_of_a_list_without_end(cluster: Target, count: int) -> None:
    cluster.check(
        "POST", PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    )
    items = [{"name": f"c{n}", "image": "i"} for n in range(count)]
    order = [{"name": f"c{n}"} for n in reversed(range(count))]
    answer = patch(cluster, {"spec": {"containers": items, "$setElementOrder/containers": order}}, STRATEGIC, f"{PODS}/p")
    assert answer.status in (413, 422)


def test_a_strategic_merge_that_deletes_what_is_not_there(cluster: Target) -> None:
    answer = patch(cluster, {"metadata": {"$deleteFromPrimitiveList/finalizers": [f"a/{n}" for n in range(50_000)]}}, STRATEGIC)
    assert answer.status == 200


# --- apply and managed fields ---


def test_applies_of_objects_as_large_as_can_be(cluster: Target) -> None:
    large = config_map("large", {f"k{n}": "v" * 5 for n in range(60_000)})
    for manager in ("a", "b"):
        assert patch(cluster, large, APPLY, f"{MAPS}/large", f"?fieldManager={manager}").status in (200, 201, 413, 422)
    wide = config_map("wide", {f"k{n}": "v" * 20_000 for n in range(60)})
    assert patch(cluster, wide, APPLY, f"{MAPS}/wide", "?fieldManager=a").status in (201, 413, 422)


def test_an_apply_of_a_list_whose_keys_repeat(cluster: Target) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "q"},
        "spec": {"containers": [{"name": f"c{n % 5000}", "image": "i"} for n in range(20_000)]},
    }
    assert patch(cluster, pod, APPLY, f"{PODS}/q", "?fieldManager=a").status in (400, 422, 500 - 87)


def test_managed_fields_of_thousands_of_managers(cluster: Target) -> None:
    entry = {
        "operation": "Update",
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {f"f:k{n}": {} for n in range(20)}},
    }
    entries = [{**entry, "manager": f"m{n}", "time": "2026-01-01T00:00:00Z"} for n in range(3_000)]
    assert cluster.check("POST", MAPS, config_map("managed", {"a": "b"}, managedFields=entries)).status in (201, 413, 422)


def test_an_object_is_bounded_in_metadata(cluster: Target) -> None:
    for metadata in ({"labels": {f"l{n}": "v" for n in range(30_000)}}, {"finalizers": [f"a/{n}" for n in range(30_000)]},
                     {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": f"n{n}", "uid": f"u{n}"} for n in range(10_000)]},
                     {"annotations": {f"a{n}": "v" * 100 for n in range(10_000)}}):  # fmt: skip
        assert cluster.check("POST", MAPS, config_map("meta", {}, **metadata), {}).status in (201, 409, 413, 422)


# --- schemas ---


def nested(depth: int, wrap: Any) -> dict[str, Any]:
    held: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        held = wrap(held)
    return {"type": "object", "properties": {"spec": held}}


@pytest.mark.parametrize(
    "schema",
    [
        {
            "type": "object",
            "properties": {f"p{n}": {"type": "string", "description": "x" * 60, "pattern": f"^a{n}$"} for n in range(8_000)},
        },
        nested(150, lambda held: {"type": "object", "properties": {"a": held}}),
        nested(400, lambda held: {"type": "array", "items": held}),
        nested(200, lambda held: {"type": "object", "allOf": [{"anyOf": [{"oneOf": [{"not": {}}]}]}], "properties": {"a": held}}),
        {"type": "object", "properties": {"spec": {"type": "string", "enum": [f"e{n}" for n in range(60_000)]}}},
        {"type": "object", "properties": {"spec": {"type": "string", "pattern": "(((a{1,100}){1,100}){1,100}){1,100}"}}},
        {"type": "object", "properties": {"spec": {"type": "object", "required": [f"r{n}" for n in range(60_000)]}}},
        {"type": "object", "properties": {"spec": {"type": "object", "allOf": [{"required": ["a"]}] * 30_000}}},
    ],
    ids=["a megabyte", "deep objects", "deep lists", "junctors", "enum", "pattern", "required", "allOf"],
)
def test_a_schema_that_is_large_or_deep(cluster: Target, schema: dict[str, Any]) -> None:
    answer = cluster.check("POST", f"{CRDS}?dryRun=All", crd(schema))
    assert answer.status in (201, 400, 413, 422)


def ruled(rule: str, **spec: Any) -> dict[str, Any]:
    held = {"type": "object", "properties": {"l": {"type": "array", "items": {"type": "string"}}, "s": {"type": "string"}}, **spec}
    return crd({"type": "object", "properties": {"spec": {**held, "x-kubernetes-validations": [{"rule": rule}]}}})


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ("self.l.all(a, self.l.all(b, self.l.all(c, a + b + c != '')))", "estimated rule cost exceeds budget by factor of more than 100x"),
        ("self.l.all(x, x.matches(self.s))", "estimated rule cost exceeds budget"),
        ("self.s" + " + self.s" * 3_000 + " == ''", ""),
        ("(" * 5_000 + "true" + ")" * 5_000, "recursion limit"),
        ("!" * 20_000 + "true", ""),
        ("[" * 3_000 + "]" * 3_000 + " == []", "recursion limit"),
        ("true" + " ? true : true" * 3_000, ""),
        ("self" + ".l" * 20_000 + " == 1", ""),
        ("x" * 200_000, "expression code point size exceeds limit"),
        ("'" + "a" * 90_000 + "'.matches('(a*)*b') || true", ""),
    ],
    ids=["loops", "matches", "concatenation", "parentheses", "nots", "lists", "conditions", "selects", "long", "literal"],
)
def test_a_rule_that_is_dear_or_deep(cluster: Target, rule: str, fault: str) -> None:
    """Source: apiextensions-apiserver/pkg/apis/apiextensions/validation (estimated cost), cel-go/parser (recursion and size)."""
    answer = cluster.check("POST", f"{CRDS}?dryRun=All", ruled(rule))
    assert answer.status == 422 or not fault
    assert any(fault in message for message in causes(answer)) if fault else answer.status in (201, 422)


def test_a_thousand_rules(cluster: Target) -> None:
    properties = {
        f"p{n}": {"type": "string", "maxLength": 10, "x-kubernetes-validations": [{"rule": f"self != 'x{n}'"}]} for n in range(400)
    }
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
    assert cluster.check("POST", f"{CRDS}?dryRun=All", crd(schema)).status in (201, 422)


def test_a_rule_that_costs_too_much_when_it_runs(cluster: Target) -> None:
    items = {"type": "array", "maxItems": 5_000, "items": {"type": "string", "maxLength": 20}}
    rule = {"rule": "self.all(a, self.exists_one(b, a == b))"}
    spec = {"type": "object", "properties": {"l": {**items, "maxItems": 700, "x-kubernetes-validations": [rule]}}}
    made = cluster.check("POST", CRDS, crd({"type": "object", "properties": {"spec": spec}}))
    assert made.status == 201, made.raw
    dears = "/apis/example.io/v1/namespaces/default/dears"
    while cluster.send(target.Sent("GET", dears)).status == 404:
        continue
    dear = {"apiVersion": "example.io/v1", "kind": "Dear", "metadata": {"name": "d"}, "spec": {"l": [f"x{n}" for n in range(700)]}}
    answer = cluster.check("POST", dears, dear)
    assert answer.status == 422
    assert any("call cost exceeds limit for rule" in message for message in causes(answer))


# --- bodies ---


@pytest.mark.parametrize(
    "body",
    [
        b"a: &a ["
        + b"x," * 10
        + b"]\n"
        + b"".join(b"%c: &%c [%b]\n" % (c, c, b",".join(b"*%c" % (c - 1) for _ in range(10))) for c in range(98, 112)),
        b"a: " + b"[" * 400_000,
        b"".join(b"&a%d x: *a%d\n" % (n, n) for n in range(60_000)),
        b"{" + b"? " * 300_000,
        b"a: !!binary " + b"QUJD" * 500_000,
        b"a: " + b"9" * 1_000_000,
        b"a: 0x" + b"f" * 1_000_000,
        b"a: |\n" + b" x\n" * 500_000,
        b"- " * 500_000,
        b"\n".join(b"k%d: v" % n for n in range(150_000)),
    ],
    ids=["bomb", "lists", "anchors", "keys", "binary", "digits", "hex", "lines", "entries", "wide"],
)
def test_yaml_that_is_dear(cluster: Target, body: bytes) -> None:
    assert cluster.check("POST", MAPS, body, {"content-type": "application/yaml"}).status in (400, 413, 422)
    assert cluster.check("PATCH", f"{MAPS}/y?fieldManager=a", body, {"content-type": APPLY}).status in (400, 413, 422)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' + b"1" * 2_000_000 + b"}", b'{"a":1e' + b"9" * 1_000_000 + b"}", b'{"' + b'a":{},"' * 300_000 + b'z":0}', b"[" + b"0," * 1_000_000 + b"0]",
        b'{"a":"' + b"\\u0041" * 400_000 + b'"}', b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{' + b'"k":"v",' * 200_000 + b'"z":"v"}}',
        b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},' + b",".join(b'"u%d":1' % n for n in range(100_000)) + b"}",
        b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{' + b",".join(b'"k%d":1' % n for n in range(100_000)) + b"}}",
    ],
    ids=["digits", "exponent", "repeated keys", "list", "escapes", "duplicates", "unknown", "wrong types"],
)  # fmt: skip
def test_json_that_is_dear(cluster: Target, body: bytes) -> None:
    for query in ("", "?fieldValidation=Strict", "?fieldValidation=Warn"):
        assert cluster.check("POST", f"{MAPS}{query}", body).status in (201, 400, 409, 413, 422)


def test_a_gzip_bomb(cluster: Target) -> None:
    bomb = gzip.compress(orjson.dumps({"a": " " * 30_000_000}), 9)
    answer = cluster.check("POST", MAPS, bomb, {"content-encoding": "gzip"})
    assert (answer.status, answer.body["reason"]) == (413, "RequestEntityTooLarge")
