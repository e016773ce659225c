"""APIServices of a simulated cluster: one for each group version, coming and going with CRDs; those of others are left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from tests.unit.registry.crds import crd

from kcp.apimachinery import conditions, meta
from kcp.sim.apiservices import API_SERVICES

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
