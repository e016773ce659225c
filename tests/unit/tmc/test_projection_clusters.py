"""Which objects and clusters a projection takes, and circles: direct, through several, and what looks like one and is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kcp.tmc.placement.snapshot import Taint, Target
from kcp.tmc.projection.clusters import choose, circle
from kcp.tmc.projection.spec import Projection, faults

NAMES = {name: name for name in ("east", "north", "west")}
FLEET = [Target(name, name, {"region": name}, ready=True, allocatable={"cpu": 8.0}) for name in sorted(NAMES)]


def projection(name: str = "p", *, chosen: str = "", created: str = "2026-01-01T00:00:00Z", **spec: Any) -> Projection:
    annotations = {"kcp.io/cluster": "ws", "internal.workload.kcp.io/synctarget": chosen}
    obj = {"metadata": {"name": name, "annotations": annotations, "creationTimestamp": created}, "spec": spec}
    return Projection.of(obj)


def config_map(name: str = "c", namespace: str = "default", **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "labels": {k.replace("__", "/").replace("_", "."): v for k, v in labels.items()}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}}


@pytest.mark.parametrize(
    ("labels", "is_taken"),
    [({}, False), ({"tmc_projection": "enabled"}, True), ({"workload_kcp_io__auto-project": "true"}, True),
     ({"tmc_kcp_io__project": "p"}, True), ({"tmc_kcp_io__project": "other"}, False), ({"tmc_kcp_io__project": "false"}, False)],
)  # fmt: skip
def test_without_selectors_the_labels_of_objects_decide(labels: dict[str, str], *, is_taken: bool) -> None:
    assert projection().selects(config_map(**labels), "") is is_taken


def test_selectors_ask_for_kind_name_labels_and_fields() -> None:
    selectors = [{"gvk": {"group": "", "version": "v1", "kind": "ConfigMap"}, "namePattern": "site-*", "labelSelector": {"matchLabels": {"t": "1"}},
                  "fieldSelector": "metadata.namespace!=private,data.a=1"}]  # fmt: skip
    p = projection(resourceSelectors=selectors, namespaces=["d*", "private"])
    assert p.selects(config_map("site-1", t="1"), "")
    assert not p.selects(config_map("page-1", t="1"), "")
    assert not p.selects(config_map("site-1"), "")
    assert not p.selects(config_map("site-1", "private", t="1"), "")
    assert not p.selects(config_map("site-1", "other", t="1"), "")
    assert not p.selects({**config_map("site-1", t="1"), "kind": "Secret"}, "")


def test_an_object_can_keep_out_and_a_copy_is_never_taken() -> None:
    everything = projection(mode="All")
    assert everything.selects(config_map(), "")
    assert not everything.selects(config_map(tmc_kcp_io__project="false"), "")
    assert not everything.selects(config_map(workload_kcp_io__projected="true"), "")
    assert not everything.selects(config_map(namespace="kube-system"), "")
    assert not everything.selects(config_map(), "east"), "what a cluster shows is not the workspace's"
    assert projection(mode="All", source={"clusters": ["e*"]}).selects(config_map(), "east")


def test_clusters_by_name_label_and_condition() -> None:
    chosen = choose(projection(targetClusters=["e*", "gone"], targetSelector={"matchLabels": {"region": "east"}}), FLEET, "root:a")
    assert [t.name for t in chosen.chosen] == ["east"]
    assert chosen.missing == ("gone",)
    small = [replace(t, allocatable={"cpu": 2.0}) if t.name == "west" else t for t in FLEET]
    conditional = projection(mode="Conditional", conditional="cluster.capacity.cpu > 4")
    found = choose(conditional, small, "root:a")
    assert [t.name for t in found.chosen] == ["east", "north"]
    assert found.passed == {"west": "cluster.capacity.cpu > 4 is false"}


def test_a_condition_that_fails_on_one_cluster_keeps_what_is_there() -> None:
    silent = [replace(t, allocatable={}) if t.name == "west" else t for t in FLEET]
    conditional = projection(mode="Conditional", conditional="cluster.capacity.cpu > 4")
    found = choose(conditional, silent, "root:a")
    assert [t.name for t in found.chosen] == ["east", "north"]
    assert "no such key" in found.failed["west"]
    assert [t.name for t in choose(replace(conditional, chosen=("west",)), silent, "root:a").chosen] == ["east", "north", "west"]


def test_cordons_and_taints_keep_new_copies_away_and_drains_take_them() -> None:
    east, north, west = FLEET
    fleet = [replace(east, unschedulable=True), replace(north, taints=(Taint("a"),)), replace(west, evicting=True)]
    assert [t.name for t in choose(projection(), fleet, "root:a").chosen] == []
    assert [t.name for t in choose(projection(chosen="east,north,west"), fleet, "root:a").chosen] == ["east", "north"]
    assert [t.name for t in choose(projection(tolerations=[{"operator": "Exists"}]), fleet, "root:a").chosen] == ["north"]


# --- circles ---


def between(name: str, source: str, target: str, created: str, **spec: Any) -> Projection:
    return projection(name, chosen=target, created=created, source={"clusters": [source]}, targetClusters=[target], **spec)


def test_the_youngest_of_a_circle_is_refused() -> None:
    a, b, c = (between(n, s, t, f"2026-01-0{day}T00:00:00Z") for day, (n, s, t) in
               enumerate([("a", "east", "north"), ("b", "north", "west"), ("c", "west", "east")], start=1))  # fmt: skip
    assert circle(c, [a, b, c], NAMES) == "west → east (c) → north (a) → west (b)"
    assert circle(a, [a, b, c], NAMES) == ""
    assert circle(b, [a, b, c], NAMES) == ""


def test_a_projection_onto_its_own_source_is_a_circle() -> None:
    assert circle(between("a", "east", "east", "2026-01-01T00:00:00Z"), [], NAMES) == "east → east (a)"


def test_there_and_back_is_no_circle_if_nothing_could_go_both_ways() -> None:
    one = between("a", "east", "west", "2026-01-01T00:00:00Z", resourceSelectors=[{"labelSelector": {"matchLabels": {"home": "east"}}}])
    back = between("b", "west", "east", "2026-01-02T00:00:00Z", resourceSelectors=[{"labelSelector": {"matchLabels": {"home": "west"}}}])
    assert circle(back, [one], NAMES) == ""
    secrets = between("b", "west", "east", "2026-01-02T00:00:00Z", resourceSelectors=[{"apiVersion": "v1", "kind": "Secret"}])
    maps = between("a", "east", "west", "2026-01-01T00:00:00Z", resourceSelectors=[{"apiVersion": "v1", "kind": "ConfigMap"}])
    assert circle(secrets, [maps], NAMES) == ""
    assert circle(between("b", "west", "east", "2026-01-02T00:00:00Z"), [maps], NAMES) == "west → east (b) → west (a)"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"mode": "All", "resourceSelectors": [{}]}, "spec.resourceSelectors"),
        ({"mode": "Conditional"}, "spec.conditional"),
        ({"conditional": "true"}, "spec.conditional"),
        ({"mode": "Conditional", "conditional": "object.a"}, "spec.conditional"),
        ({"resourceSelectors": [{"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}]}, "spec.resourceSelectors[0]"),
        ({"resourceSelectors": [{"fieldSelector": "a"}]}, "spec.resourceSelectors[0]"),
        ({"targetSelector": {"matchLabels": {"-": "x"}}}, "spec.targetSelector"),
        ({"transformations": [{"type": "Set", "jsonPath": "spec.a"}]}, "spec.transformations[0].value"),
    ],
)
def test_faults_name_their_field_and_select_nothing(spec: dict[str, Any], field: str) -> None:
    assert field in [cause.field for cause in faults({"spec": spec})]
    assert not projection(**spec).selects(config_map(tmc_projection="enabled"), "")
