"""Managers that know an object in different versions: who owns what, who is in whose way, and what an apply in another version removes.

Source: structured-merge-diff merge/update.go (Apply, Update, prune), merge/multiple_appliers_test.go; apimachinery/pkg/util/managedfields/
internal/versionconverter.go; KEP-555.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.crds.conftest import World
from tests.behaviour.crds.converter import NAME, V1, V2, Converter, converting, crontabs, first, second

from kcp.apimachinery.errors import Conflict, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import ResourceClient


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("converter")


@pytest.fixture
async def converter(certificates: Path) -> AsyncIterator[Converter]:
    async with converting(certificates) as running:
        yield running


def owned(obj: JSONObject) -> dict[tuple[str, str], list[str]]:
    """(manager, apiVersion) → fields beside metadata and spec."""
    own = {"f:metadata", "f:spec"}
    return {(e["manager"], e["apiVersion"]): sorted(set(e["fieldsV1"]) - own) for e in obj["metadata"]["managedFields"]}


async def apply(client: ResourceClient, obj: JSONObject, manager: str, *, force: bool = False) -> JSONObject:
    return await client.apply(obj, field_manager=manager, force=force, namespace="default")


def bare(obj: JSONObject) -> JSONObject:
    return {key: value for key, value in obj.items() if key != "spec"}


async def test_an_apply_in_another_version_conflicts_with_the_fields_that_it_changes_there(world: World, converter: Converter) -> None:
    await world.define(crontabs(converter))
    older, newer = world.client.resource(V1), world.client.resource(V2)
    await apply(older, bare(first("a")), "one")
    with pytest.raises(Conflict) as refused:
        await apply(newer, bare(second("a", "other:80")), "two")
    assert str(refused.value) == 'Apply failed with 1 conflict: conflict with "one": .host'
    shared = await apply(newer, bare(second("a")), "two")
    assert owned(shared) == {("one", "stable.example.com/v1"): ["f:host", "f:port"], ("two", "stable.example.com/v2"): ["f:hostPort"]}
    taken = await apply(newer, bare(second("a", "other:80")), "two", force=True)
    assert owned(taken) == {("one", "stable.example.com/v1"): ["f:port"], ("two", "stable.example.com/v2"): ["f:hostPort"]}


async def test_an_update_in_another_version_takes_the_fields_that_it_changes_there(world: World, converter: Converter) -> None:
    await world.define(crontabs(converter))
    older, newer = world.client.resource(V1), world.client.resource(V2)
    await apply(newer, bare(second("a", "localhost:80")), "one")
    await older.patch("a", {"host": "other"}, namespace="default")
    held = await newer.get("a", namespace="default")
    assert held["hostPort"] == "other:80"
    entries = owned(held)
    assert ("one", "stable.example.com/v2") not in entries, "all that it owned has changed"
    assert [fields for (_, version), fields in entries.items() if version == "stable.example.com/v1"] == [["f:host"]]


async def test_who_goes_on_in_another_version_owns_the_same_and_removes_what_it_leaves_out(world: World, converter: Converter) -> None:
    await world.define(crontabs(converter))
    older, newer = world.client.resource(V1), world.client.resource(V2)
    await apply(older, {**bare(first("a")), "spec": {"replicas": 3}}, "one")
    moved = await apply(newer, bare(second("a", "x:1")), "one")
    assert (moved["hostPort"], moved.get("spec")) == ("x:1", None)
    assert owned(moved) == {("one", "stable.example.com/v2"): ["f:hostPort"]}


async def test_what_another_owns_in_its_version_is_not_removed(world: World, converter: Converter) -> None:
    await world.define(crontabs(converter))
    older, newer = world.client.resource(V1), world.client.resource(V2)
    await apply(older, bare(first("a")), "one")
    await apply(newer, bare(second("a")), "two")
    gone = {key: value for key, value in bare(first("a")).items() if key not in ("host", "port")}
    left = await apply(older, gone, "one")
    assert (left["host"], left["port"]) == ("localhost", "80")
    assert owned(left) == {("two", "stable.example.com/v2"): ["f:hostPort"]}


async def test_versions_without_a_webhook_are_compared_as_each_shows_the_object(world: World) -> None:
    await world.define(crontabs(None))
    older, newer = world.client.resource(V1), world.client.resource(V2)
    await apply(older, {**bare(first("a")), "spec": {"replicas": 1}}, "one")
    with pytest.raises(Conflict, match=r'conflict with "one": \.spec\.replicas'):
        await apply(newer, {**bare(second("a")), "spec": {"replicas": 2}}, "two")
    shared = await apply(newer, {**bare(second("a")), "spec": {"replicas": 1}}, "two")
    assert shared["spec"] == {"replicas": 1}


async def test_a_manager_of_a_version_that_is_gone_is_forgotten(world: World) -> None:
    await world.define(crontabs(None, storage="v2"))
    older, newer = world.client.resource(V1), world.client.resource(V2)
    await newer.create(second("a"), namespace="default")
    await apply(older, {**bare(first("a")), "spec": {"replicas": 1}}, "one", force=True)

    def drop(crd: dict[str, Any]) -> None:
        crd["spec"]["versions"] = [v for v in crd["spec"]["versions"] if v["name"] == "v2"]

    await world.change(NAME, drop)
    applied = await apply(newer, {**bare(second("a")), "spec": {"replicas": 7}}, "two", force=True)
    assert all(version == V2.api_version for _, version in owned(applied))


async def test_a_webhook_that_fails_fails_an_apply_and_leaves_an_update_without_managers(world: World, converter: Converter) -> None:
    # fieldmanager.go, UpdateNoErrors.
    await world.define(crontabs(converter))
    older, newer = world.client.resource(V1), world.client.resource(V2)
    await apply(newer, bare(second("a")), "one")

    def fail(review: dict[str, Any]) -> dict[str, Any]:
        return converter.review(review, status="Failure", message="no")

    converter.answer = fail
    with pytest.raises(StatusError) as refused:
        await apply(older, bare(first("a", host="other")), "two", force=True)
    assert refused.value.code == 500
    assert "failed to convert old object: conversion webhook for" in str(refused.value)
    changed = await older.patch("a", {"host": "other"}, namespace="default")
    assert changed["host"] == "other"
    assert "managedFields" not in changed["metadata"]


_V1_SCALER, _V2_SCALER = (GVR("autoscaling", version, "horizontalpodautoscalers") for version in ("v1", "v2"))
_OLD_EVENTS, _NEW_EVENTS = GVR("", "v1", "events"), GVR("events.k8s.io", "v1", "events")


def _scaler(version: str, **spec: Any) -> JSONObject:
    target = {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"}
    held = {"scaleTargetRef": target, "maxReplicas": 3, **spec}
    return {"apiVersion": f"autoscaling/{version}", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": held}


def _cpu(percent: int) -> JSONObject:
    return {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}


async def test_autoscalers_are_compared_in_the_version_of_each_manager(cluster: World) -> None:
    older, newer = cluster.client.resource(_V1_SCALER), cluster.client.resource(_V2_SCALER)
    await apply(older, _scaler("v1", targetCPUUtilizationPercentage=50), "one")
    with pytest.raises(Conflict) as refused:
        await apply(newer, _scaler("v2", metrics=[_cpu(60)]), "two")
    assert str(refused.value) == 'Apply failed with 1 conflict: conflict with "one": .spec.targetCPUUtilizationPercentage'
    taken = await apply(newer, _scaler("v2", metrics=[_cpu(60)]), "two", force=True)
    held = {e["manager"]: e["fieldsV1"]["f:spec"] for e in taken["metadata"]["managedFields"]}
    assert "f:targetCPUUtilizationPercentage" not in held["one"]
    assert "f:metrics" in held["two"]
    assert "f:maxReplicas" in held["one"]
    with pytest.raises(Conflict) as refused:
        await apply(older, _scaler("v1", targetCPUUtilizationPercentage=70), "one")
    assert str(refused.value) == 'Apply failed with 1 conflict: conflict with "two": .spec.metrics'


async def test_events_are_compared_in_the_version_of_each_manager(cluster: World) -> None:
    older, newer = cluster.client.resource(_OLD_EVENTS), cluster.client.resource(_NEW_EVENTS)
    about = {"kind": "Pod", "name": "p", "namespace": "default"}
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": about, "message": "said", "type": "Normal"}
    await apply(older, event, "one")
    note = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}}
    with pytest.raises(Conflict, match=r'conflict with "one": \.message'):
        await apply(newer, {**note, "note": "other"}, "two")
    shared = await apply(newer, {**note, "note": "said"}, "two")
    assert owned(shared) == {("one", "v1"): ["f:involvedObject", "f:message", "f:type"], ("two", "events.k8s.io/v1"): ["f:note"]}
