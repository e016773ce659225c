"""Objects on many clusters in the views of their targets: taken apart they look the same, and what only others see is told once in a while."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import orjson
import pytest

from kcp.aio.clock import VirtualClock
from kcp.apimachinery import meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.registry.backend import Item, Scope, WatchEvent, WatchQuery
from kcp.tmc.model.names import (
    DELETION_ANNOTATION,
    MADE_ANNOTATION,
    OVERRIDE_ANNOTATION,
    PROJECTED_ANNOTATION,
    STATE_LABEL,
    STATE_SYNC,
    STATUS_ANNOTATION,
    SYNCER_FINALIZER,
)
from kcp.tmc.view.parts import is_news, is_wide, opened
from kcp.tmc.view.syncer import SyncerTransformation
from kcp.virtual.transform import Narrowing, TransformingBackend, folded

KEY = ObjectKey(ClusterName("c1"), "default", "web")
TARGETS = [f"K{number}" for number in range(8)]


def wide(kind: str = "ConfigMap", targets: Sequence[str] = TARGETS) -> JSONObject:
    obj: JSONObject = {
        "apiVersion": "v1", "kind": kind, "data": {"a": "1"}, "status": {"phase": "Active"},
        "metadata": {
            "resourceVersion": "7", "name": "web", "namespace": "default", "managedFields": [{"manager": "syncer"}],
            "annotations": {"kcp.io/cluster": "c1", "note": "mine"}, "labels": {"app": "web"}, "finalizers": ["example.com/other"],
        },
    }  # fmt: skip
    for number, key in enumerate(targets):
        meta.set_label(obj, STATE_LABEL + key, STATE_SYNC)
        meta.set_annotation(obj, PROJECTED_ANNOTATION + key, '{"by":["p"],"from":"c1"}')
        meta.set_annotation(obj, STATUS_ANNOTATION + key, f'{{"replicas":{number}}}')
        patch = [{"op": "replace", "path": "/data/a", "value": key}]
        meta.set_annotation(obj, OVERRIDE_ANNOTATION + key, orjson.dumps(patch).decode())
        meta.set_finalizers(obj, [*meta.finalizers(obj), SYNCER_FINALIZER + key])
    meta.set_annotation(obj, DELETION_ANNOTATION + targets[2], "2026-01-01T00:00:00Z")
    return obj


def item(obj: JSONObject, revision: int = 7) -> Item:
    obj["metadata"]["resourceVersion"] = str(revision)
    return Item(KEY, revision, orjson.dumps(obj), dict(meta.labels(obj)))


def changed(then: JSONObject, now: JSONObject) -> WatchEvent:
    before = item(then)
    return WatchEvent("MODIFIED", item(now, 8), 8, before=before)


@pytest.mark.parametrize("kind", ["ConfigMap", "Namespace"])
@pytest.mark.parametrize("targets", [TARGETS, TARGETS[:3]])
def test_each_target_sees_the_same_as_of_the_whole_object(kind: str, targets: list[str]) -> None:
    whole = item(wide(kind, targets))
    for key in (*targets, "elsewhere"):
        view = SyncerTransformation(key, VirtualClock(), "https://kcp/clusters")
        keeps_status = kind == "Namespace"
        assert view.shown(opened(whole, key), keeps_status=keeps_status) == view.shown(whole.decode(), keeps_status=keeps_status)


def test_what_one_target_is_given_is_its_own_to_change() -> None:
    whole = item(wide())
    first = opened(whole, "K0")
    first["metadata"]["annotations"].clear()
    first["metadata"]["finalizers"].clear()
    assert opened(whole, "K0")["metadata"]["finalizers"] == [SYNCER_FINALIZER + "K0"]


def test_a_change_of_ones_own_or_of_the_object_is_news() -> None:
    now = wide()
    meta.set_annotation(now, MADE_ANNOTATION + "K1", "2026-01-01T00:00:00Z")
    assert [is_news(changed(wide(), now), key) for key in ("K0", "K1")] == [False, True]
    now = wide()
    now["data"]["a"] = "2"
    assert all(is_news(changed(wide(), now), key) for key in TARGETS)


def test_a_status_is_news_to_the_targets_of_a_namespace_only() -> None:
    for kind, expected in (("ConfigMap", False), ("Namespace", True)):
        now = wide(kind)
        now["status"] = {"phase": "Terminating"}
        assert is_news(changed(wide(kind), now), "K0") is expected


def test_objects_of_few_targets_are_always_told() -> None:
    then, now = wide(targets=TARGETS[:3]), wide(targets=TARGETS[:3])
    assert is_news(changed(then, now), "K0")
    assert not is_wide(item(now))


def test_of_changes_in_a_row_the_last_is_told_but_nothing_across_a_bookmark() -> None:
    obj = item(wide())
    first, second, third = (WatchEvent("MODIFIED", obj, revision) for revision in (1, 2, 3))
    added, gone = WatchEvent("ADDED", obj, 0), WatchEvent("DELETED", obj, 4)
    bookmark = WatchEvent("BOOKMARK", None, 2, b"{}")
    assert folded([added, first, second, third], is_wide) == [added, third]
    assert folded([first, second, gone], is_wide) == [second, gone]
    assert folded([first, bookmark, second], is_wide) == [first, bookmark, second]
    assert folded([first, second], lambda _: False) == [first, second]


class Feed:
    """The part of a backend that a watch asks: batches as they are given."""

    def __init__(self, batches: list[list[WatchEvent]]) -> None:
        self.batches = batches

    async def watch(self, *_: object) -> AsyncIterator[Sequence[WatchEvent]]:
        for batch in self.batches:
            yield batch


async def test_a_watch_rests_after_what_only_others_see_and_not_after_its_own() -> None:
    clock, now = Counting(), wide()
    meta.set_annotation(now, MADE_ANNOTATION + "K1", "2026-01-01T00:00:00Z")
    event = changed(wide(), now)
    for key, pauses in (("K0", 1), ("K1", 0)):
        clock.slept_s = 0.0
        narrowing = Narrowing(lambda i, key=key: opened(i, key), lambda e, key=key: is_news(e, key), is_wide, clock)  # type: ignore[misc]
        selector = LabelSelector.parse(f"{STATE_LABEL}{key}={STATE_SYNC}")
        view = TransformingBackend(cast("Any", Feed([[event]])), selector, SyncerTransformation(key, clock), narrowing=narrowing)
        scope = cast("Scope", type("AnyScope", (), {"resource": type("R", (), {"gvr": type("G", (), {"group_resource": None})})})())
        told = [e for batch in [b async for b in view.watch(scope, WatchQuery())] for e in batch]
        assert [e.revision for e in told] == [8]
        assert (clock.slept_s > 0) is bool(pauses)


class Counting(VirtualClock):
    """Whose sleeps end at once."""

    slept_s = 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept_s += seconds


def test_when_a_copy_was_first_made_is_not_told_anew_by_who_has_not_heard_of_it() -> None:
    view, live = SyncerTransformation("K0", VirtualClock()), wide()
    meta.set_annotation(live, MADE_ANNOTATION + "K0", "2026-01-01T00:00:00Z")
    again = view.shown(meta.copy_json(live))
    meta.set_annotation(again, MADE_ANNOTATION + "K0", "2026-01-01T00:00:09Z")
    scope = cast("Scope", type("AnyScope", (), {"subresource": ""})())
    assert meta.annotations(view.inward(scope, live, again))[MADE_ANNOTATION + "K0"] == "2026-01-01T00:00:00Z"


def test_who_lets_go_of_an_object_that_is_wanted_again_leaves_no_report_of_the_copy_that_is_gone() -> None:
    view, live = SyncerTransformation("K0", VirtualClock()), wide()
    scope = cast("Scope", type("AnyScope", (), {"subresource": ""})())
    seen = view.shown(opened(item(wide()), "K0"))
    meta.set_finalizers(seen, [])
    found = view.inward(scope, live, seen)
    assert STATUS_ANNOTATION + "K0" not in meta.annotations(found)
    assert STATUS_ANNOTATION + "K1" in meta.annotations(found)
    assert STATE_LABEL + "K0" in meta.labels(found)
