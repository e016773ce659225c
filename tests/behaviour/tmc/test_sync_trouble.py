"""What keeps an object from a cluster, or changes it there: the user reads it on the object, with the cluster and what to do about it.

Foreign objects are left alone; fields that cannot change in place are reported, or the copy is made anew; drift is put right and told.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, QUIET, World, running, until
from tests.faults import BreakableTransport

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden, InternalError, NotFound, RequestEntityTooLarge, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.transport import RawRequest, RawResponse, Transport
from kcp.tmc.model.names import SYNC_ERROR_ANNOTATION, keys_with
from kcp.tmc.syncer import spec

CONFIG_MAPS, EVENTS = (GVR("", "v1", name) for name in ("configmaps", "events"))


class Refusing:
    """A transport to a cluster that refuses every write of one resource, once it is told how."""

    def __init__(self, inner: Transport, plural: str) -> None:
        self._inner, self._plural = inner, plural
        self.error: StatusError | None = None

    async def request(self, request: RawRequest) -> RawResponse:
        if self.error is not None and request.method != "GET" and f"/{self._plural}" in request.path:
            return RawResponse(self.error.code, {}, orjson.dumps(self.error.to_status()))
        return await self._inner.request(request)

    def stream(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, AsyncIterator[bytes]]]:
        return self._inner.stream(request)

    async def close(self) -> None:
        await self._inner.close()


async def events(world: World, name: str) -> list[JSONObject]:
    found = (await world.client.resource(EVENTS).list(namespace="default")).items
    return [e for e in found if e["involvedObject"]["name"] == name]


async def told(world: World, name: str, reason: str) -> str:
    """The message of the first event with this reason about an object; waits for it."""
    found = await until(lambda: events(world, name), lambda es: any(e["reason"] == reason for e in es))
    return str(next(e["message"] for e in found if e["reason"] == reason))


async def condition(world: World, name: str, kind: str) -> JSONObject:
    found = conditions.get(await world.client.resource(DEPLOYMENTS).get(name, namespace="default"), kind)
    return dict(found or {})


async def copy_in(world: World, cluster: str, gvr: GVR, name: str) -> JSONObject | None:
    found = (await world.clusters[cluster].client().resource(gvr).list()).items
    return next((obj for obj in found if meta.name(obj) == name), None)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "RETRY_TERMINAL_S", 0.05)


FORBIDDEN = Forbidden(
    'deployments.apps "web" is forbidden: User "syncer" cannot patch resource "deployments" in API group "apps" in the namespace "kcp-x"'
)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("error", "kind", "advice"),
    [
        (FORBIDDEN, "ResourcePermission", 'the verb "patch" on deployments.apps'),
        (RequestEntityTooLarge("limit is 3145728"), "ResourceValidation", "make it smaller"),
        (InternalError("etcdserver: request is too large"), "ResourceValidation", "make it smaller"),
    ],
)
async def test_a_refusal_is_read_on_the_object_and_ends_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: StatusError, kind: str, advice: str
) -> None:
    made: list[Refusing] = []

    def through(inner: Transport) -> Transport:
        made.append(Refusing(inner, "deployments"))
        made[0].error = error
        return made[0]

    async with running(tmp_path, monkeypatch, through=through) as world:
        await world.deploy("default", "web", 2)
        message = await told(world, "web", "SyncFailed")
        assert message.startswith(f"east: {kind} (")
        assert advice in message
        found = await until(functools.partial(condition, world, "web", "Synced"), lambda c: c.get("reason") == kind)
        assert found["status"] == "False"
        assert advice in found["message"]
        made[0].error = None
        await world.settle("default", "web", 2)
        await until(lambda: events(world, "web"), lambda es: any(e["message"] == "east: synced again" for e in es))


@pytest.mark.usefixtures("soon")
async def test_an_object_that_the_cluster_had_before_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.create(CONFIG_MAPS, "ConfigMap", "first", namespace="default", data={"a": "ours"})
        copy = await until(functools.partial(copy_in, world, "east", CONFIG_MAPS, "first"), bool)
        east = world.clusters["east"].client().resource(CONFIG_MAPS)
        theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "theirs"}}
        await east.create(theirs, namespace=meta.namespace(copy))
        maps = world.client.resource(CONFIG_MAPS)
        await world.create(CONFIG_MAPS, "ConfigMap", "settings", namespace="default", data={"a": "ours"})
        message = await told(world, "settings", "SyncFailed")
        assert "was not made by a syncer" in message
        assert "left alone" in message
        assert (await east.get("settings", namespace=meta.namespace(copy)))["data"] == {"a": "theirs"}
        await maps.delete("settings", namespace="default")
        await world.gone(CONFIG_MAPS, "settings", "default")
        assert (await east.get("settings", namespace=meta.namespace(copy)))["data"] == {"a": "theirs"}


@pytest.mark.usefixtures("soon")
async def test_what_cannot_change_in_place_is_reported_or_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        maps = world.client.resource(CONFIG_MAPS)
        await world.create(CONFIG_MAPS, "ConfigMap", "free", namespace="default", data={"a": "1"})
        copy = await until(functools.partial(copy_in, world, "east", CONFIG_MAPS, "free"), bool)
        # Somebody made the copy immutable in the cluster.
        await world.clusters["east"].client().resource(CONFIG_MAPS).patch("free", {"immutable": True}, namespace=meta.namespace(copy))
        await maps.patch("free", {"data": {"a": "2"}}, namespace="default")
        message = await told(world, "free", "SyncFailed")
        assert "tmc.kcp.io/immutable-fields=recreate" in message
        await maps.patch("free", {"metadata": {"annotations": {"tmc.kcp.io/immutable-fields": "recreate"}}}, namespace="default")

        def is_new(found: Any) -> bool:
            return bool(found and found["data"] == {"a": "2"} and meta.uid(found) != meta.uid(copy))

        await until(functools.partial(copy_in, world, "east", CONFIG_MAPS, "free"), is_new)
        await until(functools.partial(errors, world, CONFIG_MAPS, "free"), lambda found: not found)


async def errors(world: World, gvr: GVR, name: str) -> dict[str, str]:
    return keys_with(meta.annotations(await world.client.resource(gvr).get(name, namespace="default")), SYNC_ERROR_ANNOTATION)


async def test_drift_is_put_right_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.deploy("default", "web", 4)
        await world.settle("default", "web", 4)
        copy = await copy_in(world, "east", DEPLOYMENTS, "web")
        assert copy is not None
        east = world.clusters["east"].client().resource(DEPLOYMENTS)
        await east.patch("web", {"spec": {"replicas": 9}}, namespace=meta.namespace(copy), field_manager="meddler")
        message = await told(world, "web", "DriftCorrected")
        assert message == "east: spec.replicas changed in the cluster by meddler; put right"
        await world.settle("default", "web", 4)
        found = await until(functools.partial(condition, world, "web", "Drifted"), bool)
        assert (found["status"], found["reason"]) == ("False", "Corrected")
        await east.delete("web", namespace=meta.namespace(copy))
        await until(lambda: events(world, "web"), lambda es: any("(deleted)" in e["message"] for e in es))
        await world.settle("default", "web", 4)


@pytest.mark.usefixtures("soon")
async def test_a_fight_over_a_field_is_called_one_and_slows_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.deploy("default", "web", 2)
        await world.settle("default", "web", 2)
        copy = await copy_in(world, "east", DEPLOYMENTS, "web")
        assert copy is not None
        east, namespace = world.clusters["east"].client().resource(DEPLOYMENTS), meta.namespace(copy)

        async def meddle() -> str:
            if (await east.get("web", namespace=namespace))["spec"]["replicas"] != 7:
                await east.patch("web", {"spec": {"replicas": 7}}, namespace=namespace, field_manager="meddler")
            return str((await condition(world, "web", "Synced")).get("reason"))

        await until(meddle, lambda reason: reason == "SyncConflict")
        found = await until(functools.partial(condition, world, "web", "Drifted"), lambda c: c["status"] == "True")
        assert found["reason"] == "Contested"
        assert "meddler keeps changing spec.replicas" in (await condition(world, "web", "Synced"))["message"]


async def test_an_api_that_is_removed_from_the_cluster_is_read_on_its_objects_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Unserving] = []

    def through(inner: Transport) -> Transport:
        made.append(Unserving(inner))
        return made[0]

    config = replace(QUIET, heartbeat_period_s=0.2)
    async with running(tmp_path, monkeypatch, through=through, config=config) as world:
        await world.deploy("default", "web", 2)
        await world.settle("default", "web", 2)
        async with asyncio.timeout(5.0):
            made[0].remove("deployments")
            message = await told(world, "web", "SyncFailed")
        assert "the cluster does not serve deployments.apps" in message
        assert "install its API there" in message
        made[0].restore()
        await world.settle("default", "web", 2)


class Unserving:
    """A transport to a cluster that can stop serving a resource: streams end, requests of it find nothing, discovery shows it no more."""

    def __init__(self, inner: Transport) -> None:
        self._inner = BreakableTransport(inner)
        self._removed = ""

    def remove(self, plural: str) -> None:
        self._removed = plural
        self._inner.cut()
        self._inner.mend()

    def restore(self) -> None:
        self._removed = ""

    async def request(self, request: RawRequest) -> RawResponse:
        if self._removed and f"/{self._removed}" in request.path:
            return NOT_SERVED
        if request.path != "/apis":
            return await self._inner.request(request)
        headers = {
            name: value for name, value in request.headers.items() if name.lower() != "if-none-match"
        }  # it is not the server's document
        answer = await self._inner.request(replace(request, headers=headers))
        body = orjson.loads(answer.body)
        for version in (v for item in body["items"] for v in item["versions"]):
            version["resources"] = [r for r in version["resources"] if r["resource"] != self._removed]
        return RawResponse(answer.status, {}, orjson.dumps(body))

    @asynccontextmanager
    async def stream(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, AsyncIterator[bytes]]]:
        if self._removed and f"/{self._removed}" in request.path:
            yield NOT_SERVED, nothing()
            return
        async with self._inner.stream(request) as opened:
            yield opened

    async def close(self) -> None:
        await self._inner.close()


async def nothing() -> AsyncIterator[bytes]:
    yield NOT_SERVED.body


NOT_SERVED = RawResponse(404, {}, orjson.dumps(NotFound("the server could not find the requested resource").to_status()))


async def test_looking_again_finds_that_a_cause_was_mended_though_nobody_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--resync-period: without it, a refusal is looked at again after half a minute."""
    made: list[Refusing] = []

    def through(inner: Transport) -> Transport:
        made.append(Refusing(inner, "deployments"))
        made[0].error = FORBIDDEN
        return made[0]

    async with running(tmp_path, monkeypatch, through=through, config=replace(QUIET, resync_period_s=0.4)) as world:
        await world.deploy("default", "web", 2)
        await told(world, "web", "SyncFailed")
        made[0].error = None
        await world.settle("default", "web", 2)
