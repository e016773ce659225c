"""PUT: optimistic concurrency, what stays, generation, no-ops, retries when writes fail or the object moves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.behaviour.api.server import ALL_WIDGETS, CONFIG_MAPS, MAPS, Api, config_map, serving, widget

from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import Attributes, Scope, UserInfo, WriteOptions
from kcp.registry.generic import AdmitEverything
from kcp.storage.interface import Revision, RevisionMismatch
from kcp.storage.memory import MemoryStore


async def test_a_stale_resource_version_is_a_conflict_with_upstreams_text(api: Api) -> None:
    old = await api.made(MAPS, config_map("a", x="1"))
    assert (await api.put(f"{MAPS}/a", {**old, "data": {"x": "2"}})).status == 200
    answer = await api.put(f"{MAPS}/a", {**old, "data": {"x": "3"}})
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    assert answer.message == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


async def test_a_put_without_a_resource_version_overwrites(api: Api) -> None:
    await api.made(MAPS, config_map("a", x="1"))
    answer = await api.put(f"{MAPS}/a", config_map("a", y="2"))
    assert (answer.status, answer.body["data"]) == (200, {"y": "2"})


async def test_a_custom_resource_needs_a_resource_version(api: Api) -> None:
    await api.made(ALL_WIDGETS, widget("w"))
    answer = await api.put(f"{ALL_WIDGETS}/w", widget("w"))
    assert answer.status == 422
    assert answer.message == (
        'widgets.example.com "w" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update'
    )


async def test_an_update_that_changes_nothing_writes_nothing(api: Api) -> None:
    old = await api.made(MAPS, config_map("a", x="1"))
    before = api.store.statistics()["revision"]
    api.agent = "somebody-else/1"
    assert (await api.put(f"{MAPS}/a", old)).revision == old["metadata"]["resourceVersion"]
    assert (await api.put(f"{MAPS}/a", config_map("a", x="1"))).revision == old["metadata"]["resourceVersion"]
    assert api.store.statistics()["revision"] == before


async def test_identity_and_times_stay_whatever_is_sent(api: Api) -> None:
    old = await api.made(MAPS, config_map("a", x="1"))
    sent = config_map("a", x="2")
    sent["metadata"] |= {"creationTimestamp": "1999-01-01T00:00:00Z", "generation": 9, "selfLink": "/x"}
    new = (await api.put(f"{MAPS}/a", sent)).body
    assert new["metadata"]["creationTimestamp"] == old["metadata"]["creationTimestamp"]
    assert new["metadata"]["uid"] == old["metadata"]["uid"]
    assert "generation" not in new["metadata"]
    assert "selfLink" not in new["metadata"]


async def test_another_uid_is_a_failed_precondition(api: Api) -> None:
    old = await api.made(MAPS, config_map("a", x="1"))
    sent = config_map("a", x="2")
    sent["metadata"]["uid"] = "other"
    answer = await api.put(f"{MAPS}/a", sent)
    assert answer.status == 409
    assert f"Precondition failed: UID in precondition: other, UID in object meta: {old['metadata']['uid']}" in answer.message


async def test_a_client_cannot_set_a_deletion_timestamp(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    sent = config_map("a")
    sent["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    answer = await api.put(f"{MAPS}/a", sent)
    assert answer.status == 422
    assert "metadata.deletionTimestamp: Invalid value" in answer.message
    assert "field is immutable" in answer.message


async def test_the_cluster_annotation_cannot_be_forged_or_removed(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    forged = config_map("a", x="1")
    forged["metadata"]["annotations"] = {"kcp.io/cluster": "elsewhere"}
    assert (await api.put(f"{MAPS}/a", forged)).body["metadata"]["annotations"] == {"kcp.io/cluster": "root"}
    assert (await api.put(f"{MAPS}/a", config_map("a"))).body["metadata"]["annotations"] == {"kcp.io/cluster": "root"}


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"name": "b"}, "the name of the object (b) does not match the name on the URL (a)"),
        ({}, "the name of the object (a based on URL) was undeterminable: name must be provided"),
        (
            {"name": "a", "namespace": "other"},
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ],
)
async def test_a_body_of_another_name_is_a_bad_request(api: Api, metadata: dict[str, str], text: str) -> None:
    await api.made(MAPS, config_map("a"))
    answer = await api.put(f"{MAPS}/a", {"metadata": metadata})
    assert (answer.status, answer.message) == (400, text)


async def test_a_put_of_an_absent_object_is_not_found(api: Api) -> None:
    answer = await api.put(f"{MAPS}/a", config_map("a"))
    assert (answer.status, answer.message) == (404, 'configmaps "a" not found')


async def test_generation_counts_spec_changes_only(api: Api) -> None:
    obj = await api.made(ALL_WIDGETS, widget("w"))
    obj["metadata"]["labels"] = {"a": "b"}
    obj = (await api.put(f"{ALL_WIDGETS}/w", obj)).body
    assert obj["metadata"]["generation"] == 1
    obj["spec"]["size"] = 4
    obj = (await api.put(f"{ALL_WIDGETS}/w", obj)).body
    assert obj["metadata"]["generation"] == 2


async def test_the_main_endpoint_leaves_the_status_alone(api: Api) -> None:
    obj = await api.made(ALL_WIDGETS, widget("w"))
    obj["status"] = {"phase": "Ready"}
    obj = (await api.put(f"{ALL_WIDGETS}/w/status", obj)).body
    obj["status"] = {"phase": "Broken"}
    obj["spec"]["size"] = 9
    obj = (await api.put(f"{ALL_WIDGETS}/w", obj)).body
    assert (obj["status"], obj["spec"]["size"]) == ({"phase": "Ready"}, 9)


async def test_a_fault_that_was_there_before_does_not_stop_an_update() -> None:
    async with serving() as api:
        obj = await api.made(ALL_WIDGETS, widget("w"))
        kv = await api.store.get(b"/registry/example.com/widgets/customresources/root/default/w")
        assert kv is not None
        await api.store.update(kv.key, kv.value.replace(b'"red"', b'"rust"'), kv.mod_revision)
        obj = (await api.get(f"{ALL_WIDGETS}/w")).body
        obj["spec"]["size"] = 5
        assert (await api.put(f"{ALL_WIDGETS}/w", obj)).status == 200
        obj["metadata"].pop("resourceVersion")
        answer = await api.patch(f"{ALL_WIDGETS}/w", {"spec": {"color": "pink"}})
        assert answer.status == 422


async def test_dry_run_answers_what_would_be_and_stores_nothing(api: Api) -> None:
    old = await api.made(MAPS, config_map("a", x="1"))
    answer = await api.put(f"{MAPS}/a?dryRun=All", config_map("a", x="2"))
    assert (answer.status, answer.body["data"], answer.revision) == (200, {"x": "2"}, old["metadata"]["resourceVersion"])
    assert (await api.get(f"{MAPS}/a")).body == old


# --- when the object moves ---


class MovesUnderWrites(MemoryStore):
    """Somebody else writes the key just before each of the next `moves` updates."""

    moves = 0

    async def update(self, key: bytes, value: bytes, expected: Revision) -> Revision:
        if self.moves:
            self.moves -= 1
            current = await self.get(key)
            assert current is not None
            await super().update(key, current.value.replace(b'"count":"', b'"count":"1'), current.mod_revision)
        return await super().update(key, value, expected)


@pytest.mark.parametrize("moves", [1, 2, 7])
async def test_a_patch_is_made_again_on_the_object_that_moved(moves: int) -> None:
    store = MovesUnderWrites()
    async with serving(store) as api:
        await api.made(MAPS, config_map("a", count="0"))
        store.moves = moves
        answer = await api.patch(f"{MAPS}/a", {"data": {"mine": "yes"}})
        assert (answer.status, answer.body["data"]) == (200, {"count": "1" * moves + "0", "mine": "yes"})


async def test_a_put_with_a_resource_version_that_moves_is_a_conflict_not_a_retry() -> None:
    store = MovesUnderWrites()
    async with serving(store) as api:
        old = await api.made(MAPS, config_map("a", count="0"))
        store.moves = 1
        assert (await api.put(f"{MAPS}/a", {**old, "data": {"x": "1"}})).status == 409
        assert (await api.get(f"{MAPS}/a")).body["data"] == {"count": "10"}


async def test_an_object_that_never_stands_still_is_a_conflict_in_the_end() -> None:
    store = MovesUnderWrites()
    async with serving(store) as api:
        await api.made(MAPS, config_map("a", count="0"))
        store.moves = 1_000_000
        answer = await api.patch(f"{MAPS}/a", {"data": {"mine": "yes"}})
        assert (answer.status, answer.body["reason"]) == (409, "Conflict")


async def test_admission_sees_each_round_with_a_fresh_old_object() -> None:
    seen: list[tuple[Any, Any]] = []

    class Recording(AdmitEverything):
        async def mutate(self, attributes: Attributes) -> JSONObject | None:
            if attributes.verb == "UPDATE":
                assert attributes.new is not None
                assert attributes.old is not None
                seen.append((attributes.old["data"], attributes.new["data"]))
            return attributes.new

    store = MovesUnderWrites()
    async with serving(store, admission=Recording()) as api:
        await api.made(MAPS, config_map("a", count="0"))
        store.moves = 1
        await api.patch(f"{MAPS}/a", {"data": {"mine": "yes"}})
    assert seen == [
        ({"count": "0"}, {"count": "0", "mine": "yes"}),
        ({"count": "10"}, {"count": "10", "mine": "yes"}),
    ]


async def test_an_object_deleted_under_an_update_is_not_found() -> None:
    class VanishesUnderWrites(MemoryStore):
        async def update(self, key: bytes, value: bytes, expected: Revision) -> Revision:
            await self.delete(key)
            raise RevisionMismatch(key, None)

    async with serving(VanishesUnderWrites()) as api:
        await api.made(MAPS, config_map("a"))
        assert (await api.put(f"{MAPS}/a", config_map("a", x="1"))).status == 404


async def test_fifty_writers_lose_no_increment(api: Api) -> None:
    await api.made(MAPS, config_map("a", n="0"))
    scope = Scope(CONFIG_MAPS, api_cluster(), "default", "a")

    def increment(current: JSONObject | None) -> JSONObject:
        assert current is not None
        current["data"]["n"] = str(int(current["data"]["n"]) + 1)
        return current

    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(api.registry.update(scope, increment, WriteOptions(user=UserInfo("w"))))
    assert (await api.get(f"{MAPS}/a")).body["data"]["n"] == "50"


def api_cluster() -> Any:
    return "root"


async def test_refusals_of_admission_reach_the_client_and_nothing_is_written() -> None:
    class NoUpdates(AdmitEverything):
        async def validate(self, attributes: Attributes) -> None:
            if attributes.verb == "UPDATE":
                raise Forbidden('configmaps "a" is forbidden: not today')

    async with serving(admission=NoUpdates()) as api:
        old = await api.made(MAPS, config_map("a"))
        answer = await api.put(f"{MAPS}/a", config_map("a", x="1"))
        assert (answer.status, answer.message) == (403, 'configmaps "a" is forbidden: not today')
        assert (await api.get(f"{MAPS}/a")).body == old


async def test_what_admission_mutates_is_stored() -> None:
    class Labels(AdmitEverything):
        async def mutate(self, attributes: Attributes) -> JSONObject | None:
            assert attributes.new is not None
            return {**attributes.new, "metadata": {**attributes.new["metadata"], "labels": {"seen": "yes"}}}

    async with serving(admission=Labels()) as api:
        assert (await api.made(MAPS, config_map("a")))["metadata"]["labels"] == {"seen": "yes"}
        assert [i["metadata"]["name"] for i in (await api.get(f"{MAPS}?labelSelector=seen=yes")).body["items"]] == ["a"]


# --- several versions ---


async def test_one_object_is_served_in_each_version(api: Api) -> None:
    beta = ALL_WIDGETS.replace("/v1/", "/v1beta1/")
    made = await api.made(beta, {**widget("w"), "apiVersion": "example.com/v1beta1"})
    assert made["apiVersion"] == "example.com/v1beta1"
    assert (await api.get(f"{ALL_WIDGETS}/w")).body["apiVersion"] == "example.com/v1"
    listed = (await api.get(beta)).body
    assert (listed["apiVersion"], listed["items"][0]["apiVersion"]) == ("example.com/v1beta1", "example.com/v1beta1")
    kv = await api.store.get(b"/registry/example.com/widgets/customresources/root/default/w")
    assert kv is not None
    assert kv.value.startswith(b'{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"resourceVersion":"",')


async def test_a_deprecated_version_warns(api: Api) -> None:
    answer = await api.get(ALL_WIDGETS.replace("/v1/", "/v1beta1/"))
    assert answer.headers["warning"] == '299 - "example.com/v1beta1 Widget is deprecated"'
