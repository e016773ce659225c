"""APIServices of a simulated cluster: one for each group version, coming and going with CRDs; those of others are left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.unit.registry.crds import crd

from kcp.aio.clock import VirtualClock
from kcp.apimachinery import conditions, meta
from kcp.client.rest import Client
from kcp.client.transport import RawRequest, RawResponse, Transport, TransportError
from kcp.sim.apiservices import API_SERVICES
from kcp.sim.cluster import SimCluster

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World

CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def test_every_group_version_has_one_that_is_available(world: World) -> None:
    services = world.client.resource(API_SERVICES)

    async def served() -> set[str]:
        groups = orjson.loads((await world.client.raw("GET", "/apis")).body)["groups"]
        return {"v1."} | {f"{v['version']}.{g['name']}" for g in groups for v in g["versions"]}

    async def available() -> set[str]:
        return {meta.name(s) for s in (await services.list()).items if conditions.is_true(s, "Available")}

    async def is_complete() -> bool:
        return await available() == await served()

    await world.until(is_complete)
    core = await services.get("v1.")
    assert core["spec"] == {"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}
    assert core["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
    table = orjson.loads(
        (
            await world.client.raw(
                "GET",
                "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps",
                headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"},
            )
        ).body
    )
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Service", "Available", "Age"]
    assert table["rows"][0]["cells"][:3] == ["v1.apps", "Local", "True"]


class _Flaky:
    """Fails the n-th write of an APIService, after or before it happened, and counts them."""

    def __init__(self, inner: Transport, *, fail_at: int, after: bool) -> None:
        self._inner, self._fail_at, self._after = inner, fail_at, after
        self.stream, self.close = inner.stream, inner.close
        self.writes = 0

    async def request(self, request: RawRequest) -> RawResponse:
        is_write = request.method != "GET" and "/apiservices" in request.path
        self.writes += is_write
        if is_write and self.writes == self._fail_at:
            if self._after:
                await self._inner.request(request)
            raise TransportError("the connection broke", where="test")
        return await self._inner.request(request)


class _FlakyCluster(SimCluster):
    fail_at, after = 0, False

    def _own_client(self) -> Client:
        self.transport = _Flaky(super()._own_client().transport, fail_at=self.fail_at, after=self.after)
        return Client(self.transport, clock=self.clock)


@pytest.mark.parametrize("after", [False, True], ids=["lost request", "lost answer"])
@pytest.mark.parametrize("fail_at", [0, 1, 2, 3, 4, 30])
async def test_a_failing_write_is_made_good_and_then_nothing_is_written(fail_at: int, after: bool) -> None:
    clock = VirtualClock()
    cluster = _FlakyCluster.in_process("east", nodes=1, clock=clock)
    cluster.fail_at, cluster.after = fail_at, after
    async with cluster:
        await clock.advance(5)
        services = (await cluster.client().resource(API_SERVICES).list()).items
        groups = orjson.loads((await cluster.client().raw("GET", "/apis")).body)["groups"]
        assert len(services) == 1 + sum(len(g["versions"]) for g in groups)
        assert all(conditions.is_true(service, "Available") for service in services)
        written = cluster.transport.writes
        await clock.advance(60)
        assert cluster.transport.writes == written


async def test_they_come_and_go_with_crds_and_those_of_others_stay(world: World) -> None:
    services = world.client.resource(API_SERVICES)
    other: dict[str, Any] = {"group": "other.example.com", "version": "v1", "groupPriorityMinimum": 10, "versionPriority": 10}
    other["service"] = {"namespace": "default", "name": "other"}
    metadata = {"name": "v1.other.example.com"}
    await services.create({"apiVersion": API_SERVICES.api_version, "kind": "APIService", "metadata": metadata, "spec": other})
    await world.client.raw("POST", CRD_PATH, headers={"content-type": "application/json"}, body=orjson.dumps(crd("widgets", "Widget")))

    async def names() -> set[str]:
        return {meta.name(s) for s in (await services.list()).items if meta.name(s).endswith(".example.com")}

    async def is_there() -> bool:
        return "v1.example.com" in await names()

    await world.until(is_there)
    assert (await services.get("v1.example.com"))["spec"]["groupPriorityMinimum"] == 1000
    await world.client.raw("DELETE", f"{CRD_PATH}/widgets.example.com")

    async def is_gone() -> bool:
        return await names() == {"v1.other.example.com"}

    await world.until(is_gone)


async def test_an_api_behind_a_service_says_why_it_is_not_available(world: World) -> None:
    services = world.client.resource(API_SERVICES)
    behind = {"namespace": "default", "name": "metrics", "port": 443}
    spec = {"group": "metrics.example.com", "version": "v1", "groupPriorityMinimum": 10, "versionPriority": 10, "service": behind}
    metadata = {"name": "v1.metrics.example.com"}
    await services.create({"apiVersion": API_SERVICES.api_version, "kind": "APIService", "metadata": metadata, "spec": spec})

    def says(reason: str) -> Callable[[], Any]:
        async def it_does() -> bool:
            held = await services.get("v1.metrics.example.com")
            return any(c["reason"] == reason and c["status"] == "False" for c in held.get("status", {}).get("conditions", ()))

        return it_does

    await world.until(says("ServiceNotFound"))
    ports = [{"port": 80}]
    await world.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics"}, "spec": {"ports": ports}})
    await world.until(says("ServicePortError"))
    await world.resource("services").patch("metrics", {"spec": {"ports": [{"port": 443}]}}, namespace="default")
    await world.until(says("FailedDiscoveryCheck"))
