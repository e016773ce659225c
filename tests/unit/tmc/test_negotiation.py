"""What several imports of one API come to, and what is published of it."""

from __future__ import annotations

from typing import Any

from kcp.tmc.apis.compare import KEEPS_ALL
from kcp.tmc.apis.negotiation import index_by_api, negotiate
from kcp.tmc.apis.publishing import schema_object, with_resources


def imported(name: str, created: str, strategy: str = "UpdateUnpublished", **fields: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": fields}
    spec = {
        "schemaUpdateStrategy": strategy,
        "openAPIV3Schema": schema,
        "plural": "queues",
        "groupVersion": {"group": "g", "version": "v1"},
    }
    return {"metadata": {"name": name, "creationTimestamp": created}, "spec": spec}


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
OLD, NEW = "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"


def test_the_oldest_begins_and_the_others_narrow_it() -> None:
    found = negotiate([imported("b", NEW, a=TEXT), imported("a", OLD, a=TEXT, b=TEXT)], None, is_published=False)
    assert found.schema["properties"] == {"a": TEXT}
    assert found.refused == {}


def test_who_cannot_go_along_is_named_and_changes_nothing() -> None:
    found = negotiate([imported("a", OLD, a=TEXT), imported("b", NEW, a=NUMBER)], None, is_published=False)
    assert found.schema["properties"] == {"a": TEXT}
    assert list(found.refused) == ["b"]


def test_what_is_published_is_narrowed_only_by_those_who_may() -> None:
    held = {"type": "object", "properties": {"a": TEXT, "b": TEXT}}
    kept = negotiate([imported("a", OLD, a=TEXT)], held, is_published=True)
    assert (kept.schema, kept.refused) == (held, {"a": ".b: is not known there"})
    narrowed = negotiate([imported("a", OLD, "UpdatePublished", a=TEXT)], held, is_published=True)
    assert (narrowed.schema["properties"], narrowed.refused) == ({"a": TEXT}, {})


def test_never_is_never() -> None:
    found = negotiate([imported("a", OLD, a=TEXT, b=TEXT), imported("b", NEW, "UpdateNever", a=TEXT)], None, is_published=False)
    assert (set(found.schema["properties"]), list(found.refused)) == ({"a", "b"}, ["b"])


def test_apis_that_everybody_knows_are_not_negotiated() -> None:
    known = imported("a", OLD)
    known["spec"]["openAPIV3Schema"] = KEEPS_ALL
    assert list(index_by_api(known)) == []
    assert list(index_by_api(imported("a", OLD, a=TEXT))) != []


def test_what_others_put_into_the_export_stays() -> None:
    obj = imported("queues.v1.g", OLD, a=TEXT)
    obj["metadata"] |= {"uid": "12345678-9", "generation": 3}
    obj["spec"] |= {"kind": "Queue", "singular": "queue", "listKind": "QueueList", "subResources": [{"name": "status"}]}
    schema = schema_object(obj)
    assert schema["metadata"]["name"] == "rev-3-12345678.queues.g"
    assert schema["spec"]["versions"][0]["subresources"] == {"status": {}}
    theirs = {"group": "x", "name": "things", "schema": "v1.things.x"}
    stale = {"group": "g", "name": "queues", "schema": "rev-2-12345678.queues.g"}
    resources = with_resources({"spec": {"resources": [theirs, stale]}}, [schema])["spec"]["resources"]
    assert [r["schema"] for r in resources] == ["v1.things.x", "rev-3-12345678.queues.g"]
