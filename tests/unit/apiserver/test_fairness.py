"""Priority levels at work: limits, lending, queues, fairness between flows, what becomes of those who wait too long or go away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kcp.aio.clock import VirtualClock, settle
from kcp.apiserver.fairness.levels import CONCURRENCY_LIMIT, QUEUE_FULL, TIME_OUT, LevelSpec, Queuing, Seats
from kcp.apiserver.fairness.matching import in_order, matches
from kcp.apiserver.request import RequestInfo
from kcp.registry.backend import UserInfo


def level(shares: int, *, lendable: int = 0, borrowing: int | None = 0, queuing: Queuing | None = None) -> LevelSpec:
    return LevelSpec(is_exempt=False, shares=shares, lendable_percent=lendable, borrowing_percent=borrowing, queuing=queuing)


ONE_QUEUE = Queuing(queues=1, hand_size=1, length=2)
MANY = Queuing(queues=16, hand_size=2, length=50)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def seats(clock: VirtualClock, total: int, **specs: LevelSpec) -> Seats:
    made = Seats(total, clock, wait_s=15.0)
    made.configure(specs)
    return made


async def test_a_level_without_queues_refuses_what_is_beyond_its_limit(clock: VirtualClock) -> None:
    held = seats(clock, 10, a=level(1), b=level(4))
    a = held.levels["a"]
    assert (a.nominal, a.lower, a.upper) == (2, 2, 2)
    assert [await held.take(a, 0) for _ in range(3)] == ["", "", CONCURRENCY_LIMIT]
    held.free(a)
    assert await held.take(a, 0) == ""


async def test_seats_that_a_level_lends_are_borrowed_up_to_the_limit_and_never_the_others(clock: VirtualClock) -> None:
    held = seats(clock, 10, lender=level(1, lendable=60), borrower=level(1, borrowing=None))
    lender, borrower = held.levels["lender"], held.levels["borrower"]
    assert (lender.lower, borrower.lower, borrower.upper) == (2, 5, 15)
    assert [await held.take(borrower, 0) for _ in range(9)] == [""] * 8 + [CONCURRENCY_LIMIT]
    assert [await held.take(lender, 0) for _ in range(3)] == ["", "", CONCURRENCY_LIMIT]


async def test_who_finds_no_seat_waits_and_is_let_through_in_turn(clock: VirtualClock) -> None:
    held = seats(clock, 1, a=level(1, queuing=ONE_QUEUE))
    a = held.levels["a"]
    assert await held.take(a, 0) == ""
    async with asyncio.TaskGroup() as group:
        first, second = group.create_task(held.take(a, 0)), group.create_task(held.take(a, 0))
        await settle()
        assert await held.take(a, 0) == QUEUE_FULL
        held.free(a)
        assert await first == ""
        assert not second.done()
        await clock.advance(15.0)
        assert await second == TIME_OUT
    assert (a.executing, a.waiting, a.queues) == (1, 0, {})


async def test_who_goes_away_leaves_its_queue_and_its_seat(clock: VirtualClock) -> None:
    held = seats(clock, 1, a=level(1, queuing=ONE_QUEUE))
    a = held.levels["a"]
    await held.take(a, 0)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(held.take(a, 0))
        await settle()
        waiting.cancel()
        await settle()
        assert (a.waiting, a.queues) == (0, {})
        unlucky = group.create_task(held.take(a, 0))
        await settle()
        held.free(a)
        unlucky.cancel()  # in the moment in which its seat came
        await settle()
    assert (a.executing, a.waiting) == (0, 0)


async def test_a_flow_that_sends_much_does_not_hold_up_the_others(clock: VirtualClock) -> None:
    held = seats(clock, 1, a=level(1, queuing=MANY))
    a, order = held.levels["a"], list[str]()

    async def one(name: str, entropy: int) -> None:
        assert await held.take(a, entropy) == ""
        order.append(name)
        held.free(a)

    await held.take(a, 0)
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(one("much", 0))
        await settle()
        group.create_task(one("little", 77))
        await settle()
        held.free(a)
    assert order.index("little") <= 2


async def test_a_level_of_no_shares_holds_its_requests_until_it_gets_some(clock: VirtualClock) -> None:
    held = seats(clock, 10, jail=level(0, queuing=ONE_QUEUE), other=level(1))
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(held.take(held.levels["jail"], 0))
        await settle()
        assert not waiting.done()
        held.configure({"jail": level(1, queuing=ONE_QUEUE), "other": level(1)})
        assert await waiting == ""


async def test_a_level_that_is_gone_lives_on_until_its_last_request_is_through(clock: VirtualClock) -> None:
    held = seats(clock, 10, old=level(1), other=level(1))
    await held.take(held.levels["old"], 0)
    held.configure({"other": level(1)})
    assert set(held.levels) == {"old", "other"}
    held.free(held.levels["old"])
    held.configure({"other": level(1)})
    assert set(held.levels) == {"other"}


@pytest.mark.parametrize("entropy", [0, 1, 12345678901234567890, 2**64 - 1])
def test_a_hand_has_different_queues(entropy: int) -> None:
    hand = Queuing(queues=128, hand_size=6, length=50).hand(entropy)
    assert len(set(hand)) == 6
    assert all(0 <= queue < 128 for queue in hand)


EVERYBODY = [{"kind": "Group", "group": {"name": "system:authenticated"}}]
ACCOUNTS = [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}}]
PODS = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/status"], "namespaces": ["a"]}
NODES = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["nodes"], "clusterScope": True}
PATHS = {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/apis/*"]}


def of(verb: str, resource: str = "pods", *, namespace: str = "a", subresource: str = "") -> RequestInfo:
    return RequestInfo("/", verb, is_resource=True, version="v1", resource=resource, subresource=subresource, namespace=namespace)


@pytest.mark.parametrize(
    ("rule", "info", "fits"),
    [
        ({"resourceRules": [PODS]}, of("get"), True),
        ({"resourceRules": [PODS]}, of("get", subresource="status"), True),
        ({"resourceRules": [PODS]}, of("get", subresource="log"), False),
        ({"resourceRules": [PODS]}, of("delete"), False),
        ({"resourceRules": [PODS]}, of("get", namespace="b"), False),
        ({"resourceRules": [PODS]}, of("list", namespace=""), False),
        ({"resourceRules": [NODES]}, of("patch", "nodes", namespace=""), True),
        ({"nonResourceRules": [PATHS]}, RequestInfo("/healthz/etcd", "get"), True),
        ({"nonResourceRules": [PATHS]}, RequestInfo("/apis/apps", "get"), True),
        ({"nonResourceRules": [PATHS]}, RequestInfo("/version", "get"), False),
    ],
)
def test_a_request_falls_under_the_rules_that_name_it(rule: dict[str, Any], info: RequestInfo, *, fits: bool) -> None:
    user = UserInfo("noxu", ("system:authenticated",))
    assert matches([{"subjects": EVERYBODY, **rule}], user, info) is fits


@pytest.mark.parametrize(
    ("name", "fits"), [("system:serviceaccount:kube-system:job", True), ("system:serviceaccount:kube-system2:job", False), ("job", False)]
)
def test_all_accounts_of_a_namespace_are_named_by_a_star(name: str, *, fits: bool) -> None:
    assert matches([{"subjects": ACCOUNTS, "resourceRules": [PODS]}], UserInfo(name), of("get")) is fits


def test_schemas_are_tried_by_precedence_and_then_by_name() -> None:
    schemas = [{"metadata": {"name": name}, "spec": {"matchingPrecedence": rank}} for name, rank in (("b", 5), ("z", 1), ("a", 5))]
    assert [schema["metadata"]["name"] for schema in in_order(schemas)] == ["z", "a", "b"]
