"""LIST: order, selectors, pages, consistency, revisions of the past and the future."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from tests.behaviour.api.server import MAPS, Api, config_map

from kcp.storage.interface import Page, Revision

PODS = "/api/v1/namespaces/default/pods"


def names(body: dict[str, Any]) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]


async def fill(api: Api, count: int) -> None:
    for i in range(count):
        await api.made(MAPS, config_map(f"a-{i}"))


async def test_a_list_has_kind_revision_and_ordered_items(api: Api) -> None:
    for name in ("b", "a", "c"):
        made = await api.made(MAPS, config_map(name))
    body = (await api.get(MAPS)).body
    assert (body["kind"], body["apiVersion"]) == ("ConfigMapList", "v1")
    assert body["metadata"] == {"resourceVersion": made["metadata"]["resourceVersion"]}
    assert names(body) == ["a", "b", "c"]
    assert {"apiVersion": "v1", "kind": "ConfigMap", **body["items"][2]} == made


async def test_an_empty_list_is_a_list(api: Api) -> None:
    body = (await api.get(MAPS)).body
    assert body["items"] == []
    assert int(body["metadata"]["resourceVersion"]) > 0


async def test_a_list_stays_in_its_namespace_and_its_cluster(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    await api.made("/api/v1/namespaces/other/configmaps", config_map("b"))
    await api.made("/clusters/root:org" + MAPS, config_map("c"))
    assert names((await api.get(MAPS)).body) == ["a"]
    assert names((await api.get("/api/v1/configmaps")).body) == ["a", "b"]
    assert names((await api.get("/clusters/*/api/v1/configmaps")).body) == ["c", "a", "b"]
    assert names((await api.get("/clusters/*" + MAPS)).body) == ["c", "a"]


async def test_labels_select(api: Api) -> None:
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "2"}), ("c", {})):
        await api.made(MAPS, {"metadata": {"name": name, "labels": labels}})
    assert names((await api.get(f"{MAPS}?labelSelector=x in (1,2)")).body) == ["a", "b"]
    assert names((await api.get(f"{MAPS}?labelSelector=!x")).body) == ["c"]
    assert (await api.get(f"{MAPS}?labelSelector=x===1")).status == 400


async def test_fields_select(api: Api) -> None:
    for name, node in (("a", "n1"), ("b", "n2")):
        await api.made(PODS, {"metadata": {"name": name}, "spec": {"nodeName": node}})
    assert names((await api.get(f"{PODS}?fieldSelector=metadata.name=b")).body) == ["b"]
    assert names((await api.get(f"{PODS}?fieldSelector=metadata.name!=b")).body) == ["a"]
    assert names((await api.get(f"{PODS}?fieldSelector=spec.nodeName=n2,metadata.namespace=default")).body) == ["b"]
    assert names((await api.get("/api/v1/pods?fieldSelector=metadata.namespace=other")).body) == []
    assert (await api.get(f"{PODS}?fieldSelector=spec.x=1")).message == "field label not supported: spec.x"
    answer = await api.get(f"{MAPS}?fieldSelector=data.x=1")
    assert answer.message == '"data.x" is not a known field selector: only "metadata.name", "metadata.namespace"'


# --- pages ---


async def test_pages_show_one_revision_whatever_happens_between_them(api: Api) -> None:
    await fill(api, 5)
    first = (await api.get(f"{MAPS}?limit=2")).body
    assert (names(first), first["metadata"]["remainingItemCount"]) == (["a-0", "a-1"], 3)
    await api.delete(f"{MAPS}/a-2")
    await api.made(MAPS, config_map("a-35"))
    second = (await api.get(f"{MAPS}?limit=2&continue={first['metadata']['continue']}")).body
    assert (names(second), second["metadata"]["remainingItemCount"]) == (["a-2", "a-3"], 1)
    third = (await api.get(f"{MAPS}?limit=2&continue={second['metadata']['continue']}")).body
    assert names(third) == ["a-4"]
    assert third["metadata"] == {"resourceVersion": first["metadata"]["resourceVersion"]}


@pytest.mark.parametrize("query", ["", "labelSelector=odd=1&", "fieldSelector=metadata.name!=a-1&"])
async def test_further_pages_are_served_from_memory_until_something_changes(api: Api, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    for i in range(10):
        await api.made(MAPS, {"metadata": {"name": f"a-{i}", "labels": {"odd": str(i % 2)}}})
    await api.get(MAPS)
    whole = (await api.get(f"{MAPS}?{query}")).body
    read, list_ = list[bytes](), api.store.list

    async def counted(prefix: bytes, **options: Any) -> Page:
        read.append(prefix)
        return await list_(prefix, **options)

    monkeypatch.setattr(api.store, "list", counted)
    seen, token = list[Any](), ""
    while not seen or token:
        body = (await api.get(f"{MAPS}?{query}limit=2&continue={token}")).body
        seen += body["items"]
        token = body["metadata"].get("continue", "")
        assert body["metadata"]["resourceVersion"] == whole["metadata"]["resourceVersion"]
    assert seen == whole["items"]
    assert read == []
    token = (await api.get(f"{MAPS}?{query}limit=2")).body["metadata"]["continue"]
    await api.delete(f"{MAPS}/a-9")
    rest = (await api.get(f"{MAPS}?{query}continue={token}")).body
    assert rest["items"] == whole["items"][2:]
    assert read


async def test_a_page_that_holds_the_rest_has_no_token(api: Api) -> None:
    await fill(api, 2)
    assert "continue" not in (await api.get(f"{MAPS}?limit=2")).body["metadata"]


async def test_pages_with_a_selector_are_full_and_tell_no_count(api: Api) -> None:
    for i in range(10):
        await api.made(MAPS, {"metadata": {"name": f"a-{i}", "labels": {"odd": str(i % 2)}}})
    seen, token, pages = [], "", 0
    while True:
        body = (await api.get(f"{MAPS}?limit=2&labelSelector=odd=1&continue={token}")).body
        assert "remainingItemCount" not in body["metadata"]
        seen += names(body)
        pages += 1
        token = body["metadata"].get("continue", "")
        if not token:
            break
    assert seen == ["a-1", "a-3", "a-5", "a-7", "a-9"]
    assert pages == 3


async def test_a_token_that_is_too_old_expires_with_one_to_go_on_inconsistently(api: Api) -> None:
    await fill(api, 4)
    first = (await api.get(f"{MAPS}?limit=2")).body
    await api.delete(f"{MAPS}/a-2")
    await api.store.compact(Revision(api.store.statistics()["revision"]))
    answer = await api.get(f"{MAPS}?limit=2&continue={first['metadata']['continue']}")
    assert (answer.status, answer.body["reason"]) == (410, "Expired")
    assert answer.message.startswith("The provided continue parameter is too old to display a consistent list result.")
    rest = (await api.get(f"{MAPS}?limit=2&continue={answer.body['metadata']['continue']}")).body
    assert names(rest) == ["a-3"]


@pytest.mark.parametrize("token", ["nonsense", "eyJhIjoxfQ", base64.b64encode(orjson.dumps({"rv": "x", "start": "/"})).decode()])
async def test_a_token_that_nobody_gave_out_is_a_bad_request(api: Api, token: str) -> None:
    answer = await api.get(f"{MAPS}?limit=2&continue={token}")
    assert answer.status == 400
    assert "continue key is not valid" in answer.message


async def test_a_token_cannot_be_used_to_read_elsewhere(api: Api) -> None:
    await fill(api, 3)
    token = (await api.get(f"{MAPS}?limit=1")).body["metadata"]["continue"]
    assert (await api.get(f"/clusters/root:org{MAPS}?limit=1&continue={token}")).status == 400


# --- revisions ---


async def test_a_get_and_a_list_see_every_write_before_them(api: Api) -> None:
    for i in range(20):
        await api.made(MAPS, config_map(f"a-{i}"))
        assert len((await api.get(MAPS)).body["items"]) == i + 1
        assert (await api.get(f"{MAPS}/a-{i}?resourceVersion=0")).status == 200


async def test_an_exact_revision_shows_the_past(api: Api) -> None:
    await fill(api, 2)
    then = (await api.get(MAPS)).revision
    await api.delete(f"{MAPS}/a-0")
    assert names((await api.get(f"{MAPS}?resourceVersion={then}&resourceVersionMatch=Exact")).body) == ["a-0", "a-1"]
    assert names((await api.get(f"{MAPS}?resourceVersion={then}&resourceVersionMatch=NotOlderThan")).body) == ["a-1"]
    await api.store.compact(Revision(api.store.statistics()["revision"]))
    gone = await api.get(f"{MAPS}?resourceVersion={then}&resourceVersionMatch=Exact")
    assert (gone.status, gone.body["reason"]) == (410, "Expired")


async def test_a_revision_of_the_future_is_a_timeout_to_try_again(api: Api) -> None:
    await fill(api, 1)
    for query in ("resourceVersion=1000000", "resourceVersion=1000000&resourceVersionMatch=Exact"):
        answer = await api.get(f"{MAPS}?{query}")
        assert (answer.status, answer.body["reason"]) == (504, "Timeout")
        assert answer.message.startswith("Timeout: Too large resource version: 1000000, current: ")
        assert answer.headers["retry-after"] == "1"
    assert (await api.get(f"{MAPS}/a-0?resourceVersion=1000000")).status == 504


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("resourceVersionMatch=Exact", "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("resourceVersion=0&resourceVersionMatch=Exact", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'),
        ("resourceVersion=1&resourceVersionMatch=About", 'Unsupported value: "About"'),
        ("sendInitialEvents=true", "sendInitialEvents is forbidden for list"),
    ],
)
async def test_options_that_make_no_sense_are_invalid(api: Api, query: str, text: str) -> None:
    answer = await api.get(f"{MAPS}?{query}")
    assert answer.status == 422
    assert text in answer.message


@pytest.mark.parametrize("query", ["resourceVersion=x", "resourceVersion=-1", "limit=many"])
async def test_numbers_that_are_none_are_a_bad_request(api: Api, query: str) -> None:
    assert (await api.get(f"{MAPS}?{query}")).status == 400
