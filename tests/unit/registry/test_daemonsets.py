"""The template generation of DaemonSets: counted by the server, shown as an annotation."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.errors import BadRequest
from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.meta import JSONObject, copy_json, nested
from kcp.registry.builtin import strategy_for
from kcp.registry.daemonsets import TEMPLATE_GENERATION

KIND = strategy_for(GVK("apps", "v1", "DaemonSet"))


def daemon_set(image: str = "a", *, given: str | None = None) -> JSONObject:
    template: dict[str, Any] = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    held = {} if given is None else {TEMPLATE_GENERATION: given}
    return {"metadata": {"name": "d", "annotations": held}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}


def generation(obj: JSONObject) -> str:
    return str(nested(obj, "metadata", "annotations", TEMPLATE_GENERATION))


def created(obj: JSONObject) -> JSONObject:
    assert KIND is not None
    KIND.prepare_create(obj, "2026-01-01T00:00:00Z")
    return obj


def updated(obj: JSONObject, old: JSONObject) -> str:
    assert KIND is not None
    KIND.prepare_update(obj, copy_json(old))
    return generation(obj)


def test_it_starts_with_one_or_where_the_creator_says() -> None:
    assert generation(created(daemon_set())) == "1"
    assert generation(created(daemon_set(given="7"))) == "7"


def test_it_counts_changes_of_the_template_and_nothing_else() -> None:
    old = created(daemon_set())
    assert updated(daemon_set(), old) == "1", "the same template before its defaults"
    assert updated(daemon_set(given="9"), old) == "1", "nobody else counts"
    assert updated(daemon_set("b"), old) == "2"


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(BadRequest, match='strconv.ParseInt: parsing "x": invalid syntax'):
        created(daemon_set(given="x"))
