"""WATCH: the state and what follows, selectors, bookmarks, timeouts, errors, other forms, ends of all kinds."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.behaviour.api.server import ALL_WIDGETS, MAPS, Api, config_map, serving, widget

from kcp.aio.clock import settle
from kcp.aio.supervisor import Supervisor
from kcp.client.transport import TransportError
from kcp.registry.backend import WatchEvent
from kcp.storage.watchcache import WatchCacheConfig

PODS = "/api/v1/namespaces/default/pods"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


def labelled(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}}


@pytest.mark.parametrize("query", ["", "?resourceVersion=0"])
async def test_a_watch_without_a_revision_shows_the_state_and_then_changes(api: Api, query: str) -> None:
    for name in ("b", "a"):
        await api.made(MAPS, config_map(name))
    async with api.watch(MAPS + query) as events:
        assert await events.seen(2) == [("ADDED", "a"), ("ADDED", "b")]
        await api.made(MAPS, config_map("c"))
        await api.patch(f"{MAPS}/a", {"data": {"x": "1"}})
        await api.delete(f"{MAPS}/b")
        assert await events.seen(3) == [("ADDED", "c"), ("MODIFIED", "a"), ("DELETED", "b")]


async def test_a_watch_from_a_revision_shows_every_change_since(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    then = (await api.get(MAPS)).revision
    await api.made(MAPS, config_map("b"))
    deleted_at = await api.delete(f"{MAPS}/a")
    assert deleted_at.status == 200
    async with api.watch(f"{MAPS}?resourceVersion={then}") as events:
        assert await events.seen(2) == [("ADDED", "b"), ("DELETED", "a")]


async def test_a_deletion_carries_the_last_state_at_the_revision_of_the_deletion(api: Api) -> None:
    made = await api.made(MAPS, config_map("a", x="1"))
    async with api.watch(f"{MAPS}?resourceVersion={made['metadata']['resourceVersion']}") as events:
        await api.delete(f"{MAPS}/a")
        event = await events.next()
    assert event["object"]["data"] == {"x": "1"}
    assert int(event["object"]["metadata"]["resourceVersion"]) == int(made["metadata"]["resourceVersion"]) + 1


async def test_entering_and_leaving_a_selector_are_added_and_deleted(api: Api) -> None:
    await api.made(MAPS, labelled("a", tier="db"))
    async with api.watch(f"{MAPS}?labelSelector=tier=web") as events:
        await api.patch(f"{MAPS}/a", {"metadata": {"labels": {"tier": "web"}}})
        await api.patch(f"{MAPS}/a", {"data": {"x": "1"}})
        await api.patch(f"{MAPS}/a", {"metadata": {"labels": {"tier": "db"}}})
        await api.made(MAPS, labelled("b", tier="web"))
        assert await events.seen(4) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]


async def test_a_field_selector_follows_one_object_or_one_node(api: Api) -> None:
    name, node = "?fieldSelector=metadata.name=p", "?fieldSelector=spec.nodeName=n1"
    async with api.watch(PODS + name) as by_name, api.watch(PODS + node) as by_node:
        for name in ("o", "p"):
            await api.made(PODS, {"metadata": {"name": name}, "spec": {"containers": []}})
        await api.patch(f"{PODS}/o", {"spec": {"nodeName": "n1"}})
        assert await by_name.seen(1) == [("ADDED", "p")]
        assert await by_node.seen(1) == [("ADDED", "o")]


async def test_one_object_can_be_watched_by_its_url(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    await api.made(MAPS, config_map("b"))
    async with api.watch("/api/v1/watch/namespaces/default/configmaps/b") as events:
        await api.patch(f"{MAPS}/a", {"data": {"x": "1"}})
        await api.patch(f"{MAPS}/b", {"data": {"x": "1"}})
        assert await events.seen(2) == [("ADDED", "b"), ("MODIFIED", "b")]


async def test_a_wildcard_watch_sees_all_clusters(api: Api) -> None:
    async with api.watch("/clusters/*/api/v1/configmaps") as events:
        await api.made(MAPS, config_map("a"))
        await api.made("/clusters/root:org" + MAPS, config_map("b"))
        clusters = [(await events.next())["object"]["metadata"]["annotations"]["kcp.io/cluster"] for _ in range(2)]
    assert clusters == ["root", "2lpvmbh5xyj8ljfs"]


async def test_another_version_sees_its_own_api_version(api: Api) -> None:
    async with api.watch(ALL_WIDGETS.replace("/v1/", "/v1beta1/")) as events:
        await api.made(ALL_WIDGETS, widget("w"))
        assert (await events.next())["object"]["apiVersion"] == "example.com/v1beta1"


async def test_all_watchers_share_one_encoded_frame(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[WatchEvent] = []
    plain = "kcp.apiserver.handlers.watch._plain"

    def recorded(event: WatchEvent) -> bytes:
        shown.append(event)
        return event.frame

    monkeypatch.setattr(plain, recorded)
    async with api.watch(MAPS) as one, api.watch(f"{MAPS}?labelSelector=a=b") as two:
        await api.made(MAPS, labelled("x", a="b"))
        await one.next()
        await two.next()
    assert len(shown) == 2
    assert shown[0] is shown[1]


# --- bookmarks and initial events ---


async def test_bookmarks_come_every_minute_and_tell_how_far_the_watch_is(api: Api) -> None:
    async with api.watch(f"{MAPS}?allowWatchBookmarks=true") as events:
        made = await api.made("/api/v1/namespaces", {"metadata": {"name": "unrelated"}})
        await api.clock.advance(61)
        bookmark = await events.next()
        assert bookmark["type"] == "BOOKMARK"
        assert bookmark["object"]["kind"] == "ConfigMap"
        assert bookmark["object"]["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        await api.made(MAPS, config_map("a"))
        assert await events.seen(1) == [("ADDED", "a")]
        await api.clock.advance(61)
        assert (await events.next())["type"] == "BOOKMARK"


async def test_the_first_bookmark_comes_within_half_a_minute_and_the_next_a_minute_later(api: Api) -> None:
    async with api.watch(f"{MAPS}?allowWatchBookmarks=true") as events:
        made = await api.made("/api/v1/namespaces", {"metadata": {"name": "unrelated"}})
        await api.clock.advance(25)
        assert (await events.next())["object"]["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        await api.clock.advance(30)
        await api.made(MAPS, config_map("a"))
        assert await events.seen(1) == [("ADDED", "a")]
        await api.clock.advance(31)
        assert (await events.next())["type"] == "BOOKMARK"


async def test_no_bookmarks_unless_asked_for(api: Api) -> None:
    async with api.watch(MAPS) as events:
        await settle()
        await api.clock.advance(300)
        await api.made(MAPS, config_map("a"))
        assert await events.seen(1) == [("ADDED", "a")]


async def test_initial_events_end_with_their_bookmark(api: Api) -> None:
    made = await api.made(MAPS, config_map("a"))
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion="
    async with api.watch(f"{MAPS}?{query}") as events:
        assert await events.seen(1) == [("ADDED", "a")]
        end = await events.next()
        assert end["type"] == "BOOKMARK"
        assert end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert end["object"]["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        await api.made(MAPS, config_map("b"))
        assert await events.seen(1) == [("ADDED", "b")]


async def test_initial_events_can_be_declined(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    async with api.watch(f"{MAPS}?sendInitialEvents=false&resourceVersionMatch=NotOlderThan") as events:
        await settle()
        await api.made(MAPS, config_map("b"))
        assert await events.seen(1) == [("ADDED", "b")]


@pytest.mark.parametrize(
    "query", ["sendInitialEvents=true", "resourceVersionMatch=NotOlderThan", "sendInitialEvents=true&resourceVersionMatch=Exact"]
)
async def test_options_that_make_no_sense_are_invalid(api: Api, query: str) -> None:
    assert (await api.get(f"{MAPS}?watch=true&{query}")).status == 422


# --- ends ---


async def test_a_watch_ends_cleanly_after_its_timeout(api: Api) -> None:
    async with api.watch(f"{MAPS}?timeoutSeconds=5") as events:
        await settle()
        await api.clock.advance(4)
        await api.made(MAPS, config_map("a"))
        assert await events.seen(1) == [("ADDED", "a")]
        await api.clock.advance(2)
        with pytest.raises(StopAsyncIteration):
            await events.next()


async def test_a_watch_with_bookmarks_ends_with_one(api: Api) -> None:
    async with api.watch(f"{MAPS}?timeoutSeconds=5&allowWatchBookmarks=true") as events:
        await settle()
        await api.clock.advance(6)
        assert (await events.next())["type"] == "BOOKMARK"
        with pytest.raises(StopAsyncIteration):
            await events.next()


async def test_a_client_that_goes_away_leaves_nothing_behind(api: Api) -> None:
    async with api.watch(MAPS) as events:
        await api.made(MAPS, config_map("a"))
        await events.next()
        assert api.app.statistics()["open_streams"] == 1
        assert api.registry.statistics()["alarms"] == 1
    await settle()
    assert api.app.statistics()["open_streams"] == 0
    assert api.registry.statistics()["alarms"] == 0


async def test_a_revision_that_is_too_old_is_a_410_event() -> None:
    async with serving(cache_config=WatchCacheConfig(history_events=2)) as api:
        first = await api.made(MAPS, config_map("a"))
        assert (await api.get(MAPS)).status == 200
        for i in range(5):
            await api.patch(f"{MAPS}/a", {"data": {"x": str(i)}})
        async with api.watch(f"{MAPS}?resourceVersion={first['metadata']['resourceVersion']}") as events:
            event = await events.next()
            assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
            assert event["object"]["message"].startswith(f"too old resource version: {first['metadata']['resourceVersion']} (")
            with pytest.raises(StopAsyncIteration):
                await events.next()


async def test_a_revision_of_the_future_is_a_504_event(api: Api) -> None:
    async with api.watch(f"{MAPS}?resourceVersion=1000000") as events:
        event = await events.next()
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 504, "Timeout")
    assert event["object"]["message"].startswith("Timeout: Too large resource version: 1000000, current: ")


async def test_a_watcher_that_does_not_keep_up_is_told_to_list_again() -> None:
    async with serving(cache_config=WatchCacheConfig(queue_events=10)) as api:
        request = api.raw("GET", f"{MAPS}?watch=true")
        sent: list[bytes] = []
        blocked = True

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                sent.append(message["body"])
                while blocked and message["body"]:
                    await api.clock.sleep(1)

        async def receive() -> dict[str, Any]:
            await api.clock.sleep(1e9)
            return {"type": "http.disconnect"}

        scope = {"type": "http", "method": "GET", "path": request.path, "query_string": b"watch=true", "headers": []}
        async with Supervisor("slow client") as tasks:
            task = tasks.spawn(api.app(scope, receive, send), name="slow client")
            await settle()
            for i in range(30):
                await api.made(MAPS, config_map(f"a-{i}"))
            blocked = False
            await api.clock.advance(2)
            await task
        last = orjson.loads(b"".join(sent).splitlines()[-1])
        assert (last["type"], last["object"]["code"]) == ("ERROR", 410)
        assert "did not keep up" in last["object"]["message"]


async def test_shutdown_ends_watches_cleanly_and_answers_503(api: Api) -> None:
    async with api.watch(MAPS) as events:
        await api.made(MAPS, config_map("a"))
        await events.next()
        await api.app.shutdown()
        with pytest.raises(StopAsyncIteration):
            await events.next()
    answer = await api.get(MAPS)
    assert (answer.status, answer.body["reason"]) == (503, "ServiceUnavailable")


async def test_a_malformed_revision_is_a_400_before_the_stream_starts(api: Api) -> None:
    assert (await api.get(f"{MAPS}?watch=true&resourceVersion=x")).status == 400


async def test_a_stream_that_breaks_is_seen_as_broken(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(event: WatchEvent) -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr("kcp.apiserver.handlers.watch._plain", broken)
    with pytest.raises(TransportError):  # noqa: PT012 - the error comes from reading
        async with api.watch(MAPS) as events:
            await api.made(MAPS, config_map("a"))
            await events.next()


# --- forms ---


async def test_a_watch_of_tables_sends_columns_once(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    async with api.watch(f"{MAPS}?allowWatchBookmarks=true", accept=TABLE) as events:
        first = await events.next()
        assert first["object"]["kind"] == "Table"
        assert [c["name"] for c in first["object"]["columnDefinitions"]] == ["Name", "Age"]
        assert first["object"]["rows"][0]["cells"][0] == "a"
        assert first["object"]["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
        await api.patch(f"{MAPS}/a", {"data": {"x": "1"}})
        second = await events.next()
        assert (second["type"], second["object"]["columnDefinitions"]) == ("MODIFIED", None)
        await api.clock.advance(61)
        bookmark = await events.next()
        assert bookmark["object"]["rows"][0]["object"]["metadata"]["resourceVersion"]


async def test_a_watch_of_metadata_leaves_the_rest_out(api: Api) -> None:
    async with api.watch(f"{MAPS}?allowWatchBookmarks=true", accept=PARTIAL) as events:
        await api.made(MAPS, config_map("a", x="ü{"))
        event = await events.next()
        assert (event["object"]["kind"], event["object"]["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
        assert event["object"]["metadata"]["name"] == "a"
        assert "data" not in event["object"]
        await api.clock.advance(61)
        assert (await events.next())["object"]["kind"] == "PartialObjectMetadata"
