"""Every form of a workspace's address, and what the others are answered; every object says which cluster it is of.

Source: kcp pkg/server/localproxy.go, pkg/server/filters/filters.go, logicalcluster.Path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from tests.behaviour.exports.market import CONFIG_MAP_CLAIM, CONFIG_MAPS, PROVIDER, WIDGETS, Market, accepted, config_map, named

from kcp.apimachinery import meta
from kcp.client.inprocess import AsgiTransport
from kcp.client.transport import RawRequest, RawResponse
from kcp.registry.backend import UserInfo
from kcp.tenancy.kinds import LOGICAL_CLUSTERS, WORKSPACES

ADMINISTRATOR = UserInfo("kcp-admin", ("system:kcp:admin", "system:authenticated"))
STRANGER = UserInfo("joe", ("system:authenticated",))
OBJECTS = "/api/v1/namespaces/default/configmaps"


async def ask(
    market: Market, path: str, *, user: UserInfo = ADMINISTRATOR, query: Any = (), accept: str = "application/json"
) -> RawResponse:
    request = RawRequest("GET", quote(path, safe="/:*"), dict(query), {"accept": accept})
    return await AsgiTransport(market.server.app, user).request(request)


async def child(market: Market) -> tuple[str, str]:
    """`root:shop:child` and the names of both clusters."""
    shop = await market.workspace("shop")
    workspaces = shop.resource(WORKSPACES)
    await workspaces.create(named(WORKSPACES, "Workspace", "child", {"type": {"name": "universal", "path": "root"}}))
    made = await market.until(workspaces, "child", lambda w: bool(meta.nested(w, "status", "phase") == "Ready"), "child")
    parent = meta.cluster(await shop.resource(LOGICAL_CLUSTERS).get("cluster"))
    return parent, made["spec"]["cluster"]


async def test_one_workspace_has_a_path_a_name_and_mixtures(market: Market) -> None:
    parent, name = await child(market)
    for path in ("root:shop:child", name, f"{parent}:child"):
        answer = await ask(market, f"/clusters/{path}/apis/core.kcp.io/v1alpha1/logicalclusters/cluster")
        assert answer.status == 200, path
        found = orjson.loads(answer.body)
        assert dict(meta.annotations(found)) | {"kcp.io/cluster": name, "kcp.io/path": "root:shop:child"} == dict(meta.annotations(found))


@pytest.mark.parametrize(
    "path",
    ["ROOT", "root:", ":root", "root::shop", "root:Shop", "root:-a", "root:a-", "_x", "root shop", "root:a.b", "a" * 64, "root:*", ""],
)
async def test_malformed_paths_are_bad_requests(market: Market, path: str) -> None:
    for user in (ADMINISTRATOR, STRANGER):
        answer = await ask(market, f"/clusters/{path}{OBJECTS}", user=user)
        assert answer.status == 400, (path, answer.body)
        assert orjson.loads(answer.body)["reason"] == "BadRequest"


@pytest.mark.parametrize("path", ["root:none", "root:shop:none", "none", "0123456789abcdef", "user:none", "system:none"])
async def test_unknown_ones_are_forbidden_and_administrators_learn_that_a_path_leads_nowhere(market: Market, path: str) -> None:
    answer = await ask(market, f"/clusters/{path}{OBJECTS}", user=STRANGER)
    assert answer.status == 403, (path, answer.body)
    assert orjson.loads(answer.body)["reason"] == "Forbidden"
    answer = await ask(market, f"/clusters/{path}{OBJECTS}", user=ADMINISTRATOR)
    told = (403, "Forbidden") if path in ("0123456789abcdef", "system:none") else (404, "NotFound")
    assert (answer.status, orjson.loads(answer.body)["reason"]) == told, (path, answer.body)


async def test_clusters_are_not_nested(market: Market) -> None:
    await market.workspace("shop")
    for rest in (OBJECTS, "/api", "/"):
        assert (await ask(market, f"/clusters/root/clusters/root:shop{rest}")).status == 404


async def test_without_a_cluster_there_are_no_objects(market: Market) -> None:
    assert (await ask(market, OBJECTS)).status == 403
    assert (await ask(market, "/readyz")).status == 200


def objects_in(document: Any) -> Iterator[Any]:
    """The objects of a list, a Table, or of the lines of a watch."""
    for obj in (document,) if "items" not in document else document["items"] or ():
        if "rows" in obj:
            yield from (row["object"] for row in obj["rows"])
        else:
            yield obj


FORMS = {"": "", ";as=PartialObjectMetadata": ";v=v1;g=meta.k8s.io", ";as=Table": ";v=v1;g=meta.k8s.io"}
COLLECTIONS = (
    OBJECTS, "/api/v1/secrets", "/api/v1/namespaces", "/apis/example.com/v1/widgets", "/apis/apis.kcp.io/v1alpha1/apibindings",
    "/apis/core.kcp.io/v1alpha1/logicalclusters", "/api/v1/events", "/apis/tenancy.kcp.io/v1alpha1/workspaces",
)  # fmt: skip


async def listed(market: Market, name: str, path: str, form: str) -> list[Any]:
    answer = await ask(market, f"/clusters/{name}{path}", accept=f"application/json{form.replace('Metadata', 'MetadataList')}{FORMS[form]}")
    return list(objects_in(orjson.loads(answer.body)))


async def watched(market: Market, name: str, path: str, form: str) -> list[Any]:
    query = {"watch": "true", "timeoutSeconds": "1"}
    answer = await ask(market, f"/clusters/{name}{path}", query=query, accept=f"application/json{form}{FORMS[form]}")
    return [obj for line in answer.body.splitlines() if line for obj in objects_in(orjson.loads(line)["object"])]


async def test_every_object_says_its_cluster_in_every_form(market: Market) -> None:
    await market.export(claims=[CONFIG_MAP_CLAIM])
    _, name = await child(market)
    inside = market.server.client.cluster("root:shop:child")
    await market.bind("shop:child", accepted(CONFIG_MAP_CLAIM))
    await inside.resource(WIDGETS).create(named(WIDGETS, "Widget", "w", {"n": 1}), namespace="default")
    await inside.resource(WORKSPACES).create(named(WORKSPACES, "Workspace", "grandchild", {"type": {"name": "universal", "path": "root"}}))
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    for resource, obj in (("configmaps", config_map("c")), ("events", event), ("secrets", secret)):
        await inside.resource(CONFIG_MAPS._replace(resource=resource)).create(obj, namespace="default")
    questions = [(read, path, form) for read in (listed, watched) for path in COLLECTIONS for form in FORMS]
    answers = await asyncio.gather(*(read(market, name, path, form) for read, path, form in questions))
    for question, found in zip(questions, answers, strict=True):
        assert found, question
        assert {meta.cluster(obj) for obj in found} == {name}, question


async def test_objects_in_views_say_their_cluster(market: Market) -> None:
    await market.export(claims=[CONFIG_MAP_CLAIM])
    for workspace in ("a", "b"):
        await market.workspace(workspace)
        await market.bind(workspace, accepted(CONFIG_MAP_CLAIM))
        await market.at(workspace).resource(WIDGETS).create(named(WIDGETS, "Widget", "w", {"n": 1}), namespace="default")
    names = {meta.cluster(await market.at(w).resource(LOGICAL_CLUSTERS).get("cluster")) for w in ("a", "b")}
    for resource in (WIDGETS, CONFIG_MAPS):
        found = (await market.view(user=PROVIDER).resource(resource, metadata_only=True).list()).items
        assert {meta.cluster(obj) for obj in found} == names


async def test_answers_to_writes_say_it_and_nobody_writes_it(market: Market) -> None:
    _, name = await child(market)
    config_maps = market.server.client.cluster("root:shop:child").resource(CONFIG_MAPS)
    forged = config_map("c")
    forged["metadata"]["annotations"] = {"kcp.io/cluster": "root"}
    assert meta.cluster(await config_maps.create(forged, namespace="default")) == name
    assert meta.cluster(await config_maps.patch("c", {"metadata": {"annotations": {"kcp.io/cluster": "x"}}}, namespace="default")) == name
    assert meta.cluster(await config_maps.patch("c", {"metadata": {"annotations": None}}, namespace="default")) == name
    deleted = await ask(market, f"/clusters/{name}{OBJECTS}/c")
    assert meta.cluster(orjson.loads(deleted.body)) == name
