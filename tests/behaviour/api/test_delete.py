"""DELETE: at once, finalizers, propagation, grace of pods, preconditions, collections, dry run."""

from __future__ import annotations

from typing import Any

import pytest
from tests.behaviour.api.server import ALL_WIDGETS, MAPS, Api, config_map, serving, widget

from kcp.apimachinery.errors import Forbidden
from kcp.registry.backend import Attributes
from kcp.registry.generic import AdmitEverything
from kcp.storage.interface import Revision
from kcp.storage.memory import MemoryStore

PODS = "/api/v1/namespaces/default/pods"


def finalized(name: str, *finalizers: str) -> dict[str, Any]:
    return {**config_map(name), "metadata": {"name": name, "finalizers": list(finalizers)}}


async def test_a_plain_object_is_gone_at_once(api: Api) -> None:
    made = await api.made(MAPS, config_map("a"))
    answer = await api.delete(f"{MAPS}/a")
    assert (answer.status, answer.body["status"]) == (200, "Success")
    assert answer.body["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    assert (await api.get(f"{MAPS}/a")).status == 404
    assert (await api.delete(f"{MAPS}/a")).status == 404


async def test_an_object_with_finalizers_waits_for_them(api: Api) -> None:
    await api.made(MAPS, finalized("a", "example.com/one", "example.com/two"))
    answer = await api.delete(f"{MAPS}/a")
    assert (answer.status, answer.body["kind"]) == (200, "ConfigMap")
    assert answer.body["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:00Z"
    assert answer.body["metadata"]["deletionGracePeriodSeconds"] == 0
    again = await api.delete(f"{MAPS}/a")
    assert (again.status, again.revision) == (200, answer.revision), "a second delete changes nothing"
    left = await api.patch(f"{MAPS}/a", {"metadata": {"finalizers": ["example.com/two"]}})
    assert left.status == 200
    assert (await api.get(f"{MAPS}/a")).status == 200
    last = await api.patch(f"{MAPS}/a", {"metadata": {"finalizers": None}})
    assert (last.status, "finalizers" in last.body["metadata"]) == (200, False)
    assert (await api.get(f"{MAPS}/a")).status == 404


@pytest.mark.parametrize(("options", "status"), [({"orphanDependents": False}, 202), ({"propagationPolicy": "Background"}, 200)])
async def test_a_deletion_that_goes_on_is_accepted_for_clients_that_ask_in_the_old_way(
    api: Api, options: dict[str, Any], status: int
) -> None:
    await api.made(MAPS, finalized("a", "example.com/one"))
    answer = await api.delete(f"{MAPS}/a", options)
    assert (answer.status, answer.body["kind"]) == (status, "ConfigMap")
    await api.patch(f"{MAPS}/a", {"metadata": {"finalizers": None}})
    await api.made(MAPS, config_map("b"))
    assert (await api.delete(f"{MAPS}/b", options)).status == 200


async def test_a_deleted_object_takes_no_new_finalizers(api: Api) -> None:
    await api.made(MAPS, finalized("a", "example.com/one"))
    await api.delete(f"{MAPS}/a")
    answer = await api.patch(f"{MAPS}/a", {"metadata": {"finalizers": ["example.com/one", "example.com/new"]}})
    assert answer.status == 422
    assert 'found new finalizers []string{"example.com/new"}' in answer.message


async def test_deletion_counts_as_a_change_of_the_spec(api: Api) -> None:
    obj = widget("w")
    obj["metadata"]["finalizers"] = ["example.com/one"]
    await api.made(ALL_WIDGETS, obj)
    assert (await api.delete(f"{ALL_WIDGETS}/w")).body["metadata"]["generation"] == 2


@pytest.mark.parametrize(("policy", "finalizers"), [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"])])
async def test_propagation_leaves_a_finalizer_for_the_garbage_collector(api: Api, policy: str, finalizers: list[str]) -> None:
    await api.made(MAPS, config_map("a"))
    answer = await api.delete(f"{MAPS}/a", {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy})
    assert answer.body["metadata"]["finalizers"] == finalizers
    assert answer.body["metadata"]["deletionTimestamp"]


async def test_a_background_delete_takes_the_garbage_collectors_finalizer_away(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    await api.delete(f"{MAPS}/a?propagationPolicy=Foreground")
    assert (await api.delete(f"{MAPS}/a?propagationPolicy=Background")).body["status"] == "Success"


async def test_options_that_make_no_sense_are_invalid(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    answer = await api.delete(f"{MAPS}/a", {"propagationPolicy": "Sideways", "dryRun": ["Some"]})
    assert answer.status == 422
    assert {c["field"] for c in answer.body["details"]["causes"]} == {"propagationPolicy", "dryRun"}
    assert (await api.delete(f"{MAPS}/a", {"kind": "ConfigMap"})).status == 400
    assert (await api.get(f"{MAPS}/a")).status == 200


async def test_preconditions_guard_against_deleting_another_object(api: Api) -> None:
    made = await api.made(MAPS, config_map("a"))
    answer = await api.delete(f"{MAPS}/a", {"preconditions": {"uid": "other"}})
    assert answer.status == 409
    assert "the UID in the precondition (other) does not match the UID in record" in answer.message
    answer = await api.delete(f"{MAPS}/a", {"preconditions": {"resourceVersion": "1"}})
    assert "the ResourceVersion in the precondition (1) does not match the ResourceVersion in record" in answer.message
    right = {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}
    assert (await api.delete(f"{MAPS}/a", {"preconditions": right})).status == 200


async def test_dry_run_deletes_nothing(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    assert (await api.delete(f"{MAPS}/a?dryRun=All")).body["status"] == "Success"
    await api.made(MAPS, finalized("b", "example.com/one"))
    assert (await api.delete(f"{MAPS}/b", {"dryRun": ["All"]})).body["metadata"]["deletionTimestamp"]
    assert [i["metadata"].get("deletionTimestamp") for i in (await api.get(MAPS)).body["items"]] == [None, None]


async def test_admission_may_refuse_a_delete() -> None:
    class Protected(AdmitEverything):
        async def validate(self, attributes: Attributes) -> None:
            if attributes.verb == "DELETE":
                assert attributes.new is None
                assert attributes.old is not None
                raise Forbidden("protected")

    async with serving(admission=Protected()) as api:
        await api.made(MAPS, config_map("a"))
        assert (await api.delete(f"{MAPS}/a")).status == 403
        assert (await api.get(f"{MAPS}/a")).status == 200


async def test_a_delete_is_decided_again_when_the_object_moves() -> None:
    class GetsAFinalizer(MemoryStore):
        armed = True

        async def delete(self, key: bytes, expected: Revision | None = None) -> Revision:
            if self.armed:
                self.armed = False
                current = await self.get(key)
                assert current is not None
                value = current.value.replace(b'"name":"a"', b'"name":"a","finalizers":["example.com/late"]', 1)
                await super().update(key, value, current.mod_revision)
            return await super().delete(key, expected)

    async with serving(GetsAFinalizer()) as api:
        await api.made(MAPS, config_map("a"))
        answer = await api.delete(f"{MAPS}/a")
        assert answer.body["metadata"]["finalizers"] == ["example.com/late"]
        assert (await api.get(f"{MAPS}/a")).status == 200


# --- pods ---


def pod(name: str, node: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c"}], **({"nodeName": node} if node else {})}}


async def test_a_pod_on_a_node_stays_until_its_node_lets_it_go(api: Api) -> None:
    made = await api.made(PODS, pod("p", "node-1"))
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    answer = await api.delete(f"{PODS}/p")
    assert answer.body["metadata"]["deletionGracePeriodSeconds"] == 30
    assert answer.body["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:30Z"
    shorter = await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 5})
    assert shorter.body["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:05Z"
    longer = await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 50})
    assert longer.revision == shorter.revision, "a grace period can only be shortened"
    patched = await api.patch(f"{PODS}/p", {"metadata": {"labels": {"a": "b"}}})
    assert patched.status == 200
    assert (await api.get(f"{PODS}/p")).status == 200, "an update does not end the grace period"
    assert (await api.delete(f"{PODS}/p?gracePeriodSeconds=0")).body["status"] == "Success"
    assert (await api.get(f"{PODS}/p")).status == 404


async def test_a_pod_without_a_node_or_done_is_gone_at_once(api: Api) -> None:
    await api.made(PODS, pod("unscheduled"))
    assert (await api.delete(f"{PODS}/unscheduled")).body["kind"] == "Status"
    await api.made(PODS, pod("done", "node-1"))
    await api.patch(f"{PODS}/done/status", {"status": {"phase": "Succeeded"}})
    assert (await api.delete(f"{PODS}/done")).body["kind"] == "Status"
    await api.made(PODS, pod("forced", "node-1"))
    assert (await api.delete(f"{PODS}/forced?gracePeriodSeconds=0")).body["kind"] == "Status"


# --- collections ---


async def test_a_collection_is_deleted_by_selector(api: Api) -> None:
    for name, tier in (("a", "web"), ("b", "db"), ("c", "web")):
        await api.made(MAPS, {**config_map(name), "metadata": {"name": name, "labels": {"tier": tier}}})
    await api.made("/api/v1/namespaces/other/configmaps", {"metadata": {"name": "d", "labels": {"tier": "web"}}})
    answer = await api.delete(f"{MAPS}?labelSelector=tier%3Dweb".replace("%3D", "="))
    assert answer.body["kind"] == "ConfigMapList"
    assert [i["metadata"]["name"] for i in answer.body["items"]] == ["a", "c"]
    assert [i["metadata"]["name"] for i in (await api.get("/api/v1/configmaps")).body["items"]] == ["b", "d"]


async def test_a_collection_of_many_is_deleted_whole(api: Api) -> None:
    for i in range(100):
        await api.made(MAPS, config_map(f"a-{i}"))
    await api.delete(MAPS)
    assert (await api.get(MAPS)).body["items"] == []


async def test_a_collection_needs_a_namespace(api: Api) -> None:
    assert (await api.delete("/api/v1/configmaps")).status == 405


async def test_a_refusal_inside_a_collection_is_told_after_the_rest_was_done() -> None:
    class ProtectB(AdmitEverything):
        async def validate(self, attributes: Attributes) -> None:
            if attributes.verb == "DELETE" and attributes.scope.name == "b":
                raise Forbidden("protected")

    async with serving(admission=ProtectB()) as api:
        for name in "abc":
            await api.made(MAPS, config_map(name))
        assert (await api.delete(MAPS)).status == 403
        assert [i["metadata"]["name"] for i in (await api.get(MAPS)).body["items"]] == ["b"]
