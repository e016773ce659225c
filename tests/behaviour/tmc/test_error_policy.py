"""How often a failed sync is tried, as the object says; and whose status an object shows."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.behaviour.tmc.world import World, running, until

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.client.transport import RawRequest, RawResponse, Transport, TransportError
from kcp.tmc.aggregation.status import Report, merge
from kcp.tmc.model import wishes
from kcp.tmc.model.names import SYNC_ERROR_ANNOTATION

CONFIG_MAPS = GVR("", "v1", "configmaps")


class Refusing:
    """A connection on which nothing called `c` gets through."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.tried = 0

    async def request(self, request: RawRequest) -> RawResponse:
        if request.method == "PATCH" and request.path.endswith("/configmaps/c"):
            self.tried += 1
            raise TransportError("cut")
        return await self.inner.request(request)

    def stream(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, AsyncIterator[bytes]]]:
        return self.inner.stream(request)

    async def close(self) -> None:
        await self.inner.close()


async def told(world: World) -> dict[str, Any]:
    """The errors on ConfigMap `c`, by any cluster."""
    obj = await world.client.resource(CONFIG_MAPS).get("c", namespace="default")
    found = [orjson.loads(text) for name, text in meta.annotations(obj).items() if name.startswith(SYNC_ERROR_ANNOTATION)]
    return dict(found[0]) if found else {}


@pytest.mark.parametrize(
    ("annotations", "times"), [({wishes.MAX_RETRIES: "2"}, 3), ({wishes.ERROR_POLICY: "report"}, 1)], ids=["max-retries", "error-policy"]
)
async def test_a_failed_sync_is_tried_as_often_as_its_user_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, annotations: dict[str, str], times: int
) -> None:
    refusing: list[Refusing] = []

    def through(inner: Transport) -> Transport:
        refusing.append(Refusing(inner))
        return refusing[0]

    async with running(tmp_path, monkeypatch, through=through) as world:
        metadata = {"name": "c", "annotations": annotations}
        await world.create(CONFIG_MAPS, "ConfigMap", "c", namespace="default", metadata=metadata, data={"a": "1"})
        await until(functools.partial(told, world), lambda error: "until the object changes" in error.get("hint", ""))
        assert refusing[0].tried == times
        await world.create(CONFIG_MAPS, "ConfigMap", "other", namespace="default", data={"a": "1"})
        listed = functools.partial(world.clusters["east"].client().resource(CONFIG_MAPS).list)
        await until(listed, lambda maps: "other" in {meta.name(m) for m in maps.items})
        assert refusing[0].tried == times, "it rests"
        await world.client.resource(CONFIG_MAPS).patch("c", {"data": {"a": "2"}}, namespace="default")

        async def tried() -> int:
            return refusing[0].tried

        await until(tried, lambda count: count == 2 * times)


def reports() -> list[Report]:
    return [Report("A", "east", {"phase": "Running", "by": "east"}), Report("B", "west", {"phase": "Done", "by": "west"})]


def test_the_primary_cluster_speaks_for_an_object_that_cannot_be_summed() -> None:
    def status(primary: str, reported: list[Report]) -> Any:
        obj = {"metadata": {"annotations": {wishes.PRIMARY_CLUSTER: primary}}, "status": {"conditions": [{"type": "Synced"}]}}
        return merge(obj, GroupResource("demo.example.io", "queues"), reported, now="2024-01-01T00:00:00Z")["status"]

    assert status("west", reports()) == {"phase": "Done", "by": "west"}
    assert "by" not in status("north", reports()), "one that does not report has no word"


def test_counts_are_summed_whoever_is_primary() -> None:
    obj = {"metadata": {"annotations": {wishes.PRIMARY_CLUSTER: "west"}}}
    found = [Report("A", "east", {"replicas": 1}), Report("B", "west", {"replicas": 2})]
    merged = merge(obj, GroupResource("apps", "deployments"), found, now="2024-01-01T00:00:00Z")
    assert merged["status"]["replicas"] == 3
    assert conditions.is_true(merged, "Synced")


def test_what_means_nothing_is_told() -> None:
    obj = {"metadata": {"annotations": {wishes.MAX_RETRIES: "often", wishes.ERROR_POLICY: "panic"}}}
    assert wishes.max_retries(obj) is None
    assert len(wishes.problems(obj)) == 2
