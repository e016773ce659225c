"""Keys by cluster and namespace: few of them and many answer alike."""

from __future__ import annotations

import random

import pytest

from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.controller.scopes import Scopes

ONE, OTHER = ClusterName("one"), ClusterName("other")


def key(number: int, cluster: ClusterName = ONE) -> ObjectKey:
    return ObjectKey(cluster, ("", "a", "b")[number % 3], f"n{number}")


def agrees(scopes: Scopes, held: set[ObjectKey]) -> None:
    for cluster in (ONE, OTHER, None):
        for namespace in ("", "a", "b", "absent", None):
            wanted = {k for k in held if cluster in (None, k.cluster) and namespace in (None, k.namespace)}
            assert set(scopes.keys(cluster, namespace)) == wanted
            if cluster is not None:
                assert scopes.count(cluster, namespace) == len(wanted)
    assert scopes.clusters() == sorted({k.cluster for k in held})


@pytest.mark.parametrize("most", [1, 8, 9, 40])
def test_what_was_added_and_not_discarded_is_there(most: int) -> None:
    scopes, held, rng = Scopes(), set[ObjectKey](), random.Random(most)
    for _ in range(400):
        each = key(rng.randrange(most), rng.choice((ONE, OTHER)))
        if each in held:
            scopes.discard(each)
            held.remove(each)
        else:
            scopes.add(each)
            held.add(each)
        agrees(scopes, held)


def test_nothing_is_left_of_a_cluster_whose_keys_have_gone() -> None:
    scopes = Scopes()
    for number in range(20):
        scopes.add(key(number))
    for number in range(20):
        scopes.discard(key(number))
    assert scopes.clusters() == []
    assert scopes.count(ONE, None) == 0
