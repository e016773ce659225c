"""Edits of the kubeconfig: entering, going back, contexts of one's own; nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.cli import plugin_contexts as contexts
from kcp.client.kubeconfig import find


@pytest.fixture
def document() -> JSONObject:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "root",
        "clusters": [{"name": "root", "cluster": {"server": "https://h/clusters/root", "certificate-authority-data": "Y2E="}}],
        "contexts": [{"name": "root", "context": {"cluster": "root", "user": "kcp-admin"}}],
        "users": [{"name": "kcp-admin", "user": {"token": "t"}}],
        "extensions": [{"name": "kept"}],
    }


def enter(document: JSONObject, path: str) -> None:
    contexts.enter(copy_json(document), document, document["current-context"], f"https://h/clusters/{path}")


def where(document: JSONObject, context: str) -> tuple[Any, Any]:
    held = find(document, "contexts", context)
    assert held is not None
    cluster = find(document, "clusters", held["cluster"])
    assert cluster is not None
    return cluster["server"], held["user"]


def test_entering_keeps_credentials_and_remembers_the_context_left(document: JSONObject) -> None:
    enter(document, "root:a")
    assert document["current-context"] == "workspace.kcp.io/current"
    assert where(document, "workspace.kcp.io/current") == ("https://h/clusters/root:a", "kcp-admin")
    assert where(document, "workspace.kcp.io/previous") == ("https://h/clusters/root", "kcp-admin")
    current = find(document, "clusters", "workspace.kcp.io/current")
    assert current is not None
    assert current["certificate-authority-data"] == "Y2E="
    assert where(document, "root") == ("https://h/clusters/root", "kcp-admin")
    assert document["extensions"] == [{"name": "kept"}]


def test_entering_again_remembers_the_workspace_left(document: JSONObject) -> None:
    enter(document, "root:a")
    enter(document, "root:a:b")
    assert where(document, "workspace.kcp.io/current")[0] == "https://h/clusters/root:a:b"
    assert where(document, "workspace.kcp.io/previous")[0] == "https://h/clusters/root:a"


def test_going_back_twice_changes_nothing(document: JSONObject) -> None:
    enter(document, "root:a")
    enter(document, "root:b")
    before = copy_json(document)
    assert contexts.swap(copy_json(document), document, document["current-context"]) == "https://h/clusters/root:a"
    assert where(document, "workspace.kcp.io/previous")[0] == "https://h/clusters/root:b"
    assert contexts.swap(copy_json(document), document, document["current-context"]) == "https://h/clusters/root:b"
    assert document == before


def test_going_back_to_a_context_that_is_not_ours(document: JSONObject) -> None:
    enter(document, "root:a")
    assert contexts.swap(copy_json(document), document, document["current-context"]) == "https://h/clusters/root"
    assert where(document, "workspace.kcp.io/previous")[0] == "https://h/clusters/root:a"
    assert contexts.swap(copy_json(document), document, document["current-context"]) == "https://h/clusters/root:a"


def test_going_back_without_having_moved_says_so(document: JSONObject) -> None:
    with pytest.raises(contexts.ContextProblem, match="no previous workspace"):
        contexts.swap(document, document, "root")


def test_context_of_ones_own(document: JSONObject) -> None:
    enter(document, "root:a")
    told = contexts.create(copy_json(document), document, document["current-context"], "mine")
    assert told == 'Created context "mine" and switched to it.'
    assert document["current-context"] == "mine"
    assert where(document, "mine") == ("https://h/clusters/root:a", "kcp-admin")


def test_existing_context_is_overwritten_only_when_asked(document: JSONObject) -> None:
    enter(document, "root:a")
    with pytest.raises(contexts.ContextProblem, match="use --overwrite"):
        contexts.create(document, document, document["current-context"], "root")
    told = contexts.create(copy_json(document), document, document["current-context"], "root", overwrite=True)
    assert told == 'Updated context "root" and switched to it.'
    assert contexts.create(copy_json(document), document, "root", "root", overwrite=True) == 'Updated context "root".'


def test_missing_parts_are_named(document: JSONObject) -> None:
    with pytest.raises(contexts.ContextProblem, match='"nope" is not in the kubeconfig'):
        contexts.server_of(document, "nope")
    document["clusters"] = []
    with pytest.raises(contexts.ContextProblem, match='cluster "root" of context "root"'):
        contexts.server_of(document, "root")
