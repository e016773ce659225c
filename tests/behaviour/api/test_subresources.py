"""The status and scale subresources, namespaces' finalize, and what a subresource may not do."""

from __future__ import annotations

import pytest
from tests.behaviour.api.server import ALL_WIDGETS, MAPS, Api, config_map, widget


async def test_status_changes_the_status_only(api: Api) -> None:
    obj = await api.made(ALL_WIDGETS, widget("w"))
    obj["status"] = {"phase": "Ready"}
    obj["spec"]["size"] = 99
    obj["metadata"]["labels"] = {"a": "b"}
    new = (await api.put(f"{ALL_WIDGETS}/w/status", obj)).body
    assert (new["status"], new["spec"]["size"]) == ({"phase": "Ready"}, 3)
    assert "labels" not in new["metadata"]
    assert new["metadata"]["generation"] == 1
    entry = next(e for e in new["metadata"]["managedFields"] if e.get("subresource") == "status")
    assert entry["fieldsV1"] == {"f:status": {".": {}, "f:phase": {}}}


async def test_status_can_be_patched_read_and_removed(api: Api) -> None:
    await api.made(ALL_WIDGETS, widget("w"))
    assert (await api.patch(f"{ALL_WIDGETS}/w/status", {"status": {"phase": "Ready"}})).body["status"] == {"phase": "Ready"}
    assert (await api.get(f"{ALL_WIDGETS}/w/status")).body["status"] == {"phase": "Ready"}
    assert "status" not in (await api.patch(f"{ALL_WIDGETS}/w/status", {"status": None})).body


async def test_status_is_validated(api: Api) -> None:
    await api.made(ALL_WIDGETS, widget("w"))
    assert (await api.patch(f"{ALL_WIDGETS}/w/status", {"status": {"phase": 7}})).status == 422


async def test_a_kind_without_status_has_no_status_endpoint(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    assert (await api.get(f"{MAPS}/a/status")).status == 404
    assert (await api.put(f"{MAPS}/a/status", config_map("a"))).status == 404


async def test_scale_reads_the_paths_of_the_resource(api: Api) -> None:
    obj = await api.made(ALL_WIDGETS, widget("w", replicas=2))
    await api.patch(f"{ALL_WIDGETS}/w/status", {"status": {"replicas": 1, "selector": "app=w"}})
    scale = (await api.get(f"{ALL_WIDGETS}/w/scale")).body
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "app=w"})
    assert scale["metadata"]["uid"] == obj["metadata"]["uid"]


async def test_scale_updates_and_patches_the_replicas(api: Api) -> None:
    await api.made(ALL_WIDGETS, widget("w", replicas=2))
    scale = (await api.get(f"{ALL_WIDGETS}/w/scale")).body
    scale["spec"]["replicas"] = 5
    answer = await api.put(f"{ALL_WIDGETS}/w/scale", scale)
    assert (answer.status, answer.body["spec"]) == (200, {"replicas": 5})
    answer = await api.patch(f"{ALL_WIDGETS}/w/scale", {"spec": {"replicas": 6}})
    assert answer.body["spec"] == {"replicas": 6}
    obj = (await api.get(f"{ALL_WIDGETS}/w")).body
    assert (obj["spec"]["replicas"], obj["metadata"]["generation"]) == (6, 3)
    assert "scale" in {e.get("subresource") for e in obj["metadata"]["managedFields"]}


async def test_a_stale_scale_is_a_conflict(api: Api) -> None:
    await api.made(ALL_WIDGETS, widget("w", replicas=2))
    scale = (await api.get(f"{ALL_WIDGETS}/w/scale")).body
    await api.patch(f"{ALL_WIDGETS}/w", {"spec": {"size": 9}})
    scale["spec"]["replicas"] = 5
    assert (await api.put(f"{ALL_WIDGETS}/w/scale", scale)).status == 409


@pytest.mark.parametrize("replicas", [-1, "many", 1.5])
async def test_a_scale_to_nonsense_is_invalid(api: Api, replicas: object) -> None:
    await api.made(ALL_WIDGETS, widget("w", replicas=2))
    answer = await api.patch(f"{ALL_WIDGETS}/w/scale", {"spec": {"replicas": replicas}})
    assert answer.status == 422
    assert "spec.replicas" in answer.message


async def test_a_subresource_that_nobody_has_is_not_found(api: Api) -> None:
    await api.made(ALL_WIDGETS, widget("w"))
    assert (await api.get(f"{ALL_WIDGETS}/w/log")).status == 404


async def test_a_subresource_takes_no_post_and_no_delete(api: Api) -> None:
    await api.made(ALL_WIDGETS, widget("w"))
    assert (await api.post(f"{ALL_WIDGETS}/w/status", {})).status == 405
    assert (await api.delete(f"{ALL_WIDGETS}/w/status")).status == 405


async def test_a_deleted_namespace_terminates_and_goes_when_finalized(api: Api) -> None:
    made = await api.made("/api/v1/namespaces", {"metadata": {"name": "team"}})
    assert (made["spec"], made["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})
    deleted = await api.delete("/api/v1/namespaces/team")
    assert deleted.status == 200
    assert (deleted.body["kind"], deleted.body["status"]["phase"]) == ("Namespace", "Terminating")
    assert deleted.body["metadata"]["deletionTimestamp"]
    unchanged = await api.put("/api/v1/namespaces/team", {**deleted.body, "spec": {"finalizers": []}})
    assert unchanged.body["spec"] == {"finalizers": ["kubernetes"]}, "only the finalize subresource may"
    final = await api.put("/api/v1/namespaces/team/finalize", {**deleted.body, "spec": {"finalizers": []}})
    assert final.status == 200
    assert (await api.get("/api/v1/namespaces/team")).status == 404


async def test_namespace_names_are_labels(api: Api) -> None:
    answer = await api.post("/api/v1/namespaces", {"metadata": {"name": "a.b"}})
    assert answer.status == 422
    assert "RFC 1123 label" in answer.message
