"""Versions that are known to be old: skipped until the mirror shows another, never longer."""

from __future__ import annotations

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.controller.superseded import Superseded


def at(version: str) -> JSONObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b", "resourceVersion": version}}


def test_what_was_written_over_is_not_decided_on() -> None:
    held = Superseded()
    assert not held.holds(at("1"))
    held.wrote(at("1"), at("2"))
    held.wrote(at("2"), at("3"))
    assert held.holds(at("1"))
    assert held.holds(at("2"))
    assert not held.holds(at("3"))
    assert len(held) == 0


def test_a_version_of_somebody_else_is_believed() -> None:
    held = Superseded()
    held.wrote(at("1"), at("2"))
    assert not held.holds(at("7"))


def test_a_write_that_changed_nothing_brings_no_event_to_wait_for() -> None:
    held = Superseded()
    held.wrote(at("1"), at("1"))
    assert not held.holds(at("1"))


def test_nothing_is_kept_of_what_is_gone() -> None:
    held = Superseded()
    held.wrote(at("1"), at("2"))
    held.forget(meta.key(at("1")))
    assert len(held) == 0
