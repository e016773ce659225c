"""Request metrics: names, bounded labels, watches, statistics, the endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kcp.aio.clock import VirtualClock
from kcp.aio.metrics import Meter, counter
from kcp.apimachinery.errors import NotImplementedStatus
from kcp.apiserver.metrics import Metrics, with_metrics
from kcp.apiserver.request import Handler, Request, RequestInfo, Response


async def no_body() -> bytes:
    return b""


def info(verb: str = "get", resource: str = "configmaps", **rest: str) -> RequestInfo:
    return RequestInfo("/x", verb, is_resource=bool(resource), version="v1", resource=resource, **rest)  # type: ignore[arg-type]


async def answer(metrics: Metrics, made: RequestInfo, status: int = 200, *, clock: VirtualClock | None = None, method: str = "GET") -> None:
    time = clock or VirtualClock()

    async def handler(req: Request) -> Response:
        await time.advance(0.01)
        return Response(status)

    await with_metrics(metrics.requests, time)(handler)(Request(method, "/x", "", {}, no_body, info=made))


async def scrape(metrics: Metrics, cluster_path: str = "") -> dict[str, float]:
    req = Request("GET", "/metrics", "", {}, no_body, info=RequestInfo("/metrics", "get", cluster_path))
    response = await metrics.handle(req)
    assert response.content_type.startswith("text/plain; version=0.0.4")
    lines = (line.rsplit(" ", 1) for line in response.body.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


LABELS = 'verb="GET",group="",version="v1",resource="configmaps",subresource="",scope="resource",component="apiserver"'


def labelled(samples: dict[str, float], metric: str) -> dict[frozenset[str], float]:
    found = {name: value for name, value in samples.items() if name.startswith(metric + "{")}
    return {frozenset(name[len(metric) + 1 : -1].split(",")): value for name, value in found.items()}


async def test_requests_are_counted_and_timed_under_upstreams_names() -> None:
    metrics = Metrics()
    for _ in range(100):
        await answer(metrics, info(namespace="a", name="x"))
    samples = await scrape(metrics)
    assert labelled(samples, "apiserver_request_total")[frozenset([*LABELS.split(","), 'code="200"'])] == 100
    buckets = labelled(samples, "apiserver_request_duration_seconds_bucket")
    assert buckets[frozenset([*LABELS.split(","), 'le="0.005"'])] == 0
    assert buckets[frozenset([*LABELS.split(","), 'le="0.025"'])] == 100
    assert buckets[frozenset([*LABELS.split(","), 'le="+Inf"'])] == 100
    assert labelled(samples, "apiserver_request_duration_seconds_sum")[frozenset(LABELS.split(","))] == pytest.approx(1.0)


async def test_series_do_not_grow_with_names_or_with_what_does_not_exist() -> None:
    metrics = Metrics()
    for index in range(20):
        await answer(metrics, info(namespace=f"n{index}", name=f"x{index}"))
        for status in (403, 404):
            await answer(metrics, info(resource=f"things{index}"), status)
    totals = labelled(await scrape(metrics), "apiserver_request_total")
    assert len(totals) == 3
    assert sum(totals.values()) == 60


async def test_failures_of_known_resources_keep_their_labels() -> None:
    metrics = Metrics()
    await answer(metrics, info("update", namespace="a", name="x"), method="PUT")
    await answer(metrics, info("update", namespace="a", name="x"), 409, method="PUT")
    totals = labelled(await scrape(metrics), "apiserver_request_total")
    assert {'resource="configmaps"', 'code="409"', 'verb="PUT"'} <= next(labels for labels in totals if 'code="409"' in labels)


async def test_requests_in_flight_are_shown_while_they_run() -> None:
    metrics, seen = Metrics(), list[dict[str, int]]()

    async def handler(req: Request) -> Response:
        seen.append(dict(metrics.requests.in_flight))
        raise ValueError

    wrapped: Handler = with_metrics(metrics.requests, VirtualClock())(handler)
    with pytest.raises(ValueError, match="^$"):
        await wrapped(Request("POST", "/", "", {}, no_body))
    assert seen == [{"readOnly": 0, "mutating": 1}]
    assert metrics.requests.in_flight == {"readOnly": 0, "mutating": 0}


async def test_watches_count_their_events_and_themselves() -> None:
    metrics = Metrics()

    async def events() -> AsyncIterator[bytes]:
        yield b'{"type":"ADDED"}\n{"type":"ADDED"}\n'
        yield b'{"type":"DELETED"}\n'

    async def handler(req: Request) -> Response:
        return Response(stream=events())

    response = await with_metrics(metrics.requests, VirtualClock())(handler)(Request("GET", "/", "", {}, no_body, info=info("watch")))
    assert response.stream is not None
    await anext(response.stream)
    assert set(labelled(await scrape(metrics), "apiserver_longrunning_requests").values()) == {1.0}
    async for _ in response.stream:
        pass
    samples = await scrape(metrics)
    assert set(labelled(samples, "apiserver_longrunning_requests").values()) == {0.0}
    assert list(labelled(samples, "apiserver_watch_events_total").values()) == [3.0]


async def test_lists_are_counted_by_prefix_over_all_workspaces_and_namespaces() -> None:
    metrics = Metrics()
    for cluster in ("one", "two"):
        for namespace in ("", "a"):
            await answer(metrics, info("list", "secrets", cluster_path=cluster, namespace=namespace))
            await answer(metrics, info("list", "cowboys:metadata", group="wildwest.dev", namespace=namespace))
    await answer(metrics, info("list", "secrets"), 403)
    await answer(metrics, info("get", "secrets", name="x"))
    assert labelled(await scrape(metrics), "apiserver_cache_list_total") == {
        frozenset(('group=""', 'resource="secrets"', 'index=""', 'resource_prefix="/core/secrets"')): 4.0,
        frozenset(
            (
                'group="wildwest.dev"',
                'resource="cowboys"',
                'index=""',
                'resource_prefix="/wildwest.dev/cowboys/customresources"',
            )
        ): 4.0,
    }


async def test_statistics_and_metrics_of_other_parts_are_shown() -> None:
    metrics, meter = Metrics(), Meter()
    metrics.add_statistics("storage", lambda: {"keys": 7})
    metrics.add_families(meter.text)
    meter.count(counter("my_things_total", "Things."))
    samples = await scrape(metrics)
    assert samples["kcp_storage_keys"] == 7
    assert samples["my_things_total"] == 1
    assert samples["process_resident_memory_bytes"] > 0


async def test_a_workspace_has_no_metrics_of_its_own() -> None:
    with pytest.raises(NotImplementedStatus):
        await scrape(Metrics(), "root:org")
    assert await scrape(Metrics(), "system:admin")
