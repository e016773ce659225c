"""The template generation of DaemonSets: counted by the server, shown as an annotation."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.errors import BadRequest
from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.meta import JSONObject, annotations, copy_json
from kcp.registry.builtin import strategy_for
from kcp.registry.daemonsets import TEMPLATE_GENERATION

STRATEGY = strategy_for(GVK("apps", "v1", "DaemonSet"))


def daemon_set(image: str = "a", **marks: str) -> JSONObject:
    template: dict[str, Any] = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    held = {TEMPLATE_GENERATION: text for text in marks.values()}
    return {"metadata": {"name": "d", "annotations": held}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}


def created(obj: JSONObject) -> JSONObject:
    assert STRATEGY is not None
    STRATEGY.prepare_create(obj, "2026-01-01T00:00:00Z")
    return obj


def updated(obj: JSONObject, old: JSONObject) -> str:
    assert STRATEGY is not None
    STRATEGY.prepare_update(obj, copy_json(old))
    return annotations(obj)[TEMPLATE_GENERATION]


def test_it_starts_with_one_or_where_the_creator_says() -> None:
    assert annotations(created(daemon_set()))[TEMPLATE_GENERATION] == "1"
    assert annotations(created(daemon_set(given="7")))[TEMPLATE_GENERATION] == "7"


def test_it_counts_changes_of_the_template_and_nothing_else() -> None:
    old = created(daemon_set())
    assert updated(daemon_set(), old) == "1", "the same template before its defaults"
    assert updated(daemon_set(given="9"), old) == "1", "nobody else counts"
    assert updated(daemon_set("b"), old) == "2"


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(BadRequest, match='strconv.ParseInt: parsing "x": invalid syntax'):
        created(daemon_set(given="x"))
