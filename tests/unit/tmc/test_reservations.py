"""What is promised of a cluster until it is part of what the cluster reports: no room is spent twice, and none is kept for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcp.aio.clock import rfc3339
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.placement.policy import Policy, Strategy
from kcp.tmc.placement.reservations import SETTLE_S, Reservations, told_since
from kcp.tmc.placement.schedule import Fleet, Snapshot, Target, schedule

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTLED = timedelta(seconds=SETTLE_S)


def key(name: str) -> ObjectKey:
    return ObjectKey(ClusterName("c"), "", name)


def target(name: str, cpu: float, used: float = 0.0) -> Target:
    return Target(name, name, {}, ready=True, allocatable={"cpu": cpu}, used={"cpu": used})


def placement(cpu: str, **since: datetime) -> JSONObject:
    status = {"chosenSince": [{"syncTarget": k, "key": k, "since": rfc3339(time)} for k, time in since.items()]}
    return {"metadata": {"name": "p"}, "spec": {"constraints": {"resources": {"requests": {"cpu": cpu}}}}, "status": status}


def test_a_reservation_ends_with_the_first_report_that_can_tell_of_it() -> None:
    books = Reservations()
    books.observe(key("p"), placement("2", a=NOW))
    assert books.on("a") == {"cpu": 2.0}
    books.reported("a", NOW + SETTLED / 2)
    assert books.on("a") == {"cpu": 2.0}
    books.reported("a", NOW + SETTLED)
    assert books.on("a") == {}
    books.observe(key("p"), placement("2", a=NOW))
    assert books.on("a") == {}, "what is counted is not reserved again"


def test_nobody_is_kept_out_by_their_own_reservation() -> None:
    books = Reservations()
    books.observe(key("p"), placement("2", a=NOW))
    books.observe(key("q"), placement("3", a=NOW))
    assert books.on("a", but=key("p")) == {"cpu": 3.0}
    fleet = Fleet.of([target("a", 8), target("b", 8)])
    assert [t.free("cpu") for t in books.applied(fleet, key("p"))] == [5.0, 8.0]
    books.observe(key("q"), None)
    assert books.applied(fleet, key("p"))[0].free("cpu") == 8.0


def test_what_is_decided_counts_before_the_server_says_so_and_not_after_it_refused() -> None:
    books = Reservations()
    books.observe(key("p"), placement("2"))
    books.assume(key("p"), {"cpu": 2.0}, ["a"], NOW)
    books.observe(key("p"), placement("2"))
    assert books.on("a") == {"cpu": 2.0}, "an earlier state takes nothing back"
    books.observe(key("p"), placement("2", a=NOW))
    books.observe(key("p"), placement("2"))
    assert books.on("a") == {}
    books.assume(key("p"), {"cpu": 2.0}, ["a"], NOW)
    books.withdraw(key("p"))
    assert books.on("a") == {}


def test_a_decision_that_was_refused_takes_nothing_of_an_earlier_one_along() -> None:
    books = Reservations()
    books.observe(key("p"), placement("2", a=NOW))
    books.assume(key("p"), {"cpu": 2.0}, ["a", "b"], NOW)
    assert (books.on("a"), books.on("b")) == ({"cpu": 2.0}, {"cpu": 2.0})
    books.withdraw(key("p"))
    assert (books.on("a"), books.on("b")) == ({"cpu": 2.0}, {})


def test_a_target_that_is_gone_is_forgotten() -> None:
    books = Reservations()
    books.observe(key("p"), placement("2", a=NOW, b=NOW))
    books.forget("a")
    assert (books.on("a"), books.on("b")) == ({}, {"cpu": 2.0})


def test_the_time_of_a_choice_stays_and_work_that_ran_before_reserves_nothing() -> None:
    held = placement("1", a=NOW)
    held["status"]["phase"] = "Bound"
    held["status"]["decisions"] = [{"syncTarget": "a", "chosen": True}, {"syncTarget": "c", "chosen": True}]
    later = NOW + SETTLED
    told = told_since(held, [target("a", 1), target("b", 1), target("c", 1)], {"cpu": 1.0}, later)
    assert [(one["syncTarget"], one["since"]) for one in told] == [("a", rfc3339(NOW)), ("b", rfc3339(later))]
    assert told_since(held, [target("a", 1)], {}, later) == []


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), st.integers(0, 9), st.integers(1, 5)),
        st.tuples(st.just("report"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 40), st.just(0)),
        st.tuples(st.just("delete"), st.integers(0, 9), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_however_decisions_and_reports_interleave_no_room_is_promised_twice(steps: list[tuple[str, int, int]]) -> None:
    """Copies run, and are counted by their cluster, within SETTLE_S of the choice; reports come at any time."""
    books, now = Reservations(), NOW
    capacity = {"a": 8.0, "b": 6.0, "c": 4.0}
    reported = dict.fromkeys(capacity, 0.0)
    running: dict[int, tuple[str, float, datetime]] = {}
    for word, number, cpu in steps:
        if word == "wait":
            now += timedelta(seconds=number)
        elif word == "report":
            name = sorted(capacity)[number]
            reported[name] = sum(c for where, c, since in running.values() if where == name and now >= since + SETTLED)
            books.reported(name, now)
        elif word == "delete" and number in running:
            del running[number]
            books.observe(key(str(number)), None)
        elif word == "decide" and number not in running:
            fleet = Fleet.of(target(name, capacity[name], reported[name]) for name in capacity)
            policy = Policy(strategy=Strategy.CAPACITY, requests={"cpu": float(cpu)})
            decision = schedule(Snapshot([], 1, books.applied(fleet, key(str(number))), policy=policy))
            for chosen in decision.chosen:
                running[number] = chosen.key, float(cpu), now
                books.assume(key(str(number)), {"cpu": float(cpu)}, [chosen.key], now)
        for name, most in capacity.items():
            assert sum(c for where, c, _ in running.values() if where == name) <= most, (word, number)


def test_the_words_of_a_refusal_name_what_is_reserved() -> None:
    books = Reservations()
    books.assume(key("p"), {"cpu": 3.0}, ["a"], NOW)
    fleet = books.applied(Fleet.of([target("a", 4)]), key("q"))
    [verdict] = schedule(Snapshot([], 1, fleet, policy=Policy(requests={"cpu": 2.0}))).verdicts
    assert verdict.message == "1 of cpu free (3 reserved for work on its way), 2 required"
    assert fleet[0].utilisation("cpu") == pytest.approx(0.75)
