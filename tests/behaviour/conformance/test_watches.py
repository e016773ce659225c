"""WATCH: where it starts, initial events, bookmarks, selectors, and what is refused.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/ (efficient detection of changes, streaming lists); KEP-956, KEP-3157.
"""

from __future__ import annotations

import pytest
from tests.behaviour.api.server import Api
from tests.behaviour.conformance.server import WIDGETS, causes, conforming, widget

INITIAL = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan"


@pytest.fixture
async def revisions(api: Api) -> list[str]:
    """The resourceVersions of a (red, x=1), b (blue), c (red, x=1)."""
    made = [
        await api.made(WIDGETS, widget("a", {"labels": {"x": "1"}}, color="red")),
        await api.made(WIDGETS, widget("b", color="blue")),
        await api.made(WIDGETS, widget("c", {"labels": {"x": "1"}}, color="red")),
    ]
    return [obj["metadata"]["resourceVersion"] for obj in made]


async def test_it_starts_after_an_exact_version(api: Api, revisions: list[str]) -> None:
    async with api.watch(f"{WIDGETS}?resourceVersion={revisions[0]}") as events:
        assert await events.seen(2) == [("ADDED", "b"), ("ADDED", "c")]


async def test_a_version_that_is_forgotten_ends_it_with_a_gone_status() -> None:
    async with conforming(history_events=2) as api:
        for i in range(5):
            await api.made(WIDGETS, widget(f"a-{i}"))
        async with api.watch(f"{WIDGETS}?resourceVersion=1") as events:
            event = await events.next()
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert event["object"]["message"].startswith("too old resource version: 1 (")


async def test_initial_events_end_with_a_marked_bookmark_at_the_version_of_the_list(api: Api, revisions: list[str]) -> None:
    async with api.watch(f"{WIDGETS}?{INITIAL}&allowWatchBookmarks=true") as events:
        assert await events.seen(3) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]
        bookmark = await events.next()
        await api.made(WIDGETS, widget("d"))
        assert await events.seen(1) == [("ADDED", "d")]
    assert bookmark == {
        "type": "BOOKMARK",
        "object": {
            "kind": "Widget",
            "apiVersion": "example.com/v1",
            "metadata": {"resourceVersion": revisions[-1], "annotations": {"k8s.io/initial-events-end": "true"}},
        },
    }


async def test_initial_events_at_a_version_of_the_future_time_out(api: Api, revisions: list[str]) -> None:
    async with api.watch(f"{WIDGETS}?{INITIAL}&resourceVersion=99999999") as events:
        event = await events.next()
    assert (event["type"], event["object"]["code"]) == ("ERROR", 504)
    assert event["object"]["message"].startswith("Timeout: Too large resource version: 99999999, current: ")


async def test_without_initial_events_only_changes_come(api: Api, revisions: list[str]) -> None:
    async with api.watch(f"{WIDGETS}?sendInitialEvents=false&resourceVersionMatch=NotOlderThan") as events:
        await api.made(WIDGETS, widget("d"))
        assert await events.seen(1) == [("ADDED", "d")]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("sendInitialEvents=true", ["Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"]),
        (
            "sendInitialEvents=true&resourceVersionMatch=Exact",
            [
                "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                'Unsupported value: "Exact": supported values: "NotOlderThan"',
            ],
        ),
        (
            "resourceVersionMatch=NotOlderThan",
            ["Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"],
        ),
        (f"{INITIAL}&continue=x", ["Forbidden: resourceVersionMatch is forbidden when continue is provided"]),
    ],
)
async def test_combinations_that_make_no_sense_are_invalid(api: Api, query: str, told: list[str]) -> None:
    answer = await api.get(f"{WIDGETS}?watch=1&{query}")
    assert (answer.status, [message for _, message in causes(answer)]) == (422, told)


@pytest.mark.parametrize("text", ["true", "1", "yes", "TRUE", ""])
async def test_anything_but_false_and_0_means_yes(api: Api, revisions: list[str], text: str) -> None:
    # Source: apimachinery/pkg/runtime/conversion.go, Convert_Slice_string_To_bool.
    path = f"{WIDGETS}?timeoutSeconds=1&watch={text}"
    async with api.transport.stream(api.raw("GET", path)) as (answer, chunks):
        assert answer.status == 200
        assert b'"type":"ADDED"' in await anext(chunks)


async def test_objects_enter_and_leave_a_selector(api: Api, revisions: list[str]) -> None:
    for query in ("labelSelector=x=1", "fieldSelector=spec.color=red"):
        now = (await api.get(WIDGETS)).revision
        async with api.watch(f"{WIDGETS}?resourceVersion={now}&{query}") as events:
            await api.patch(f"{WIDGETS}/a", {"metadata": {"labels": {"x": "2"}}, "spec": {"color": "blue"}})
            left = await events.next()
            entered = (await api.patch(f"{WIDGETS}/a", {"metadata": {"labels": {"x": "1"}}, "spec": {"color": "red"}})).body
            assert await events.next() == {"type": "ADDED", "object": entered}
        assert (left["type"], left["object"]["metadata"]["labels"], left["object"]["spec"]["color"]) == ("DELETED", {"x": "1"}, "red")
        assert int(left["object"]["metadata"]["resourceVersion"]) > int(now), "the version of the change, not of what it shows"


async def test_a_change_outside_the_selector_is_not_told(api: Api, revisions: list[str]) -> None:
    async with api.watch(f"{WIDGETS}?resourceVersion={revisions[-1]}&labelSelector=x=1") as events:
        await api.patch(f"{WIDGETS}/b", {"spec": {"color": "red"}})
        await api.delete(f"{WIDGETS}/c")
        assert await events.seen(1) == [("DELETED", "c")]


async def test_a_finalized_object_is_modified_first_and_deleted_last(api: Api) -> None:
    made = await api.made(WIDGETS, widget("f", {"finalizers": ["a.b/c"]}))
    async with api.watch(f"{WIDGETS}?resourceVersion={made['metadata']['resourceVersion']}") as events:
        await api.delete(f"{WIDGETS}/f")
        await api.patch(f"{WIDGETS}/f", {"metadata": {"finalizers": None}})
        marked, gone = await events.next(), await events.next()
    assert (marked["type"], marked["object"]["metadata"]["deletionGracePeriodSeconds"]) == ("MODIFIED", 0)
    assert gone["type"] == "DELETED"
    assert "finalizers" not in gone["object"]["metadata"] or gone["object"]["metadata"]["finalizers"] == ["a.b/c"]


async def test_the_watch_prefix_of_old_still_works(api: Api, revisions: list[str]) -> None:
    async with api.transport.stream(api.raw("GET", "/apis/example.com/v1/watch/namespaces/default/widgets/b?timeoutSeconds=1")) as (
        answer,
        chunks,
    ):
        assert answer.status == 200
        assert b'"name":"b"' in await anext(chunks)
