"""PartitionSets make partitions. Source: kcp test/e2e/partitionset/partitionset_test.go."""

from __future__ import annotations

from typing import Any

import pytest
from tests.behaviour.exports.market import Market, named

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Invalid
from kcp.apimachinery.gvk import GVR
from kcp.exports.endpointslices import PARTITIONS, SHARDS, SLICES
from kcp.exports.partitionsets import PARTITION_SETS, partition_of, plan

EUROPE, ASIA = {"region": "Europe", "cloud": "Azure"}, {"region": "Asia", "cloud": "Azure"}


def shard(**labels: str) -> dict[str, Any]:
    return {"metadata": {"name": "s", "labels": labels}}


def partition_set(*dimensions: str, selector: dict[str, Any] | None = None) -> dict[str, Any]:
    spec = {"dimensions": list(dimensions), **({"shardSelector": selector} if selector else {})}
    return named(PARTITION_SETS, "PartitionSet", "set", spec)


@pytest.mark.parametrize(
    ("dimensions", "selector", "count"),
    [
        ((), None, 0),
        (("missing",), None, 0),
        (("region",), None, 2),
        (("region", "cloud"), None, 3),
        (("region",), {"matchLabels": {"cloud": "Azure"}}, 2),
        (("region",), {"matchExpressions": [{"key": "region", "operator": "NotIn", "values": ["Asia"]}]}, 1),
    ],
)
def test_each_combination_of_values_has_a_partition(dimensions: tuple[str, ...], selector: dict[str, Any] | None, count: int) -> None:
    shards = [shard(**EUROPE), shard(**EUROPE), shard(**ASIA), shard(region="Europe", cloud="AWS"), shard(other="x")]
    found = plan(partition_set(*dimensions, selector=selector), shards, [])
    assert len(found.missing) == len(found.wanted) == count


def test_a_partition_is_named_after_the_values() -> None:
    made = partition_of(partition_set("region", "long"), (("long", "1" * 300), ("region", "Europe")))
    assert made["metadata"]["generateName"] == ("set-" + "1" * 300)[:252] + "-"
    made = partition_of(partition_set("region", "cloud"), (("cloud", "Azure"), ("region", "Europe")))
    assert made["metadata"]["generateName"] == "set-azure-europe-"


async def test_partitions_follow_the_shards(market: Market) -> None:
    one, shards = await market.workspace("one"), market.server.client.cluster("root").resource(SHARDS)
    sets, partitions = one.resource(PARTITION_SETS), one.resource(PARTITIONS)
    await sets.create(partition_set("region"))
    empty = await market.until(sets, "set", lambda s: conditions.is_true(s, "PartitionsReady"), "the set")
    assert conditions.is_true(empty, "PartitionSetValid")
    assert empty["status"]["count"] == 0
    root = await shards.get("root")
    await shards.patch("root", {"metadata": {"labels": {"region": "Europe"}}})
    await market.until(sets, "set", lambda s: bool(s["status"]["count"] == 1), "a partition")
    (made,) = (await partitions.list()).items
    assert made["spec"] == {"selector": {"matchLabels": {"region": "Europe"}}}
    assert meta.name(made).startswith("set-europe-")
    await market.export()
    slices = one.resource(SLICES)
    spec = {"export": {"path": "root:provider", "name": "widgets"}, "partition": meta.name(made)}
    await slices.create(named(SLICES, "APIExportEndpointSlice", "here", spec))
    await market.bind("one")
    await market.until(slices, "here", lambda s: bool(meta.nested(s, "status", "endpoints")), "an endpoint")
    await sets.patch("set", {"spec": {"shardSelector": {"matchLabels": {"region": "Asia"}}}})
    await market.until(sets, "set", lambda s: bool(s["status"]["count"] == 0), "no partition")
    assert (await partitions.list()).items == []
    await market.until(slices, "here", lambda s: conditions.is_false(s, "PartitionValid"), "no partition")
    await shards.patch("root", {"metadata": {"labels": {"region": None}}})
    assert meta.name(root) == "root"


async def test_names_of_partitions_are_cut(market: Market) -> None:
    one, shards = await market.workspace("one"), market.server.client.cluster("root").resource(SHARDS)
    values = {f"dimension{n}": f"label{n}-" + "12345" * 10 for n in range(5)}
    await one.resource(PARTITION_SETS).create(partition_set(*values))
    far = named(SHARDS, "Shard", "far", {"baseURL": "https://far.example.com"})
    far["metadata"]["labels"] = values
    await shards.create(far)
    await market.until(one.resource(PARTITION_SETS), "set", lambda s: meta.nested(s, "status", "count") == 1, "a partition")
    (made,) = (await one.resource(PARTITIONS).list()).items
    assert meta.name(made)[:-5] == ("set-" + "-".join(values.values()))[:58]
    await shards.delete("far")


@pytest.mark.parametrize(
    "selector",
    [
        {"matchExpressions": [{"key": "region/" + "1" * 70, "operator": "NotIn", "values": ["a"]}]},
        {"matchExpressions": [{"key": "region", "operator": "NotIn", "values": ["_A.1"]}]},
        {"matchExpressions": [{"key": "region", "operator": "DoesNotExist", "values": ["a"]}]},
        {"matchLabels": {"1_2/aaa": "x"}},
        {"matchLabels": {"region": "1%%%1"}},
    ],
)
async def test_selectors_must_be_able_to_select(market: Market, selector: dict[str, Any]) -> None:
    provider = market.at("provider")
    with pytest.raises(Invalid, match=r"spec\.shardSelector"):
        await provider.resource(PARTITION_SETS).create(partition_set("region", selector=selector))
    with pytest.raises(Invalid, match=r"spec\.selector"):
        await provider.resource(GVR("topology.kcp.io", "v1alpha1", "partitions")).create(
            named(PARTITIONS, "Partition", "p", {"selector": selector})
        )
