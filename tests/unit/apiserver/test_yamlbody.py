"""YAML bodies become JSON values."""

from __future__ import annotations

import pytest
import yaml

from kcp.apiserver.yamlbody import load


def test_scalars_are_those_of_json() -> None:
    text = b"a: 1\nb: 1.5\nc: true\nd: null\ne: 2026-01-02\nf: '7'\n7: x\ntrue: y\nlist: [1, {a: b}]\n"
    assert load(text) == (
        {"a": 1, "b": 1.5, "c": True, "d": None, "e": "2026-01-02", "f": "7", "7": "x", "true": "y", "list": [1, {"a": "b"}]},
        (),
    )


def test_repeated_keys_are_named_by_their_path_and_the_last_one_counts() -> None:
    value, duplicates = load(b"a: 1\nspec:\n  items:\n  - name: x\n    name: y\na: 2\n")
    assert value == {"a": 2, "spec": {"items": [{"name": "y"}]}}
    assert set(duplicates) == {"a", "spec.items[0].name"}


def test_anchors_and_merges_are_resolved() -> None:
    value, _ = load(b"base: &b {x: 1}\nmade:\n  <<: *b\n  y: 2\n")
    assert value["made"] == {"x": 1, "y": 2}


@pytest.mark.parametrize("text", [b"a: [", b"a: 1\n---\nb: 2\n", b"!!python/object:os.system x"])
def test_what_is_not_one_plain_document_is_refused(text: bytes) -> None:
    with pytest.raises(yaml.YAMLError):
        load(text)
