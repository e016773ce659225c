"""Custom kinds that a workspace binds behave as those that it defines itself: versions, schemas that change, conversion, watches.

Source: kcp pkg/reconciler/apis/apibinding (boundResources, storageVersions), sdk/apis/apis/v1alpha1/types_apiresourceschema.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.crds.conftest import World, workspace_of
from tests.behaviour.crds.converter import GROUP, V1, V2, Converter, converting, crontabs, first, second

from kcp.aio.clock import SystemClock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.client.rest import Client
from kcp.exports.names import SCHEMAS
from kcp.exports.system import schema_of_crd
from kcp.server.compose import run_server
from kcp.server.options import Options
from kcp.tenancy.waiting import wait_for

EXPORTS, BINDINGS = GVR("apis.kcp.io", "v1alpha1", "apiexports"), GVR("apis.kcp.io", "v1alpha1", "apibindings")


class Bound:
    """A provider that exports crontabs, and a workspace that binds them."""

    def __init__(self, provider: Client, consumer: Client) -> None:
        self.provider = provider
        self.consumer = World(consumer)

    async def export(self, crd: dict[str, Any]) -> str:
        """Let the export be of this CRD's content from now on. Returns the schema's name."""
        schema = schema_of_crd(crd)
        if "conversion" in crd["spec"]:
            schema["spec"]["conversion"] = crd["spec"]["conversion"]
        await self.provider.resource(SCHEMAS).create(schema)
        exports, name = self.provider.resource(EXPORTS), meta.name(schema)
        spec = {"latestResourceSchemas": [name]}
        try:
            await exports.get("crontabs")
            await exports.patch("crontabs", {"spec": spec})
        except NotFound:
            metadata = {"name": "crontabs"}
            await exports.create({"apiVersion": EXPORTS.api_version, "kind": "APIExport", "metadata": metadata, "spec": spec})
        return name

    async def bind(self) -> None:
        spec = {"reference": {"export": {"path": "root:provider", "name": "crontabs"}}}
        bindings = self.consumer.client.resource(BINDINGS)
        await bindings.create({"apiVersion": BINDINGS.api_version, "kind": "APIBinding", "metadata": {"name": "crontabs"}, "spec": spec})
        await wait_for(bindings, "crontabs", lambda b: meta.nested(b, "status", "phase") == "Bound", timeout_s=10.0, what="binding")

    async def moved_to(self, schema: str) -> dict[str, Any]:
        """The bound resource once it is of this schema."""

        def is_of(binding: dict[str, Any]) -> bool:
            return bool(binding["status"]["boundResources"][0]["schema"]["name"] == schema)

        bindings = self.consumer.client.resource(BINDINGS)
        found = await wait_for(bindings, "crontabs", is_of, timeout_s=10.0, what="the new schema")
        bound: dict[str, Any] = found["status"]["boundResources"][0]
        return bound


@pytest.fixture
async def bound(tmp_path: Path) -> AsyncIterator[Bound]:
    options = Options(root_directory=tmp_path / ".kcp", in_memory=True)
    async with run_server(options, clock=SystemClock(), with_socket=False) as server:
        yield Bound(await workspace_of(server.client, "provider"), await workspace_of(server.client, "consumer"))


async def test_objects_of_an_earlier_schema_are_shown_by_the_new_one(bound: Bound) -> None:
    await bound.export(crontabs(None))
    await bound.bind()
    objects = bound.consumer.client.resource(V1)
    made = await objects.create(first("a"), namespace="default")
    opened, seen = asyncio.Event(), []

    async def watch() -> None:
        async with aclosing(objects.watch(opened=opened.set, bookmarks=False)) as events:
            async for event in events:
                seen.append(event.type)

    changed = crontabs(None, storage="v2")
    for version in changed["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"]["properties"]["color"] = {"type": "string", "default": "red"}
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(watch())
        await opened.wait()
        name = await bound.export(changed)
    assert seen == ["ADDED"]
    assert (await bound.moved_to(name))["storageVersions"] == ["v1", "v2"]
    shown = await objects.get("a", namespace="default")
    assert (shown["apiVersion"], shown["color"]) == (V1.api_version, "red")
    assert shown["metadata"] == made["metadata"]
    newer = bound.consumer.client.resource(V2)
    assert [(o["apiVersion"], o["color"]) for o in (await newer.list()).items] == [(V2.api_version, "red")]
    made = await newer.create(second("b"), namespace="default")
    assert made["hostPort"] == "localhost:80"


async def test_a_bound_kind_is_converted_by_the_webhook_of_its_schema(bound: Bound, tmp_path: Path) -> None:
    async with converting(tmp_path / "converter") as converter:
        await bound.export(crontabs(converter))
        await bound.bind()
        await check_conversion(bound, converter)


async def check_conversion(bound: Bound, converter: Converter) -> None:
    older, newer = bound.consumer.client.resource(V1), bound.consumer.client.resource(V2)
    await older.create(first("a"), namespace="default")
    made = await newer.create(second("b", "b:1"), namespace="default")
    assert made["hostPort"] == "b:1"
    assert [o["hostPort"] for o in (await newer.list()).items] == ["localhost:80", "b:1"]
    assert [o["host"] for o in (await older.list()).items] == ["localhost", "b"]
    assert converter.reviews


async def test_a_watch_ends_with_the_binding(bound: Bound) -> None:
    await bound.export(crontabs(None))
    await bound.bind()
    objects = bound.consumer.client.resource(V1)
    await objects.create(first("a"), namespace="default")
    opened, seen = asyncio.Event(), []

    async def watch() -> None:
        async with aclosing(objects.watch(opened=opened.set, bookmarks=False)) as events:
            async for event in events:
                seen.append(event.type)

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(watch())
        await opened.wait()
        await bound.consumer.client.resource(BINDINGS).delete("crontabs")
    assert seen == ["ADDED", "DELETED"]
    assert (await bound.consumer.call("GET", f"/apis/{GROUP}")).status == 404


async def test_a_schema_is_held_to_the_rules_of_crds_all_at_once(bound: Bound) -> None:
    schema = schema_of_crd(crontabs(None))
    schema["spec"]["names"]["kind"] = "Cron Tab"
    schema["spec"]["versions"][0]["schema"]["properties"]["bad"] = {"properties": {}}
    schema["spec"]["versions"][0]["additionalPrinterColumns"] = [{"name": "A", "type": "text", "jsonPath": "a"}]
    with pytest.raises(Forbidden) as refused:
        await bound.provider.resource(SCHEMAS).create(schema)
    assert sorted(cause.field for cause in refused.value.causes) == [
        "spec.names.kind",
        "spec.versions[0].additionalPrinterColumns[0].JSONPath",
        "spec.versions[0].additionalPrinterColumns[0].type",
        "spec.versions[0].schema.properties[bad].type",
    ]
