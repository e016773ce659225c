"""Health endpoints: all checks, one check, verbose, exclude, failures and what a stranger is told of them."""

from __future__ import annotations

import asyncio

import pytest

from kcp.apimachinery.errors import NotFound
from kcp.apiserver.health import Health, HealthCheck
from kcp.apiserver.request import ANONYMOUS, Request, RequestInfo
from kcp.registry.backend import UserInfo


async def no_body() -> bytes:
    return b""


async def ask(health: Health, path: str, query: str = "", user: UserInfo = ANONYMOUS) -> tuple[int, str]:
    req = Request("GET", path, query, {}, no_body, user=user, info=RequestInfo(path, "get"))
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
        "[+]ping ok\n[+]store ok\nlivez check passed\n",
    )


async def test_a_failure_is_a_500_whose_reason_only_users_are_told() -> None:
    health = Health([HealthCheck("store", slow)])
    assert await ask(health, "/readyz") == (500, "[+]ping ok\n[-]store failed: reason withheld\nreadyz check failed\n")
    assert "[-]store failed: store is full" in (await ask(health, "/readyz", user=UserInfo("ann")))[1]
    assert not await health.is_ready()


async def test_checks_can_be_left_out() -> None:
    health = Health([HealthCheck("store", slow)])
    assert await ask(health, "/readyz", "exclude=store&verbose") == (200, "[+]ping ok\n[+]store excluded: ok\nreadyz check passed\n")
    assert (
        'warn: some health checks cannot be excluded: no matches for "x"'
        in (await ask(health, "/readyz", "verbose&exclude=store&exclude=x"))[1]
    )


async def test_a_check_can_be_asked_alone() -> None:
    health = Health([HealthCheck("store", slow), HealthCheck("sync", lambda: "", ("readyz",))])
    assert await ask(health, "/readyz/ping") == (200, "ok")
    assert await ask(health, "/readyz/store") == (500, "internal server error: store is full\n")
    with pytest.raises(NotFound, match='livez has no check "sync": it has ping, store'):
        await ask(health, "/livez/sync")


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
