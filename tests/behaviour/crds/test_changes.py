"""CRDs that change or go while they are used, on both kinds of server: what watchers, readers, discovery and OpenAPI see, and when.

Source: apiextensions-apiserver/pkg/apiserver/customresource_handler.go (updateCustomResourceDefinition, removeDeadStorage),
test/integration/{change_test.go,defaulting_test.go,pruning_test.go,finalization_test.go,versioning_test.go}.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
from tests.behaviour.crds.conftest import World
from tests.behaviour.crds.converter import GROUP, NAME, V1, V2, crontabs, first, second, store_in

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden, Invalid, NotFound

_PATIENCE_S = 10.0
Change = Callable[[dict[str, Any]], None]


def properties(crd: dict[str, Any], index: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = crd["spec"]["versions"][index]["schema"]["openAPIV3Schema"]["properties"]
    return found


def with_color(crd: dict[str, Any]) -> None:
    for index in range(len(crd["spec"]["versions"])):
        properties(crd, index)["color"] = {"type": "string", "default": "red", "enum": ["red", "blue"]}


def serving(name: str, *, served: bool) -> Change:
    def change(crd: dict[str, Any]) -> None:
        for version in crd["spec"]["versions"]:
            if version["name"] == name:
                version["served"] = served

    return change


def with_short_name(crd: dict[str, Any]) -> None:
    crd["spec"]["names"]["shortNames"] = ["ct"]


async def ends(world: World, act: Callable[[], Any]) -> list[str]:
    """The events that a watch of v1 sees until it ends because of `act`."""
    seen: list[str] = []
    opened = asyncio.Event()

    async def watch() -> None:
        async with aclosing(world.client.resource(V1).watch(opened=opened.set, bookmarks=False)) as events:
            async for event in events:
                seen.append(f"{event.type} {meta.name(event.object)}")

    async with asyncio.timeout(_PATIENCE_S), asyncio.TaskGroup() as group:
        group.create_task(watch())
        await opened.wait()
        await act()
    return seen


@pytest.mark.parametrize("change", [with_color, serving("v1", served=False), with_short_name, store_in("v2")])
async def test_a_watch_ends_when_the_crd_changes(world: World, change: Change) -> None:
    await world.define(crontabs(None))
    await world.client.resource(V1).create(first("a"), namespace="default")
    assert await ends(world, lambda: world.change(NAME, change)) == ["ADDED a"]


async def test_a_watch_sees_the_objects_go_and_ends_with_its_crd(world: World) -> None:
    await world.define(crontabs(None))
    await world.client.resource(V1).create(first("a"), namespace="default")
    assert await ends(world, lambda: world.crds.delete(NAME)) == ["ADDED a", "DELETED a"]


async def test_a_watch_goes_on_while_only_status_and_metadata_change(world: World) -> None:
    await world.define(crontabs(None))
    objects = world.client.resource(V1)

    async def act() -> None:
        await world.crds.patch(NAME, {"metadata": {"labels": {"a": "b"}}})
        extra = conditions.build("Remark", "True", reason="Because", message="", now="2026-01-01T00:00:00Z")
        held = await world.crds.get(NAME)
        await world.crds.patch(NAME, {"status": {"conditions": [*held["status"]["conditions"], extra]}}, subresource="status")
        await objects.create(first("a"), namespace="default")
        await world.change(NAME, with_color)

    assert await ends(world, act) == ["ADDED a"]


async def test_what_was_stored_before_gets_new_defaults_and_loses_what_is_unknown_now(world: World) -> None:
    await world.define(crontabs(None))
    objects = world.client.resource(V1)
    made = await objects.create(first("a"), namespace="default")

    def change(crd: dict[str, Any]) -> None:
        with_color(crd)
        del properties(crd)["port"]

    await world.change(NAME, change)
    shown = await objects.get("a", namespace="default")
    assert (shown["color"], shown["host"]) == ("red", "localhost")
    assert "port" not in shown
    assert shown["metadata"] == made["metadata"]  # nothing was written
    assert [o["color"] for o in (await objects.list()).items] == ["red"]
    async with asyncio.timeout(_PATIENCE_S), aclosing(objects.watch()) as events:
        assert (await anext(events)).object["color"] == "red"
    written = await objects.update(shown, namespace="default")
    assert written["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]  # now it is stored so
    assert (await objects.update(written, namespace="default"))["metadata"] == written["metadata"]


async def test_versions_without_a_webhook_differ_in_what_their_schemas_know(world: World) -> None:
    await world.define(crontabs(None))
    older, newer = world.client.resource(V1), world.client.resource(V2)
    await older.create(first("a"), namespace="default")
    shown = await newer.get("a", namespace="default")
    assert (shown["apiVersion"], shown["spec"]) == (V2.api_version, {"replicas": 1})
    assert "host" not in shown
    made = await newer.create(second("b"), namespace="default")
    assert "hostPort" not in made  # stored as v1, which does not know it


async def test_a_new_schema_holds_at_once_everywhere(world: World) -> None:
    await world.define(crontabs(None))
    objects = world.client.resource(V1)
    index = (await world.call("GET", "/openapi/v3")).body["paths"][f"apis/{GROUP}/v1"]["serverRelativeURL"]
    await world.change(NAME, with_color)
    with_its_names = await world.change(NAME, with_short_name)
    assert with_its_names["metadata"]["generation"] == 3
    with pytest.raises(Invalid, match='color: Unsupported value: "green": supported values: "red", "blue"'):
        await objects.create({**first("a"), "color": "green"}, namespace="default")
    third = (await world.call("GET", "/openapi/v3")).body["paths"][f"apis/{GROUP}/v1"]["serverRelativeURL"]
    assert third != index
    kind = f"{'.'.join(reversed(GROUP.split('.')))}.v1.CronTab"
    for version, path in (("v3", f"/openapi/v3/apis/{GROUP}/v1"), ("v2", "/openapi/v2")):
        document = (await world.call("GET", path)).body
        held = document["components"]["schemas"] if version == "v3" else document["definitions"]
        assert "color" in held[kind]["properties"], version

    async def has_short_name() -> bool:
        listed = (await world.call("GET", f"/apis/{GROUP}/v1")).body["resources"]
        return bool(listed[0].get("shortNames") == ["ct"])

    async with asyncio.timeout(2):
        await world.until(has_short_name)
    await world.change(NAME, serving("v1", served=False))
    assert (await world.call("GET", f"/apis/{GROUP}/v1")).status == 404
    assert [v["version"] for v in (await world.call("GET", f"/apis/{GROUP}")).body["versions"]] == ["v2"]
    with pytest.raises(NotFound):
        await objects.list()


async def test_the_objects_of_a_crd_without_served_versions_go_with_it(world: World) -> None:
    await world.define(crontabs(None))
    await world.client.resource(V1).create(first("a"), namespace="default")

    def hide(crd: dict[str, Any]) -> None:
        for version in crd["spec"]["versions"]:
            version["served"] = False

    held = await world.change(NAME, hide)
    assert conditions.is_true(held, "Established")
    assert (await world.call("GET", f"/apis/{GROUP}")).status == 404
    await world.crds.delete(NAME)
    await world.until(lambda: is_gone(world))
    await world.define(crontabs(None))
    assert (await world.client.resource(V1).list()).items == []


async def is_gone(world: World) -> bool:
    try:
        await world.crds.get(NAME)
    except NotFound:
        return True
    return False


async def test_a_crd_waits_for_its_objects_and_takes_no_new_ones(world: World) -> None:
    await world.define(crontabs(None))
    objects = world.client.resource(V1)
    await objects.create(first("a", finalizers=["example.com/wait"]), namespace="default")
    answer = await world.crds.delete(NAME)
    assert answer["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]

    async def is_in_progress() -> bool:
        told = conditions.get(await world.crds.get(NAME), "Terminating") or {}
        return (told["status"], told["reason"]) == ("True", "InstanceDeletionInProgress")

    await world.until(is_in_progress)
    with pytest.raises(Forbidden, match='"b" is forbidden: create not allowed while custom resource definition is terminating'):
        await objects.create(first("b"), namespace="default")
    assert [meta.name(o) for o in (await objects.list()).items] == ["a"]
    await objects.patch("a", {"metadata": {"finalizers": None}}, namespace="default")
    await world.until(lambda: is_gone(world))
    assert (await world.call("GET", f"/apis/{GROUP}")).status == 404
