"""`/services/cache`: what kcp replicates, as the shard has it; writes that do not last; who may look; what else is asked for.

Source: kcp test/e2e/reconciler/cache/replication_test.go, test/e2e/cache.
"""

from __future__ import annotations

import pytest
from tests.behaviour.exports.market import CONFIG_MAPS, PROVIDER, Market

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.exports.names import EXPORTS
from kcp.tenancy.kinds import SHARDS, WORKSPACE_TYPES
from kcp.virtual.cache.workspace import REVISION_ANNOTATION, SHARD_ANNOTATION, UID_ANNOTATION


def cache(market: Market, cluster: str, shard: str = "root") -> Client:
    return market.server.client.at(f"/services/cache/shards/{shard}/clusters/{cluster}")


def without_mark(obj: JSONObject) -> JSONObject:
    copy: JSONObject = meta.copy_json(obj)
    for annotation in (SHARD_ANNOTATION, REVISION_ANNOTATION, UID_ANNOTATION):
        meta.set_annotation(copy, annotation, None)
    return copy


async def test_objects_are_as_the_shard_has_them_and_say_whose_they_are(market: Market) -> None:
    await market.export()
    source = await market.at("provider").resource(EXPORTS).get("widgets")
    for shard, base in (("root", ""), ("*", ""), ("root", "system:admin/clusters/")):
        view = market.server.client.at(f"/services/cache/shards/{shard}/clusters/{base}{market.provider_name}")
        shown = await view.resource(EXPORTS).get("widgets")
        assert meta.annotations(shown)[SHARD_ANNOTATION] == "root"
        assert meta.annotations(shown)[REVISION_ANNOTATION] == meta.resource_version(source)
        assert meta.annotations(shown)[UID_ANNOTATION] == meta.uid(source)
        assert without_mark(shown) == source
    everywhere = await cache(market, "*").resource(EXPORTS).list()
    assert {meta.cluster(found) for found in everywhere.items} >= {"root", market.provider_name}
    assert {meta.name(found) for found in (await cache(market, "root").resource(SHARDS).list()).items} == {"root"}
    assert (await cache(market, "root").resource(WORKSPACE_TYPES).get("universal"))["spec"]


async def test_what_is_written_there_does_not_last(market: Market) -> None:
    await market.export()
    held = market.at("provider").resource(EXPORTS)
    source, shown = await held.get("widgets"), cache(market, market.provider_name).resource(EXPORTS)
    changed = await shown.get("widgets")
    meta.set_annotation(changed, "note", "changed")
    await shown.update(changed)
    await shown.patch("widgets", {"spec": {"resources": []}})
    await shown.delete("widgets")
    assert without_mark(await shown.get("widgets")) == source == await held.get("widgets")
    await held.delete("widgets")
    await market.gone(shown, "widgets")


async def test_it_is_for_shards_and_has_what_they_share(market: Market) -> None:
    await market.export()
    with pytest.raises(Forbidden, match="system:masters"):
        await market.as_user(PROVIDER).at(f"/services/cache/shards/root/clusters/{market.provider_name}").resource(EXPORTS).list()
    with pytest.raises(NotFound, match="/services/cache/shards/root/clusters"):
        await cache(market, "root", "amber").resource(EXPORTS).list()
    with pytest.raises(NotFound):
        await cache(market, market.provider_name).resource(CONFIG_MAPS).list()
    found = {resource.gvr for resource in await cache(market, "*").discover()}
    assert {EXPORTS, SHARDS} <= found
    assert CONFIG_MAPS not in found
