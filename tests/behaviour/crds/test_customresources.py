"""Custom resources on both kinds of server: nulls, defaults and faults of parts, embedded objects, scales, and creation while the CRD goes.

Source: k8s.io/apiextensions-apiserver/test/integration/{apply,defaulting,objectmeta,subresources,finalization,cabundle,yaml}_test.go.
"""

from __future__ import annotations

from typing import Any

from tests.behaviour.admission.conftest import Answer
from tests.behaviour.crds.conftest import World

from kcp.apimachinery import conditions

_TEXT = {"type": "string"}
_NAME = "things.example.com"
_PATH = "/apis/example.com/v1/things"
_SCALE = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}


def definition(properties: dict[str, Any], **subresources: Any) -> dict[str, Any]:
    version: dict[str, Any] = {"name": "v1", "served": True, "storage": True, "subresources": subresources}
    version["schema"] = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    spec = {"group": "example.com", "scope": "Cluster", "names": {"plural": "things", "kind": "Thing"}, "versions": [version]}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": _NAME}, "spec": spec}


def thing(name: str = "a", **content: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": name}, **content}


async def apply(world: World, obj: dict[str, Any], **query: str) -> Answer:
    path = f"{_PATH}/{obj['metadata']['name']}"
    return await world.call("PATCH", path, obj, query={"fieldManager": "me", **query}, content="application/apply-patch+yaml")


async def test_null_applied_to_a_map_empties_it_where_null_is_allowed_and_is_refused_elsewhere(world: World) -> None:
    inner = {"type": "object", "properties": {"a": _TEXT, "b": _TEXT}, "required": ["a"]}
    await world.define(definition({"spec": {"type": "object", "properties": {"may": {**inner, "nullable": True}, "no": inner}}}))
    full = {"a": "1", "b": "2"}
    await apply(world, thing(spec={"may": full, "no": full}))

    cleared = await apply(world, thing(spec={"may": None, "no": full}))
    assert cleared.body["spec"] == {"may": None, "no": full}
    assert (await apply(world, thing(spec={"may": None, "no": full}))).body == cleared.body, "the same again changes nothing"

    refused = await apply(world, thing(spec={"may": None, "no": None}))
    assert (refused.status, refused.body["details"]["causes"][0]["field"]) == (422, "spec.no")
    assert 'spec.no in body must be of type object: "null"' in refused.message


async def test_a_change_of_the_status_gives_defaults_to_the_status_alone(world: World) -> None:
    part = {"type": "object", "properties": {"a": _TEXT}}
    await world.define(definition({"spec": part, "status": part}, status={}))
    created = (await world.call("POST", _PATH, thing(spec={}))).body

    def with_default(crd: dict[str, Any]) -> None:
        properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        for name in ("spec", "status"):
            properties[name]["properties"]["b"] = {"type": "integer", "maximum": 10}
        properties["status"]["properties"]["b"]["default"] = 1

    await world.change(_NAME, with_default)

    async def filled_in() -> bool:
        answer = await world.call("PUT", f"{_PATH}/a/status", {**created, "status": {"a": "x"}}, query={"dryRun": "All"})
        return bool(answer.body["status"] == {"a": "x", "b": 1})

    await world.until(filled_in)
    refused = await world.call("PUT", f"{_PATH}/a/status", {**created, "status": {"b": 15}})
    assert refused.status == 422
    assert refused.body["details"]["causes"] == [
        {"reason": "FieldValueInvalid", "message": "Invalid value: 15: b in body should be less than or equal to 10", "field": "status.b"}
    ]


async def test_metadata_of_embedded_objects_loses_what_it_has_no_place_for_in_defaults_too(world: World) -> None:
    said = {"apiVersion": "foos/v1", "kind": "Foo", "metadata": {"name": "Bar", "unknown": "x"}}
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True}
    named = {"type": "object", "properties": {"name": {**_TEXT, "default": "Bar"}, "unknown": {**_TEXT, "default": "x"}}}
    identity = {"apiVersion": {**_TEXT, "default": "foos/v1"}, "kind": {**_TEXT, "default": "Foo"}}
    properties = {
        "fields": {**embedded, "properties": {**identity, "metadata": named}},
        "metadata-as-a-whole": {**embedded, "properties": {**identity, "metadata": {"type": "object", "default": said["metadata"]}}},
        "whole": {**embedded, "properties": {"foo": _TEXT}, "default": said},
        "open": {**embedded, "x-kubernetes-preserve-unknown-fields": True, "default": said},
        "around": {"type": "object", "properties": {"inner": {**embedded, "properties": {"foo": _TEXT}}}, "default": {"inner": said}},
    }
    await world.define(definition(properties))
    sent: dict[str, Any] = {"fields": {"metadata": {}}, "metadata-as-a-whole": {}}
    made = await world.call("POST", _PATH, thing(**sent))
    expected = {"apiVersion": "foos/v1", "kind": "Foo", "metadata": {"name": "Bar"}}
    found = {name: made.body[name] for name in properties}
    assert found == {name: {"inner": expected} if name == "around" else expected for name in properties}


async def test_embedded_objects_are_held_to_the_rules_of_objects(world: World) -> None:
    embedded: dict[str, Any] = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    await world.define(definition({"outer": {**embedded, "properties": {"inner": embedded}}}))
    inner = {"apiVersion": "a/b/c", "kind": "%", "metadata": {"name": "..", "labels": {"x": "x y"}}}
    refused = await world.call("POST", _PATH, thing(outer={"kind": "", "inner": inner}))
    assert refused.status == 422
    told = [(cause["field"], cause["message"].partition(":")[2][:24]) for cause in refused.body["details"]["causes"]]
    assert told == [
        ("outer.apiVersion", ""),
        ("outer.kind", ' "": must not be empty'),
        ("outer.inner.apiVersion", ' "a/b/c": unexpected Gro'),
        ("outer.inner.kind", ' "%": may have mixed cas'),
        ("outer.inner.metadata.labels", ' "x y": a valid label mu'),
        ("outer.inner.metadata.name", " \"..\": may not be '..'"),
    ]
    undecodable = await world.call("POST", _PATH, thing(outer={"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": 1}}))
    assert undecodable.status == 400
    assert undecodable.message.endswith(
        'outer.metadata: Invalid value: {"namespace":1}: json: cannot unmarshal number into Go struct field ObjectMeta.namespace of type string'
    )


async def test_what_cannot_be_shown_as_a_scale_is_refused(world: World) -> None:
    open_part = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    await world.define(definition({"spec": open_part, "status": open_part}, status={}, scale=_SCALE))
    made = (await world.call("POST", _PATH, thing(spec={"replicas": 3}))).body
    for replicas, text in ((2**63 - 1, "should be less than or equal to 2147483647"), (-1, "should be a non-negative integer"),
                           ("x", ".spec.replicas accessor error: x is of the type string, expected int64")):  # fmt: skip
        refused = await world.call("PUT", f"{_PATH}/a", {**made, "spec": {"replicas": replicas}})
        assert (refused.status, refused.body["details"]["causes"][0]["field"]) == (422, ".spec.replicas")
        assert text in refused.message
    status = await world.call("PUT", f"{_PATH}/a/status", {**made, "status": {"replicas": -1, "selector": 5}})
    assert [cause["field"] for cause in status.body["details"]["causes"]] == [".status.replicas", ".status.selector"]


async def test_discovery_names_the_status_before_the_scale_and_comes_as_yaml_too(world: World) -> None:
    await world.define(definition({}, status={}, scale=_SCALE))
    found = await world.call("GET", "/apis/example.com/v1")
    assert [resource["name"] for resource in found.body["resources"]] == ["things", "things/status", "things/scale"]
    answer = await world.client.raw("GET", "/apis/example.com/v1", headers={"accept": "application/yaml"})
    assert answer.headers["content-type"] == "application/yaml"
    assert b"\nkind: APIResourceList\n" in b"\n" + answer.body


async def test_nothing_is_applied_into_being_while_the_definition_goes(world: World) -> None:
    crd = definition({})
    crd["metadata"]["finalizers"] = ["example.com/held"]
    await world.define(crd)
    await apply(world, thing("there"))
    await world.crds.delete(_NAME)

    async def refused() -> bool:
        return (await apply(world, thing("new"), dryRun="All")).status == 403

    await world.until(refused)
    answer = await apply(world, thing("new"))
    assert answer.message == ('things.example.com "new" is forbidden: create not allowed while custom resource definition is terminating')
    await world.change(_NAME, lambda held: held["metadata"].pop("finalizers", None))


async def test_a_definition_with_unreadable_authorities_is_not_established(world: World) -> None:
    crd = definition({})
    config = {"caBundle": "Cg==", "service": {"namespace": "default", "name": "example"}}
    crd["spec"]["conversion"] = {"strategy": "Webhook", "webhook": {"clientConfig": config, "conversionReviewVersions": ["v1"]}}
    await world.crds.create(crd)

    async def told() -> bool:
        return conditions.get(await world.crds.get(_NAME), "Established") is not None

    await world.until(told)
    found = conditions.get(await world.crds.get(_NAME), "Established")
    assert found is not None
    assert (found["status"], found["reason"]) == ("False", "InvalidCABundle")


async def test_what_has_namespaces_is_not_found_without_one(world: World) -> None:
    # apiextensions-apiserver/test/integration/scope_test.go (TestHandlerScope)
    crd = definition({}, status={})
    crd["spec"]["scope"] = "Namespaced"
    await world.define(crd)
    for method, path in (
        ("POST", _PATH),
        ("DELETE", _PATH),
        ("POST", f"{_PATH}/a/status"),
        ("GET", f"{_PATH}/a"),
        ("DELETE", f"{_PATH}/a"),
    ):
        assert (await world.call(method, path, thing() if method == "POST" else None)).status == 404, (method, path)
    assert (await world.call("GET", _PATH)).status == 200
