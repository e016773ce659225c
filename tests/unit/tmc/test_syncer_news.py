"""Which changes of an object a syncer looks at, and which it may leave out."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.meta import JSONObject
from kcp.tmc.syncer import news
from kcp.tmc.syncer.downstream import GENERATION_ANNOTATION

OWN = "workload.kcp.io/syncer-x"


def obj(version: str = "1", *, spec: int = 1, status: Any = None, **metadata: Any) -> JSONObject:
    made: JSONObject = {"metadata": {"name": "web", "resourceVersion": version, **metadata}, "spec": {"replicas": spec}}
    return made if status is None else {**made, "status": status}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (obj(), obj("2")),
        (obj(), obj("2", status={"replicas": 1})),
        (obj(status={"replicas": 1}), obj("2", status={"replicas": 2})),
        (obj(status={"replicas": 1}), obj("2")),
        (obj(), obj("2", managedFields=[{"manager": "a"}])),
        (obj(finalizers=["a"]), obj("2", finalizers=["a", OWN])),
        (obj(), obj("2", finalizers=[OWN])),
    ],
)
def test_status_stamps_and_the_own_finalizer_are_no_news_of_a_spec(old: JSONObject, new: JSONObject) -> None:
    assert not news.of_spec(old, new, OWN)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, obj()),
        (obj(), None),
        (obj(), obj("2", spec=2)),
        (obj(), {**obj("2"), "data": {}}),
        ({**obj(), "data": {}}, obj("2")),
        (obj(), obj("2", labels={"a": "b"})),
        (obj(annotations={"a": "b"}), obj("2")),
        (obj(), obj("2", uid="other")),
        (obj(), obj("2", deletionTimestamp="2024-01-01T00:00:00Z")),
        (obj(), obj("2", finalizers=["another"])),
        (obj(finalizers=[OWN]), obj("2")),
        (obj(finalizers=["a"]), obj("2", finalizers=[OWN])),
        (
            obj(deletionTimestamp="2024-01-01T00:00:00Z"),
            obj("2", deletionTimestamp="2024-01-01T00:00:00Z", finalizers=[OWN]),
        ),
    ],
)
def test_everything_else_is_news_of_a_spec(old: JSONObject | None, new: JSONObject | None) -> None:
    assert news.of_spec(old, new, OWN)


def test_a_finalizer_of_a_copy_is_news_of_it() -> None:
    assert news.of_spec(obj(), obj("2", finalizers=[OWN]))


def test_a_copy_without_a_status_has_nothing_to_report() -> None:
    assert not news.of_copys_status(None, obj())
    assert not news.of_copys_status(obj(), obj("2", spec=2, status={}))
    assert not news.of_copys_status(obj(status={"replicas": 1}), None)


def test_what_is_reported_of_a_copy_hangs_on_its_status_and_both_generations() -> None:
    status = {"replicas": 1}
    held = obj(status=status, generation=1, annotations={GENERATION_ANNOTATION: "1"})
    assert news.of_copys_status(None, held)
    assert not news.of_copys_status(held, {**held, "spec": {"replicas": 2}})
    assert news.of_copys_status(held, {**held, "status": {"replicas": 2}})
    assert news.of_copys_status(held, obj(status=status, generation=2, annotations={GENERATION_ANNOTATION: "1"}))
    assert news.of_copys_status(held, obj(status=status, generation=1, annotations={GENERATION_ANNOTATION: "2"}))


def test_a_status_above_that_somebody_changed_is_looked_at_and_one_that_goes_is_not() -> None:
    assert news.of_views_status(None, obj())
    assert news.of_views_status(obj(status={"a": 1}), obj("2"))
    assert not news.of_views_status(obj(status={"a": 1}), obj("2", spec=2, status={"a": 1}))
    assert not news.of_views_status(obj(), None)
