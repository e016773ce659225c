"""Properties of server-side apply: idempotence, independence of disjoint managers, ownership that matches the object."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.apimachinery.applying import server_side_apply, track_update

from kcp.apimachinery.apply.fields import FieldSet
from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apimachinery.schema.structural import Schema, compile_schema

NOW, LATER = "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"

_ITEM = {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "integer"}, "w": {"type": "integer"}}}
SCHEMA = compile_schema(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "n": {"type": "integer"},
                    "m": {"type": "object", "additionalProperties": {"type": "integer"}},
                    "atom": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "integer"}},
                    "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": _ITEM},
                    "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                    "seq": {"type": "array", "items": {"type": "integer"}},
                },
            }
        },
    }
)
INTS, NAMES = st.integers(0, 3), st.sampled_from(["a", "b", "c"])


def specs(names: st.SearchStrategy[str] = NAMES) -> st.SearchStrategy[JSONObject]:
    """Specs without empty granular lists: upstream, nobody owns one of those (typed/tofieldset.go)."""
    items = st.fixed_dictionaries({"k": names}, optional={"v": INTS, "w": INTS})
    return st.fixed_dictionaries(
        {},
        optional={
            "n": INTS,
            "m": st.dictionaries(names, INTS, max_size=3),
            "atom": st.dictionaries(NAMES, INTS, max_size=2),
            "list": st.lists(items, min_size=1, max_size=3, unique_by=lambda item: item["k"]),
            "set": st.lists(names, min_size=1, max_size=3, unique=True),
            "seq": st.lists(INTS, max_size=3),
        },
    )


def obj(spec: JSONObject) -> JSONObject:
    return {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec}


def apply(live: JSONObject | None, spec: JSONObject, manager: str, *, schema: Schema | None = SCHEMA, now: str = NOW) -> JSONObject:
    return server_side_apply(live, obj(copy_json(spec)), manager=manager, force=True, schema=schema, now=now)


def sets(live: JSONObject) -> dict[tuple[str, str], FieldSet]:
    return {(e["manager"], e["operation"]): FieldSet.from_v1(e["fieldsV1"]) for e in live["metadata"].get("managedFields", [])}


@given(specs(), specs(), st.sampled_from([SCHEMA, None]))
def test_applying_twice_is_a_no_op(first: JSONObject, second: JSONObject, schema: Schema | None) -> None:
    live = apply(apply(None, first, "other", schema=schema), second, "me", schema=schema)
    assert apply(live, second, "me", schema=schema, now=LATER) == live


def without(spec: JSONObject, *keys: str) -> JSONObject:
    return {key: value for key, value in spec.items() if key not in keys}


def unordered(value: Any) -> Any:
    """A spec with its granular lists in one order: disjoint managers agree on content, the earlier one stands first."""
    spec = copy_json(value["spec"])
    if "list" in spec:
        spec["list"].sort(key=lambda item: item["k"])
    if "set" in spec:
        spec["set"].sort()
    return spec


@given(specs(st.sampled_from(["a", "b"])), specs(st.sampled_from(["x", "y"])))
def test_disjoint_managers_commute(one: JSONObject, two: JSONObject) -> None:
    one, two = without(one, "seq"), without(two, "n", "atom")
    forward = apply(apply(None, one, "one"), two, "two")
    backward = apply(apply(None, two, "two"), one, "one")
    assert unordered(forward) == unordered(backward)
    assert sets(forward) == sets(backward)


@given(specs(), specs())
def test_applying_replaces_what_one_applied_before(first: JSONObject, second: JSONObject) -> None:
    """The only manager of an object gets exactly what it says, whatever it said before."""
    twice = apply(apply(None, first, "me"), second, "me")
    once = apply(None, second, "me")
    assert sets(twice) == sets(once)
    held, said = twice.get("spec") or {}, once.get("spec") or {}
    assert {k: v for k, v in unordered({"spec": held}).items() if v not in ({}, [])} == {
        k: v for k, v in unordered({"spec": said}).items() if v not in ({}, [])
    }


@given(specs(), specs(), st.sampled_from([SCHEMA, None]))
def test_an_update_owns_what_it_wrote_and_nobody_owns_what_is_gone(old: JSONObject, new: JSONObject, schema: Schema | None) -> None:
    live = apply(None, old, "me", schema=schema)
    updated = {**obj(copy_json(new)), "metadata": copy_json(live["metadata"])}
    track_update(live, updated, manager="you", schema=schema, now=LATER)
    fresh = obj(copy_json(new))
    track_update(None, fresh, manager="all", schema=schema, now=LATER)
    everything = sets(fresh).get(("all", "Update"), FieldSet())
    for fields in sets(updated).values():
        assert not fields - everything - FieldSet.of(("f:spec",)), "a manager owns a field that is not there"


@given(specs(), st.sampled_from([SCHEMA, None]))
def test_an_update_without_change_changes_nothing(spec: JSONObject, schema: Schema | None) -> None:
    live = apply(None, spec, "me", schema=schema)
    same = copy_json(live)
    track_update(live, same, manager="you", schema=schema, now=LATER)
    assert same == live
