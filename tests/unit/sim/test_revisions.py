"""The history of templates: created, numbered, renumbered after an undo, bounded. Pure."""

from __future__ import annotations

from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.sim.workloads.revisions import Plan, plan, template_of
from kcp.sim.workloads.statefulset import REVISION_LABEL, STATEFULSET


def owner(image: str = "a", **spec: Any) -> JSONObject:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    metadata = {"name": "web", "namespace": "n", "uid": "u", "annotations": {"kubernetes.io/change-cause": image}}
    return {"metadata": metadata, "spec": {"template": template, **spec}}


def of(image: str, held: list[JSONObject], used: tuple[str, ...] = (), **spec: Any) -> Plan:
    return plan(owner(image, **spec), STATEFULSET, held, used, REVISION_LABEL)


def made(images: str) -> list[JSONObject]:
    """Revisions of these images, one after the other."""
    held: list[JSONObject] = []
    for image in images:
        created = of(image, held).create
        assert created is not None
        held.append(created)
    return held


def test_a_new_template_makes_the_next_revision() -> None:
    held = made("ab")
    assert [r["revision"] for r in held] == [1, 2]
    assert meta.annotations(held[1]) == {"kubernetes.io/change-cause": "b"}
    assert meta.labels(held[1])["app"] == "web"
    assert meta.name(held[1]) == f"web-{meta.labels(held[1])[REVISION_LABEL]}"
    assert held[1]["data"]["spec"]["template"]["$patch"] == "replace"
    assert template_of(held[1]) == owner("b")["spec"]["template"]
    assert of("b", held) == Plan(number=2)


def test_an_earlier_template_becomes_the_latest_again() -> None:
    held = made("abc")
    undone = of("a", held)
    assert undone.create is None
    assert undone.renumber == held[0]
    assert undone.number == 4


def test_the_oldest_unused_revisions_go() -> None:
    held = made("abcde")
    plan_ = of("e", held, used=(meta.name(held[0]),), revisionHistoryLimit=1)
    assert [r["revision"] for r in plan_.delete] == [2, 3]
    assert of("e", held, revisionHistoryLimit=0).delete == tuple(held[:4])
