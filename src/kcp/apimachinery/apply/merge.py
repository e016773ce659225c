"""Merging an applied configuration into the live object, and removing what its manager no longer applies.

Before: `manager`. After: `typed`. Source: structured-merge-diff typed/merge.go, typed/remove.go, merge/update.go (prune).
"""

from __future__ import annotations

from typing import Any

from kcp.apimachinery.apply.fields import Tree, field, is_member
from kcp.apimachinery.apply.typed import child, is_named, splits_map, steps
from kcp.apimachinery.schema.structural import Schema


def merge(node: Schema | None, live: Any, config: Any) -> Any:
    """`live` with everything that `config` says. The result shares parts with both."""
    if type(live) is dict and splits_map(node):
        if type(config) is dict and config:
            merged = dict(live)
            for name, value in config.items():
                merged[name] = merge(child(node, name), live[name], value) if name in live else value
            return merged
        return live if live and (config is None or config == {}) else config
    if type(live) is list and live:
        held = steps(node, live)
        if held is not None and (config is None or config == []):
            return live
        if held is not None and type(config) is list:
            wanted = steps(node, config)
            if wanted is not None:
                return _merge_items(node, dict(zip(wanted, config, strict=True)), held, live)
    return config


def _merge_items(node: Schema | None, wanted: dict[str, Any], held: list[str], live: list[Any]) -> list[Any]:
    """Applied items in the order of the configuration; items that only the live list has stay before the applied item they preceded."""
    items = node.items if node is not None else None
    present: dict[str, Any] = {}
    for step, item in zip(held, live, strict=True):
        present.setdefault(step, item)
    emitted = {step: merge(items, present[step], item) if step in present else item for step, item in wanted.items()}
    order = list(wanted)
    position = {step: index for index, step in enumerate(order)}
    shared = iter([step for step in order if step in present])
    expected, done = next(shared, None), 0
    merged: list[Any] = []
    for step, item in zip(held, live, strict=True):
        if step not in wanted:
            merged.append(item)
        elif step == expected:
            until = position[step] + 1
            merged += [emitted[each] for each in order[done:until]]
            done, expected = until, next(shared, None)
    return merged + [emitted[each] for each in order[done:]]


def prune(node: Schema | None, value: Any, last: Tree, owned: Tree) -> Any:
    """`value` without the fields in `last` (what the manager applied before) that nobody in `owned` (all managers, now) has.

    A field of a struct counts as a member wherever something below it is one, so a struct that nobody claims goes with its defaults.
    """
    if type(value) is dict and splits_map(node):
        kept: dict[str, Any] = {}
        for name, held in value.items():
            mine, theirs = last.get(field(name)), owned.get(field(name))
            if mine is None:
                kept[name] = held
                continue
            named = is_named(node, name)
            claimed = theirs is not None and (named or is_member(theirs))
            if (named or is_member(mine)) and not claimed:
                continue
            inner = prune(child(node, name), held, mine, theirs or {})
            if inner or not held or (theirs is not None and is_member(theirs)):
                kept[name] = inner
        return kept
    if type(value) is list:
        found = steps(node, value)
        if found is None:
            return value
        items = node.items if node is not None else None
        remaining: list[Any] = []
        for step, item in zip(found, value, strict=True):
            mine, theirs = last.get(step), owned.get(step)
            if mine is None:
                remaining.append(item)
            elif not is_member(mine) or (theirs is not None and is_member(theirs)):
                remaining.append(prune(items, item, mine, theirs or {}))
        return remaining
    return value


def with_nulls(value: Any, config: Any) -> Any:
    """`value` with null where `config` says so and nothing is left: what is not applied any more has gone, and others have nothing there.

    Source: typed/remove.go (doMap, doList: what was emptied is null); apiextensions-apiserver/test/integration/apply_test.go.
    """
    if config is None:
        return None if value in ({}, []) else value
    if type(value) is not dict or type(config) is not dict:
        return value
    changed = {
        name: inner for name, said in config.items() if name in value and (inner := with_nulls(value[name], said)) is not value[name]
    }
    return {**value, **changed} if changed else value
