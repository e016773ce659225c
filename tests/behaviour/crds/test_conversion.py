"""Conversion of custom resources by webhook, on both kinds of server: what is asked, when nothing is asked, and what failures mean.

Source: apiextensions-apiserver/test/integration/conversion/conversion_test.go, pkg/apiserver/conversion/webhook_converter.go;
conformance: CustomResourceConversionWebhook.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.behaviour.crds.conftest import World, workspace_of
from tests.behaviour.crds.converter import GROUP, NAME, V1, V2, Converter, converting, crontabs, first, second, store_in

from kcp.aio.clock import VirtualClock
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.client.rest import ResourceClient
from kcp.server.compose import run_server
from kcp.server.options import Options
from kcp.sim.cluster import SimCluster

_PATH = f"/apis/{GROUP}/v2/namespaces/default/crontabs"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("converter")


@pytest.fixture
async def converter(certificates: Path) -> AsyncIterator[Converter]:
    async with converting(certificates) as running:
        yield running


@pytest.fixture
async def cluster() -> AsyncIterator[World]:
    """Its time stands still while a test reads: the collector, which reads new kinds after a second, asks for no conversions of its own."""
    clock = VirtualClock()
    async with SimCluster.in_process("east", nodes=0, clock=clock) as running:
        yield World(running.client(), clock)


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[World]:
    clock = VirtualClock()
    async with run_server(Options(root_directory=tmp_path / ".kcp", in_memory=True), clock=clock, with_socket=False) as server:
        yield World(await workspace_of(server.client, "crds"), clock)


def both(world: World) -> tuple[ResourceClient, ResourceClient]:
    return world.client.resource(V1), world.client.resource(V2)


async def test_an_object_is_read_in_the_version_asked_for(world: World, converter: Converter) -> None:
    await world.define(crontabs(converter))
    older, newer = both(world)
    made = await older.create(first("a"), namespace="default")
    assert converter.reviews == []  # stored as it was sent
    shown = await newer.get("a", namespace="default")
    assert (shown["apiVersion"], shown["hostPort"]) == (V2.api_version, "localhost:80")
    assert "host" not in shown
    assert shown["metadata"] == made["metadata"]
    (review,) = converter.reviews
    assert (review["apiVersion"], review["kind"]) == ("apiextensions.k8s.io/v1", "ConversionReview")
    assert review["request"]["desiredAPIVersion"] == V2.api_version
    assert [o["host"] for o in review["request"]["objects"]] == ["localhost"]
    assert converter.paths == ["/convert?timeout=30s"]
    assert (await older.get("a", namespace="default"))["host"] == "localhost"
    assert len(converter.reviews) == 1


async def test_an_object_is_stored_in_the_storage_version(world: World, converter: Converter) -> None:
    await world.define(crontabs(converter))
    older, newer = both(world)
    made = await newer.create(second("a", "example.com:8080"), namespace="default")
    assert made["hostPort"] == "example.com:8080"
    assert [wanted for wanted, _ in converter.asked] == [V1.api_version, V2.api_version]  # to store it, and to show what is stored
    asked = len(converter.reviews)
    held = await older.get("a", namespace="default")
    assert (held["host"], held["port"]) == ("example.com", "8080")
    assert len(converter.reviews) == asked


async def test_a_list_of_several_stored_versions_is_one_version(world: World, converter: Converter) -> None:
    await world.define(crontabs(converter))
    older, newer = both(world)
    await older.create(first("a"), namespace="default")
    await world.change(NAME, store_in("v2"))
    await newer.create(second("b", "b:1"), namespace="default")
    converter.reviews.clear()
    assert [(o["apiVersion"], o["host"]) for o in (await older.list()).items] == [(V1.api_version, "localhost"), (V1.api_version, "b")]
    assert [o["hostPort"] for o in (await newer.list()).items] == ["localhost:80", "b:1"]
    assert converter.asked == [(V1.api_version, ["b"]), (V2.api_version, ["a"])]


async def test_many_objects_are_converted_in_few_calls_and_once(world: World, converter: Converter) -> None:
    await world.define(crontabs(converter))
    older, newer = both(world)
    for index in range(12):
        await older.create(first(f"a{index:02}"), namespace="default")
    for _ in range(3):
        assert len((await newer.list(namespace="default", limit=500)).items) == 12
    assert [len(names) for _, names in converter.asked] == [12]
    assert [meta.name(o) for page in [p async for p in newer.pages(limit=5)] for o in page.items] == [f"a{i:02}" for i in range(12)]
    assert len(converter.reviews) == 1


async def test_every_write_works_in_another_version(world: World, converter: Converter) -> None:
    await world.define(crontabs(converter))
    older, newer = both(world)
    await older.create(first("a"), namespace="default")
    shown = await newer.get("a", namespace="default")
    shown["hostPort"] = "h:1"
    updated = await newer.update(shown, namespace="default")
    assert (updated["hostPort"], updated["metadata"]["generation"]) == ("h:1", 2)
    await newer.patch("a", {"metadata": {"annotations": {"main": "true"}}}, namespace="default")
    assert (await older.get("a", namespace="default"))["host"] == "h"
    await newer.patch("a", {"status": {"replicas": 3}}, namespace="default", subresource="status")
    scale = await newer.get("a", namespace="default", subresource="scale")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 3)
    await newer.patch("a", {"spec": {"replicas": 5}}, namespace="default", subresource="scale")
    held = await older.get("a", namespace="default")
    assert (held["apiVersion"], held["host"], held["spec"]["replicas"], held["status"]["replicas"]) == (V1.api_version, "h", 5, 3)
    applied = await newer.apply(
        {"apiVersion": V2.api_version, "kind": "CronTab", "metadata": {"name": "a"}, "hostPort": "applied:2"},
        field_manager="me", force=True, namespace="default",
    )  # fmt: skip
    assert applied["hostPort"] == "applied:2"
    assert (await older.get("a", namespace="default"))["host"] == "applied"
    await newer.delete("a", namespace="default")
    assert (await older.list()).items == []


async def test_a_watch_shows_one_version(world: World, converter: Converter) -> None:
    await world.define(crontabs(converter))
    older, newer = both(world)
    await older.create(first("a"), namespace="default")
    opened = asyncio.Event()
    seen: list[tuple[str, str, str]] = []
    async with asyncio.timeout(10), aclosing(newer.watch(opened=opened.set, bookmarks=False)) as events:
        async for event in events:
            seen.append((event.type, event.object["apiVersion"], event.object["hostPort"]))
            if len(seen) == 1:
                await older.patch("a", {"host": "b"}, namespace="default")
            elif len(seen) == 2:
                await newer.delete("a", namespace="default")
            else:
                break
    version = V2.api_version
    assert seen == [("ADDED", version, "localhost:80"), ("MODIFIED", version, "b:80"), ("DELETED", version, "b:80")]


async def test_selectors_look_at_the_version_asked_for(world: World, converter: Converter) -> None:
    def labelled(obj: dict[str, Any], wanted: str) -> dict[str, Any]:
        made = type(converter).convert_of(obj, wanted)
        made["metadata"] = {
            **obj["metadata"],
            "labels": {"port": made.get("hostPort", "").rpartition(":")[2]} if "hostPort" in made else {},
        }
        return made

    await world.define(crontabs(converter))
    converter.convert = labelled
    older, newer = both(world)
    await older.create(first("a", port="80"), namespace="default")
    await older.create(first("b", port="81"), namespace="default")
    assert [meta.name(o) for o in (await newer.list(field_selector="hostPort=localhost:81")).items] == ["b"]
    assert [meta.name(o) for o in (await newer.list(label_selector="port=80")).items] == ["a"]
    assert (await older.list(label_selector="port=80")).items == []
    seen: list[tuple[str, str]] = []
    async with asyncio.timeout(10), aclosing(newer.watch(field_selector="hostPort=localhost:81", bookmarks=False)) as events:
        async for event in events:
            seen.append((event.type, meta.name(event.object)))
            if len(seen) == 1:
                await older.patch("a", {"port": "81"}, namespace="default")
            elif len(seen) == 2:
                await older.patch("b", {"port": "82"}, namespace="default")
            else:
                break
    assert seen == [("ADDED", "b"), ("ADDED", "a"), ("DELETED", "b")]


async def test_only_labels_and_annotations_may_change(world: World, converter: Converter) -> None:
    def meddling(obj: dict[str, Any], wanted: str) -> dict[str, Any]:
        made = type(converter).convert_of(obj, wanted)
        held = {**obj["metadata"], "labels": {"to": "v2"}, "annotations": {"to": "v2"}}
        made["metadata"] = {**held, "finalizers": ["example.com/foo"], "generation": 42, "garbage": 1}
        return made

    await world.define(crontabs(converter))
    older, newer = both(world)
    made = await older.create(first("a", labels={"from": "v1"}), namespace="default")
    converter.convert = meddling
    shown = await newer.get("a", namespace="default")
    assert shown["metadata"]["labels"] == {"to": "v2"}
    assert shown["metadata"]["annotations"] == {"to": "v2", **made["metadata"].get("annotations", {})}
    assert "finalizers" not in shown["metadata"]
    assert "garbage" not in shown["metadata"]
    assert shown["metadata"]["generation"] == made["metadata"]["generation"]


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("uid", "other", "invalid object: must have the same UID: "),
        ("name", "b", "invalid object: must have the same name: a != b"),
        ("namespace", "elsewhere", "invalid object: must have the same namespace: default != elsewhere"),
        ("labels", {"a b": "c"}, 'invalid metadata: metadata.labels: Invalid value: "a b": name part must consist of alphanumeric'),
        ("labels", {"a": 1}, "invalid metadata: metadata.labels[a] must be a string, but is "),
    ],
)
async def test_what_a_webhook_may_not_change_is_refused(cluster: World, converter: Converter, part: str, value: Any, told: str) -> None:
    def meddling(obj: dict[str, Any], wanted: str) -> dict[str, Any]:
        made = type(converter).convert_of(obj, wanted)
        return {**made, "metadata": {**obj["metadata"], part: value}}

    await cluster.define(crontabs(converter))
    await cluster.client.resource(V1).create(first("a"), namespace="default")
    converter.convert = meddling
    refused = await cluster.call("GET", f"{_PATH}/a")
    assert refused.status == 500
    assert refused.message.startswith(f"conversion webhook for {V1.api_version}, Kind=CronTab returned {told}")


def _failing(review: dict[str, Any]) -> dict[str, Any]:
    response = {"uid": review["request"]["uid"], "result": {"status": "Failed", "message": "custom webhook conversion error"}}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response}


def _empty(review: dict[str, Any]) -> dict[str, Any]:
    response = {"uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": []}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response}


def _other_uid(review: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": {"uid": "1", "result": {"status": "Success"}}}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (_failing, "failed: custom webhook conversion error"),
        (_empty, "returned 0 objects, expected 1"),
        (_other_uid, 'failed: expected response.uid="'),
        (lambda review: {"apiVersion": "v1", "kind": "Status"}, "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=Conv"),
        (lambda review: web.Response(status=400), "failed: the server rejected our request for an unknown reason"),
        (
            lambda review: web.Response(status=500, text="oh"),
            'failed: an error on the server ("oh") has prevented the request from succeeding',
        ),
    ],
)
async def test_a_failure_is_told_for_every_verb(cluster: World, converter: Converter, answer: Any, told: str) -> None:
    await cluster.define(crontabs(converter))
    older, _ = both(cluster)
    made = await older.create(first("a"), namespace="default")
    converter.answer = answer
    body = {**second("a"), "metadata": made["metadata"]}
    patch = {"metadata": {"annotations": {"patch": "true"}}}
    merge = "application/merge-patch+json"
    answers = [
        await cluster.call("GET", f"{_PATH}/a"),
        await cluster.call("GET", _PATH),
        await cluster.call("POST", _PATH, second("b")),
        await cluster.call("PUT", f"{_PATH}/a", body),
        await cluster.call("PATCH", f"{_PATH}/a", patch, content=merge),
        await cluster.call("GET", f"{_PATH}/a/status"),
        await cluster.call("PATCH", f"{_PATH}/a/status", patch, content=merge),
        await cluster.call("GET", f"{_PATH}/a/scale"),
        await cluster.call("PATCH", f"{_PATH}/a/scale", {"spec": {"replicas": 4}}, content=merge),
        await cluster.call("DELETE", _PATH),
        await cluster.call("DELETE", f"{_PATH}/a"),
    ]
    for refused in answers:
        assert (refused.status, refused.body["status"], refused.reason) == (500, "Failure", "")
        assert refused.message.startswith("conversion webhook for stable.example.com/v")
        assert told in refused.message
    assert await older.get("a", namespace="default") == made


async def test_an_unreachable_webhook_is_named_and_equal_versions_do_without(world: World, converter: Converter) -> None:
    crd = crontabs(converter, clientConfig={"url": "https://127.0.0.1:1/convert", "caBundle": converter.ca_bundle})
    await world.define(crd)
    await both(world)[0].create(first("a"), namespace="default")
    refused = await world.call("GET", f"{_PATH}/a")
    assert refused.status == 500
    assert 'CronTab failed: Post "https://127.0.0.1:1/convert?timeout=30s": ' in refused.message
    assert [meta.name(o) for o in (await both(world)[0].list()).items] == ["a"]


async def test_a_wrong_authority_is_refused_and_the_right_one_helps_at_once(cluster: World, converter: Converter, tmp_path: Path) -> None:
    async with converting(tmp_path) as other:
        wrong = {"url": converter.client_config()["url"], "caBundle": other.ca_bundle}
        await cluster.define(crontabs(converter, clientConfig=wrong))
    await both(cluster)[0].create(first("a"), namespace="default")
    refused = await cluster.call("GET", f"{_PATH}/a")
    assert refused.status == 500
    assert "certificate verify failed" in refused.message

    def repair(crd: dict[str, Any]) -> None:
        crd["spec"]["conversion"]["webhook"]["clientConfig"] = converter.client_config()

    await cluster.change(NAME, repair)
    assert (await both(cluster)[1].get("a", namespace="default"))["hostPort"] == "localhost:80"


async def test_the_first_review_version_that_is_known_is_sent(cluster: World, converter: Converter) -> None:
    await cluster.define(crontabs(converter, reviews=("v3", "v1beta1", "v1")))
    await both(cluster)[0].create(first("a"), namespace="default")
    converter.answer = lambda review: {k: v for k, v in converter.review(review).items() if k not in ("apiVersion", "kind")}
    await both(cluster)[1].get("a", namespace="default")
    assert [review["apiVersion"] for review in converter.reviews] == ["apiextensions.k8s.io/v1beta1"]


async def test_a_webhook_is_found_through_its_service(cluster: World, converter: Converter) -> None:
    services = cluster.client.resource(GVR("", "v1", "services"))
    spec = {"type": "ExternalName", "externalName": "127.0.0.1"}
    await services.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "converter"}, "spec": spec}, namespace="default")
    reference = {"name": "converter", "namespace": "default", "path": "/convert", "port": converter.port}
    await cluster.define(crontabs(converter, clientConfig={"service": reference, "caBundle": converter.ca_bundle}))
    await both(cluster)[0].create(first("a"), namespace="default")
    assert (await both(cluster)[1].get("a", namespace="default"))["hostPort"] == "localhost:80"


async def test_a_no_op_write_moves_an_object_to_the_new_storage_version(world: World, converter: Converter) -> None:
    await world.define(crontabs(converter))
    older, newer = both(world)
    made = await older.create(first("a"), namespace="default")
    await world.change(NAME, store_in("v2"))
    moved = await older.update(made, namespace="default")
    assert moved["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    assert moved["metadata"]["generation"] == made["metadata"]["generation"]
    again = await older.update(moved, namespace="default")
    assert again["metadata"]["resourceVersion"] == moved["metadata"]["resourceVersion"]
    converter.reviews.clear()
    assert (await newer.get("a", namespace="default"))["hostPort"] == "localhost:80"
    assert converter.reviews == []
    held = await world.crds.get(NAME)
    assert held["status"]["storedVersions"] == ["v1", "v2"]
    await world.crds.patch(NAME, {"status": {"storedVersions": ["v2"]}}, subresource="status")
    assert (await world.crds.get(NAME))["status"]["storedVersions"] == ["v2"]


async def test_the_result_is_pruned_and_what_was_stored_is_defaulted(world: World, converter: Converter) -> None:
    crd = crontabs(converter)
    for held in crd["spec"]["versions"]:
        properties: dict[str, Any] = {name: {"type": "boolean"} for name in ("v1", "v2")}
        properties[held["name"]]["default"] = True
        held["schema"]["openAPIV3Schema"]["properties"]["defaults"] = {"type": "object", "properties": properties}

    def with_garbage(obj: dict[str, Any], wanted: str) -> dict[str, Any]:
        return {**type(converter).convert_of(obj, wanted), "garbage": {"a": 1}}

    await world.define(crd)
    converter.convert = with_garbage
    older, newer = both(world)
    made = await newer.create({**second("a"), "defaults": {}}, namespace="default")
    assert made["defaults"] == {"v1": True, "v2": True}  # its own, stored; the storage version's, when read
    assert "garbage" not in made
    stored = await older.create({**first("b"), "defaults": {}}, namespace="default")
    assert stored["defaults"] == {"v1": True}
    shown = await newer.get("b", namespace="default")
    assert shown["defaults"] == {"v1": True}
    assert "garbage" not in shown
