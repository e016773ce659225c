"""What one object costs in requests to its cluster, and what the cheapest way must not do: write over what is there already."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, World, running, until

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.transport import RawRequest, RawResponse, Transport
from kcp.tmc.model.names import SYNC_ERROR_ANNOTATION

CONFIG_MAPS = GVR("", "v1", "configmaps")


class Listening:
    """A transport that tells what went through it."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.told: list[str] = []

    async def request(self, request: RawRequest) -> RawResponse:
        self.told.append(f"{request.method} {request.path}")
        return await self._inner.request(request)

    def stream(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, AsyncIterator[bytes]]]:
        return self._inner.stream(request)

    async def close(self) -> None:
        await self._inner.close()

    def about(self, name: str) -> list[str]:
        """Methods of the requests about an object."""
        return [told.split()[0] for told in self.told if told.endswith(f"/{name}")]


async def copy_of(world: World, name: str) -> JSONObject | None:
    found = (await world.clusters["east"].client().resource(CONFIG_MAPS).list()).items
    return next((obj for obj in found if meta.name(obj) == name), None)


async def complaints(world: World, name: str) -> list[str]:
    obj = await world.client.resource(CONFIG_MAPS).get(name, namespace="default")
    return [text for annotation, text in meta.annotations(obj).items() if annotation.startswith(SYNC_ERROR_ANNOTATION)]


async def test_a_new_object_is_one_request_to_its_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Listening] = []

    def through(inner: Transport) -> Transport:
        heard.append(Listening(inner))
        return heard[0]

    async with running(tmp_path, monkeypatch, through=through) as world:
        await world.create(CONFIG_MAPS, "ConfigMap", "settings", namespace="default", data={"a": "1"})
        await until(functools.partial(copy_of, world, "settings"), bool)
        await world.client.resource(CONFIG_MAPS).patch("settings", {"data": {"a": "2"}}, namespace="default")
        await until(functools.partial(copy_of, world, "settings"), lambda copy: copy["data"] == {"a": "2"})
        assert heard[0].about("settings") == ["PATCH", "PATCH"]
        up = [told for told in world.writes("syncer up") if told.endswith("/settings")]
        assert len(up) == 1, "its finalizer, and nothing that says that all is well"
        await world.deploy("default", "web", 2)
        await world.settle("default", "web", 2)
        assert heard[0].about("web") == ["PATCH"]


async def test_an_object_made_meanwhile_by_somebody_else_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes between the syncer's last look and its write, in a namespace that the syncer made."""

    class Quicker(Listening):
        armed = False

        async def request(self, request: RawRequest) -> RawResponse:
            if self.armed and request.method == "PATCH" and request.path.endswith("/configmaps/settings"):
                self.armed = False
                namespace = request.path.split("/")[4]
                theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"b": "theirs"}}
                await world.clusters["east"].client().resource(CONFIG_MAPS).create(theirs, namespace=namespace)
            return await super().request(request)

    made: list[Quicker] = []

    def through(inner: Transport) -> Transport:
        made.append(Quicker(inner))
        return made[0]

    async with running(tmp_path, monkeypatch, through=through) as world:
        made[0].armed = True
        await world.create(CONFIG_MAPS, "ConfigMap", "settings", namespace="default", data={"a": "ours"})
        found = await until(functools.partial(complaints, world, "settings"), bool)
        assert "was not made by a syncer" in found[0]
        copy = await copy_of(world, "settings")
        assert copy is not None
        assert copy["data"] == {"b": "theirs"}
        assert not meta.labels(copy)


async def test_a_copy_whose_making_was_never_answered_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.deploy("default", "first", 1)
        await world.settle("default", "first", 1)
        world.fail("syncer down", 1, "answer")
        await world.deploy("default", "web", 2)
        await world.settle("default", "web", 2)
        copies = (await world.clusters["east"].client().resource(DEPLOYMENTS).list()).items
        copy = next(c for c in copies if meta.name(c) == "web")
        assert meta.generation(copy) == 1
