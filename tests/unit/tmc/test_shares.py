"""Replicas over clusters: duplicated, by weight, by capacity, on the fewest; bounds, stability, and what finds no place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcp.apimachinery import meta
from kcp.tmc.model.names import SHARES_ANNOTATION, STATE_LABEL, UNPLACED_ANNOTATION
from kcp.tmc.placement import resources
from kcp.tmc.placement.policy import Division, Preference
from kcp.tmc.placement.schedule import Target
from kcp.tmc.placement.shares import ClusterShare, Shares, combine, pod_requests, share, share_of, shares_of, unplaced
from kcp.tmc.placement.spec import read


def made(preference: str = "Weighted", division: str = "Divided", **clusters: ClusterShare) -> Shares:
    return Shares(Division(division), Preference(preference), clusters)


def divided(total: int, shares: Shares, *, pod: dict[str, float] | None = None, **current: int) -> dict[str, int]:
    return share(total, sorted(shares.clusters), shares, current=current, pod=pod or {})


def cpu(free: float, **more: Any) -> ClusterShare:
    return ClusterShare(free={"cpu": free}, **more)


@pytest.mark.parametrize(
    ("shares", "total", "expected"),
    [
        (made(division="Duplicated", a=ClusterShare(), b=ClusterShare()), 4, {"a": 4, "b": 4}),
        (made(division="Duplicated", a=ClusterShare(maximum=3), b=ClusterShare()), 4, {"a": 3, "b": 4}),
        (made(a=ClusterShare(3), b=ClusterShare(1)), 8, {"a": 6, "b": 2}),
        (made(a=ClusterShare(0), b=ClusterShare(0)), 4, {"a": 2, "b": 2}),
        (made(a=ClusterShare(3, maximum=4), b=ClusterShare(1)), 8, {"a": 4, "b": 4}),
        (made(a=ClusterShare(9), b=ClusterShare(1, minimum=3)), 8, {"a": 5, "b": 3}),
        (made(a=ClusterShare(minimum=2), b=ClusterShare(minimum=2), c=ClusterShare(minimum=2)), 5, {"a": 3, "b": 2, "c": 0}),
        (made(a=ClusterShare(maximum=2), b=ClusterShare(maximum=2)), 8, {"a": 2, "b": 2}),
        (made("Capacity", a=cpu(6.0), b=cpu(2.0)), 4, {"a": 3, "b": 1}),
        (made("Aggregated", a=cpu(2.0), b=cpu(6.0), c=cpu(1.0)), 7, {"a": 1, "b": 6, "c": 0}),
        (made("Aggregated", a=cpu(2.0), b=cpu(6.0)), 20, {"a": 2, "b": 18}),
        (made("Aggregated", a=ClusterShare(), b=ClusterShare()), 5, {"a": 5, "b": 0}),
        (made("Aggregated", a=cpu(2.0, maximum=3), b=cpu(6.0, maximum=7)), 20, {"a": 3, "b": 7}),
    ],
)
def test_replicas_are_divided_as_asked(shares: Shares, total: int, expected: dict[str, int]) -> None:
    assert divided(total, shares, pod={"cpu": 1.0}) == expected


def test_by_capacity_what_runs_stays_and_only_more_goes_where_there_is_room() -> None:
    shares = made("Capacity", a=cpu(1.0), b=cpu(9.0))
    assert divided(14, shares, pod={"cpu": 1.0}, a=4, b=0) == {"a": 5, "b": 9}
    assert divided(2, shares, pod={"cpu": 1.0}, a=4, b=4) == {"a": 1, "b": 1}
    assert divided(8, shares, pod={"cpu": 1.0}, a=4, b=4) == {"a": 4, "b": 4}


def test_aggregated_stays_where_it_is() -> None:
    shares = made("Aggregated", a=cpu(3.0), b=cpu(9.0))
    assert divided(3, shares, pod={"cpu": 1.0}, a=3) == {"a": 3, "b": 0}
    assert divided(5, shares, pod={"cpu": 1.0}, a=3) == {"a": 3, "b": 2}


KEYS = ["a", "b", "c", "d"]
SHARES = st.builds(
    Shares,
    st.just(Division.DIVIDED),
    st.sampled_from(list(Preference)),
    st.dictionaries(
        st.sampled_from(KEYS),
        st.builds(ClusterShare, st.integers(0, 5), st.integers(0, 2), st.one_of(st.none(), st.integers(2, 9)), st.just({}))
        | st.builds(ClusterShare, st.integers(0, 5), st.just(0), st.none(), st.fixed_dictionaries({"cpu": st.integers(0, 9).map(float)})),
        min_size=1,
    ),
)


@given(st.integers(0, 40), SHARES, st.dictionaries(st.sampled_from(KEYS), st.integers(0, 9)))
def test_all_replicas_have_a_place_unless_the_bounds_forbid_it(total: int, shares: Shares, current: dict[str, int]) -> None:
    found = share(total, sorted(shares.clusters), shares, current=current, pod={"cpu": 1.0})
    assert set(found) == set(shares.clusters)
    assert all(0 <= n <= (total if (m := shares.clusters[k].maximum) is None else m) for k, n in found.items())
    assert sum(found.values()) <= total
    missing = unplaced(total, shares, found)
    assert (missing is None) == (sum(found.values()) == total)


@given(st.integers(0, 40), SHARES)
def test_dividing_again_changes_nothing(total: int, shares: Shares) -> None:
    first = share(total, sorted(shares.clusters), shares, current={}, pod={"cpu": 1.0})
    assert share(total, sorted(shares.clusters), shares, current=first, pod={"cpu": 1.0}) == first


@given(SHARES)
def test_what_is_written_down_is_read_again(shares: Shares) -> None:
    assert Shares.from_json(shares.to_json()) == shares


@pytest.mark.parametrize("text", [None, "", "{}", "no", "[]", '{"clusters":3}', '{"clusters":{},"division":"x","preference":"y"}'])
def test_what_cannot_be_read_means_evenly(text: str | None) -> None:
    assert Shares.from_json(text) is None


def target(name: str, free: float, **labels: str) -> Target:
    return Target(name, name, labels, ready=True, allocatable={"cpu": free})


def test_a_policy_that_says_nothing_about_replicas_writes_nothing() -> None:
    assert shares_of(read({"strategy": "Spread"}).policy, [target("a", 1.0)], None) is None


def test_rules_and_bounds_of_a_policy_become_shares() -> None:
    rules = [
        {"clusterNames": ["a"], "weight": 3, "maxReplicas": 5},
        {"clusterSelector": {"matchLabels": {"tier": "gold"}}, "minReplicas": 1},
    ]
    policy = read({"clusterRules": rules, "replicas": {"maxPerCluster": 9}}).policy
    found = shares_of(policy, [target("a", 1.0), target("b", 2.0, tier="gold"), target("c", 3.0)], None)
    assert found is not None
    assert found.clusters == {"a": ClusterShare(3, 0, 5), "b": ClusterShare(1, 1, 9), "c": ClusterShare(1, 0, 9)}


def test_free_capacity_is_written_down_when_clusters_are_chosen_and_not_followed_later() -> None:
    policy = read({"replicas": {"preference": "Capacity"}}).policy
    first = shares_of(policy, [target("a", 4.0), target("b", 2.0)], None)
    assert shares_of(policy, [target("a", 1.0), target("b", 9.0)], first) == first
    again = shares_of(policy, [target("a", 1.0), target("c", 9.0)], first)
    assert again is not None
    assert {k: c.free["cpu"] for k, c in again.clusters.items()} == {"a": 1.0, "c": 9.0}


def test_several_placements_on_a_namespace_bring_their_clusters_together() -> None:
    found = combine([made(a=ClusterShare(2)), made("Capacity", a=ClusterShare(7), b=ClusterShare(5))])
    assert found == made(a=ClusterShare(2), b=ClusterShare(5))


def test_what_a_replica_requests_is_the_sum_of_its_containers() -> None:
    containers = [{"resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}, {"resources": {"requests": {"cpu": 1}}}, {}]
    assert pod_requests({"spec": {"template": {"spec": {"containers": containers}}}}) == {"cpu": 1.5, "memory": float(1 << 30)}


def test_objects_follow_the_shares_of_their_namespace_and_tell_what_has_no_place() -> None:
    shares = made(A=ClusterShare(3, maximum=3), B=ClusterShare(1, maximum=3))
    labels = {STATE_LABEL + key: "Sync" for key in "AB"}
    namespace = {"metadata": {"name": "default", "labels": labels, "annotations": {SHARES_ANNOTATION: shares.to_json()}}}
    deployment = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": 4}}
    found = resources.decide(deployment, namespace, divided=True, now="now")
    assert [share_of(found, k) for k in "AB"] == [3, 1]
    assert UNPLACED_ANNOTATION not in meta.annotations(found)
    found["spec"]["replicas"] = 8
    more = resources.decide(found, namespace, divided=True, now="now")
    assert [share_of(more, k) for k in "AB"] == [3, 3]
    assert meta.annotations(more)[UNPLACED_ANNOTATION].startswith("2 of 8: ")
