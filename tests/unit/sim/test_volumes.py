"""Which volume a claim gets, and what volumes and claims say of themselves. Pure."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.sim.workloads.volumes import claim_status, is_bound_to, match, volume, volume_phase


def claim(storage: str = "1Gi", name: str = "data", **spec: Any) -> JSONObject:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage}}, **spec}
    return {"metadata": {"name": name, "namespace": "n", "uid": f"uid-{name}"}, "spec": wanted}


def held(name: str, storage: str = "2Gi", *, labels: dict[str, str] | None = None, **spec: Any) -> JSONObject:
    offer = {"capacity": {"storage": storage}, "accessModes": ["ReadWriteOnce"], **spec}
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": offer}


def chosen(wanted: JSONObject, *volumes: JSONObject) -> str:
    found = match(wanted, volumes)
    return meta.name(found) if found is not None else ""


def test_the_smallest_volume_that_fits_is_taken_ties_by_name() -> None:
    assert chosen(claim(), held("big", "9Gi"), held("b", "2Gi"), held("a", "2Gi"), held("tiny", "1Mi")) == "a"


@pytest.mark.parametrize(
    ("wanted", "offer"),
    [
        (claim(accessModes=["ReadWriteMany"]), held("v")),
        (claim(volumeMode="Block"), held("v")),
        (claim(storageClassName="gold"), held("v")),
        (claim(), held("v", storageClassName="gold")),
        (claim(selector={"matchLabels": {"a": "b"}}), held("v")),
        (claim(), held("v", claimRef={"namespace": "n", "name": "other"})),
        (claim("3Gi"), held("v")),
    ],
)
def test_volumes_that_do_not_fit_are_left(wanted: JSONObject, offer: JSONObject) -> None:
    assert chosen(wanted, offer) == ""


def test_a_volume_reserved_for_the_claim_wins_whatever_its_size() -> None:
    reserved = held("reserved", "1Mi", claimRef={"namespace": "n", "name": "data"})
    assert chosen(claim(), held("fits"), reserved) == "reserved"
    assert not is_bound_to(held("v", claimRef={"namespace": "n", "name": "data", "uid": "another"}), claim())


def test_phases() -> None:
    bound = volume(claim())
    assert volume_phase(held("v"), None) == "Available"
    assert volume_phase(held("v", claimRef={"namespace": "n", "name": "data"}), claim()) == "Available"
    assert volume_phase(bound, claim()) == "Bound"
    assert volume_phase(bound, None) == "Released"
    assert volume_phase(bound, {"metadata": {"name": "data", "namespace": "n", "uid": "again"}}) == "Released"
    assert claim_status(claim(), None)["phase"] == "Pending"
    assert claim_status(claim(), bound) == {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}
    lost = claim()
    meta.set_annotation(lost, "pv.kubernetes.io/bind-completed", "yes")
    assert claim_status(lost, None)["phase"] == "Lost"


def test_a_made_volume_keeps_the_policy_of_its_class() -> None:
    assert volume(claim())["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
    assert volume(claim(), {"reclaimPolicy": "Retain"})["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
