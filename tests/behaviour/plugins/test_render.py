"""`kubectl tmc render`: what it shows is what the cluster has, to the letter; and what it says where there is nothing to show."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.plugins.conftest import User, said
from tests.behaviour.tmc.world import CLOCK, DEPLOYMENTS, QUIET, World, running, until
from tests.faults import FailingTransport

from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_render import Question, render
from kcp.cli.plugin_session import PluginError
from kcp.client import kubeconfig
from kcp.client.rest import Client
from kcp.tmc.model.kinds import OVERRIDE_POLICIES, PLACEMENTS, RESOURCE_PROJECTIONS
from kcp.tmc.model.names import synced_keys
from kcp.tmc.syncer.downstream import APPLIED_ANNOTATION, covers
from kcp.tmc.syncer.transformations import DEFAULT_PLACE

CONFIG_MAPS = GVR("", "v1", "configmaps")
VOLATILE = ("syncer.kcp.io/last-sync", "syncer.kcp.io/resource-version", "workload.kcp.io/projected-at")


@pytest.fixture
async def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[World, User]]:
    document = kubeconfig.empty()
    kubeconfig.put(document, "clusters", "work", {"server": "https://h/clusters/root:work"})
    kubeconfig.put(document, "contexts", "work", {"cluster": "work"})
    document["current-context"] = "work"
    kubeconfig.save(tmp_path / "kubeconfig", document)
    async with running(tmp_path, monkeypatch, config=replace(QUIET, transformations=DEFAULT_PLACE)) as world:
        await world.spread()
        yield world, User(world.server, tmp_path / "kubeconfig")


async def shown(user: User, *words: str, cluster: str = "east") -> tuple[JSONObject, str]:
    """The object, and what is noted besides. Fails if anything is written for it."""
    session = user.session()
    transport = FailingTransport(session.client.transport)
    session.client = Client(transport, clock=CLOCK)
    await render(session, Question(words, cluster, output="json"), CLOCK)
    assert transport.written == []
    return json.loads(said(session)), session.err.getvalue()  # type: ignore[attr-defined]


def steady(obj: JSONObject) -> JSONObject:
    for name in VOLATILE:
        meta.set_annotation(obj, name, None)
    return obj


async def test_what_is_shown_is_what_the_cluster_has(town: tuple[World, User]) -> None:
    world, user = town
    override = {
        "resourceSelectors": [{"kind": "Deployment"}],
        "overrideRules": [{"targetCluster": {"clusterNames": ["east"]}, "set": [{"path": "/spec/paused", "expression": "true"}]}],
    }
    await world.create(OVERRIDE_POLICIES, "OverridePolicy", "p", namespace="default", spec=override)
    await world.create(
        RESOURCE_PROJECTIONS, "ResourceProjection", "r",
        spec={"resourceSelectors": [{"kind": "Deployment"}],
              "transformations": [{"type": "Template", "jsonPath": "metadata.annotations.on", "value": "{{.TargetCluster}}"}]},
    )  # fmt: skip
    rule = {"if": "kind == 'Deployment'", "set": 7}
    told = {"transformations": [{"match": {"kind": "Deployment"}, "transforms": [{"target": "spec.minReadySeconds", "rules": [rule]}]}]}
    with suppress(AlreadyExists):  # the identity of the first SyncTarget's export needs it too
        await world.client.resource(GVR("", "v1", "namespaces")).create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kcp-system"}}
        )
    await world.create(CONFIG_MAPS, "ConfigMap", "syncer-transformations", namespace="kcp-system", data={"rules": json.dumps(told)})
    await world.deploy("default", "shop", 5)

    async def below() -> dict[str, Any]:
        copies = [d for d in (await world.clusters["east"].client().resource(DEPLOYMENTS).list()).items if meta.name(d) == "shop"]
        return steady(copies[0]) if copies else {}

    for replicas in (5, 9):
        await world.client.resource(DEPLOYMENTS).patch("shop", {"spec": {"replicas": replicas}}, namespace="default")
        share = (replicas + 1) // 2

        async def same() -> tuple[JSONObject, str, JSONObject]:
            return *await shown(user, "deploy/shop"), await below()

        def is_right(found: tuple[JSONObject, str, JSONObject], share: int = share) -> bool:
            above, _, held = found
            applied = meta.annotations(above)[APPLIED_ANNOTATION]
            return bool(above["spec"]["replicas"] == share and held and meta.annotations(held).get(APPLIED_ANNOTATION) == applied)

        made = await until(same, is_right)
        held = made[2]
        assert covers(held, steady(made[0]))
        assert made[1] == ""
        assert (made[0]["spec"]["paused"], made[0]["spec"]["minReadySeconds"]) == (True, 7)
        assert meta.annotations(made[0])["on"] == "east"
        assert meta.namespace(made[0]).startswith("kcp-")


async def test_what_a_cluster_would_get_is_said_to_be_so(town: tuple[World, User]) -> None:
    world, user = town
    await world.client.resource(PLACEMENTS).patch("all", {"spec": {"numberOfClusters": 1}})
    await until(functools.partial(world.client.resource(PLACEMENTS).get, "all"), lambda p: "," not in meta.annotations(p).get(
        "internal.workload.kcp.io/synctarget", ","))  # fmt: skip
    await world.create(CONFIG_MAPS, "ConfigMap", "c", namespace="default", data={"a": "1"})
    maps = world.client.resource(CONFIG_MAPS)
    await until(functools.partial(maps.get, "c", namespace="default"), lambda c: len(synced_keys(c)) == 1)
    notes = [(await shown(user, "cm", "c", cluster=name))[1] for name in world.clusters]
    assert sorted(notes)[0] == ""
    assert "is not for" in sorted(notes)[1]


@pytest.mark.parametrize(
    ("words", "cluster", "why"),
    [
        (("cm/nothing",), "east", 'ConfigMap "nothing" not found'),
        (("cm/c",), "south", 'no SyncTarget "south" in root:work or above it'),
        (("gadget/c",), "east", 'no namespaced kind "gadget"'),
        (("cm",), "east", "names no object"),
        (("cm/out",), "east", "its own annotations say so"),
        (("cm/odd",), "east", "transformation 0 (Replace data.x)"),
    ],
)
async def test_what_cannot_be_shown_is_told_with_its_reason(
    town: tuple[World, User], words: tuple[str, ...], cluster: str, why: str
) -> None:
    world, user = town
    for name, told in (("c", {}), ("out", {"syncer.kcp.io/exclude-clusters": "east"}), ("odd", {"odd": "yes"})):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "annotations": told}, "data": {"a": "1"}}
        await world.client.resource(CONFIG_MAPS).create(body, namespace="default")
    if "odd" in words[0]:
        change = {"type": "Replace", "jsonPath": "data.x", "value": "1"}
        await world.create(RESOURCE_PROJECTIONS, "ResourceProjection", "r",
                           spec={"resourceSelectors": [{"namePattern": "odd"}], "transformations": [change]})  # fmt: skip
        projections = world.client.resource(RESOURCE_PROJECTIONS)
        await until(functools.partial(projections.get, "r"), lambda p: p.get("status", {}).get("phase") == "Failed")
    with pytest.raises(PluginError) as caught:
        await shown(user, *words, cluster=cluster)
    assert why in str(caught.value)
