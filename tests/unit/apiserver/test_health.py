"""Health endpoints: all checks, one check, verbose, exclude, failures and what a stranger is told of them."""

from __future__ import annotations

import asyncio

import pytest

from kcp.apiserver.health import Health, HealthCheck, Steps, of_store
from kcp.apiserver.request import Request, RequestInfo
from kcp.storage.interface import StoreClosed


async def no_body() -> bytes:
    return b""


async def ask(health: Health, path: str, query: str = "") -> tuple[int, str]:
    req = Request("GET", path, query, {}, no_body, info=RequestInfo(path, "get"))
    response = await health.handle(req)
    return response.status, response.body.decode()


async def slow() -> str:
    await asyncio.sleep(0)
    return "store is full"


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/readyz/"])
async def test_all_well_is_ok(path: str) -> None:
    assert await ask(Health(), path) == (200, "ok")


async def test_verbose_lists_the_checks() -> None:
    assert await ask(Health([HealthCheck("store", lambda: "")]), "/livez", "verbose") == (
        200,
        "[+]ping ok\n[+]log ok\n[+]store ok\nlivez check passed\n",
    )


async def test_a_failure_is_a_500_that_leaves_the_reason_to_the_check_itself() -> None:
    health = Health([HealthCheck("store", slow)])
    assert await ask(health, "/readyz") == (500, "[+]ping ok\n[+]log ok\n[-]store failed: reason withheld\nreadyz check failed\n")
    assert not await health.is_ready()


async def test_checks_can_be_left_out() -> None:
    health = Health([HealthCheck("store", slow)])
    assert await ask(health, "/readyz", "exclude=store&verbose") == (
        200,
        "[+]ping ok\n[+]log ok\n[+]store excluded: ok\nreadyz check passed\n",
    )
    assert (
        'warn: some health checks cannot be excluded: no matches for "x"'
        in (await ask(health, "/readyz", "verbose&exclude=store&exclude=x"))[1]
    )


async def test_a_check_can_be_asked_alone() -> None:
    health = Health([HealthCheck("store", slow), HealthCheck("sync", lambda: "", ("readyz",))])
    assert await ask(health, "/readyz/ping") == (200, "ok")
    assert await ask(health, "/readyz/store") == (500, "internal server error: store is full\n")
    assert await ask(health, "/livez/sync") == (404, "404 page not found\n")


async def test_a_check_of_readiness_does_not_touch_liveness() -> None:
    health = Health()
    health.add(HealthCheck("sync", slow, ("readyz",)))
    assert (await ask(health, "/livez"))[0] == 200
    assert (await ask(health, "/readyz"))[0] == 500


async def test_a_check_that_hangs_has_failed() -> None:
    async def hangs() -> str:
        await asyncio.Event().wait()
        return ""

    assert (await ask(Health([HealthCheck("x", hangs)], limit_s=0.01), "/livez/x"))[1] == "internal server error: no answer within 0.01 s\n"


async def test_a_store_that_cannot_be_read_fails_under_the_name_that_kubernetes_has_for_its_own() -> None:
    async def closed() -> int:
        raise StoreClosed

    health = Health(tuple(of_store(closed)))
    status, told = await ask(health, "/readyz")
    assert (status, told.splitlines()[2:4]) == (
        500,
        ["[-]etcd failed: reason withheld", "[-]etcd-readiness failed: reason withheld"],
    )
    assert (await ask(health, "/livez/etcd-readiness"))[0] == 404


async def test_a_step_of_the_start_fails_until_it_is_done() -> None:
    steps = Steps(("a", "b"))
    health = Health(steps.checks)
    steps.done("a")
    assert (await ask(health, "/livez"))[1].splitlines()[2:] == [
        "[+]poststarthook/a ok",
        "[-]poststarthook/b failed: reason withheld",
        "livez check failed",
    ]
    assert (await ask(health, "/readyz/poststarthook/b"))[1] == "internal server error: not finished\n"
    steps.done("b")
    assert await ask(health, "/healthz") == (200, "ok")
