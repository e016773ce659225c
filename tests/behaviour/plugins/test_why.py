"""`kubectl tmc why` and `why-not`, of a Deployment that runs on two clusters of a fleet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.behaviour.plugins.conftest import User, said
from tests.behaviour.tmc.world import CLOCK, DEPLOYMENTS, World, running, until

from kcp.cli.plugin_session import PluginError
from kcp.cli.plugin_why import why
from kcp.cli.plugin_whynot import why_not
from kcp.client import kubeconfig
from kcp.sim.faults import Fault
from kcp.tmc.model.kinds import NAMESPACES, PLACEMENT_DECISIONS, PLACEMENTS, RESOURCE_PROJECTIONS
from kcp.tmc.model.wishes import EXCLUDE_CLUSTERS, EXCLUSIVE


@pytest.fixture
async def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[World, User]]:
    document = kubeconfig.empty()
    kubeconfig.put(document, "clusters", "work", {"server": "https://h/clusters/root:work"})
    kubeconfig.put(document, "contexts", "work", {"cluster": "work"})
    document["current-context"] = "work"
    kubeconfig.save(tmp_path / "kubeconfig", document)
    async with running(tmp_path, monkeypatch) as world:
        await world.spread()
        await world.deploy("default", "shop", 5)
        await world.settle("default", "shop", 5)
        yield world, User(world.server, tmp_path / "kubeconfig")


async def told(user: User, *words: str, cluster: str = "") -> list[str]:
    session = user.session()
    await why(session, words, "", cluster, CLOCK)
    return said(session).splitlines()


async def refused(user: User, *words: str) -> tuple[int, str]:
    session = user.session()
    code = await why_not(session, words[:-1], "", words[-1], CLOCK)
    return code, said(session)


async def test_which_clusters_how_many_how_fresh_and_why(town: tuple[World, User]) -> None:
    lines = await told(town[1], "deployment", "shop")
    assert lines[0].startswith("Deployment default/shop is placed on east and west by Placement all, decided ")
    assert lines[2].split() == ["CLUSTER", "DECISION", "REPLICAS", "READY", "OBSERVED", "REASON"]
    rows = [line.split()[:4] for line in lines[3:5]]
    assert rows == [["east", "chosen", "3", "3"], ["west", "chosen", "2", "2"]]
    assert all("ago" in line for line in lines[3:5])


async def test_a_cluster_that_is_refused_says_why_and_what_would_change_it(town: tuple[World, User]) -> None:
    world, user = town
    rule = {"type": "Region", "operator": "In", "values": ["mars"]}
    await world.client.resource(PLACEMENTS).patch("all", {"spec": {"constraints": {"rules": [rule]}}})
    decisions = world.client.resource(PLACEMENT_DECISIONS)
    await until(lambda: decisions.get("all"), lambda decision: not decision["chosen"])
    code, text = await refused(user, "deploy/shop", "east")
    assert code == 0
    assert text.startswith("east does not run Deployment default/shop: constraint Region In mars is not met")
    assert "What would change it: relax the rule" in text
    lines = await told(user, "deploy/shop", cluster="west")
    assert lines[0] == "Deployment default/shop runs nowhere: Placement all found no cluster that fits."
    assert [line.split()[:2] for line in lines[3:4]] == [["west", "rejected"]]


async def test_a_cluster_that_runs_it_has_no_reason_not_to(town: tuple[World, User]) -> None:
    code, text = await refused(town[1], "deployment", "shop", "east")
    assert code == 1
    assert text.startswith("east is chosen for Deployment default/shop: ")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("deploy/nope",), 'deployment "nope" not found in namespace default of root:work; `kubectl get deployments -n default` shows'),
        (("workspace", "x"), '"workspace x" is nothing that clusters run: write KIND/NAME with a kind of deployment, '),
    ],
)
async def test_what_cannot_be_told_is_an_error_with_what_to_do(town: tuple[World, User], words: tuple[str, ...], text: str) -> None:
    with pytest.raises(PluginError) as problem:
        await told(town[1], *words)
    assert text in str(problem.value)
    with pytest.raises(PluginError, match="no SyncTarget mars is known to the Placements of Deployment default/shop; they know east, west"):
        await refused(town[1], "deploy/shop", "mars")


async def test_what_a_projection_copies_names_the_projection(town: tuple[World, User]) -> None:
    world, user = town
    await world.client.resource(PLACEMENTS).patch("all", {"spec": {"namespaceSelector": {"matchNames": ["default"]}}})
    await world.create(NAMESPACES, "Namespace", "apart")
    await world.create(RESOURCE_PROJECTIONS, "ResourceProjection", "spare", spec={"targetClusters": ["west"]})
    opted = {"metadata": {"labels": {"tmc.projection": "enabled"}}}
    deployments = world.client.resource(DEPLOYMENTS)
    await world.deploy("apart", "tool", 2)
    await deployments.patch("tool", opted, namespace="apart")
    await deployments.patch("shop", opted, namespace="default")

    async def ready() -> list[list[str]]:
        session = user.session()
        await why(session, ("deploy/tool",), "apart", "", CLOCK)
        return [line.split() for line in said(session).splitlines()]

    lines = await until(ready, lambda found: found[-1][:4] == ["west", "projected", "2", "2"])
    assert " ".join(lines[0]) == "Deployment apart/tool is copied to west by ResourceProjection spare."
    assert lines[-1][-2:] == ["ResourceProjection", "spare"]
    both = await until(lambda: told(user, "deploy/shop"), lambda found: "copied" in found[0])
    assert both[0].startswith("Deployment default/shop is placed on east and west by Placement all, decided ")
    assert both[0].endswith(" It is copied to west by ResourceProjection spare.")
    assert [line.split()[:2] for line in both[3:]] == [["east", "chosen"], ["west", "chosen"]]
    session = user.session()
    assert await why_not(session, ("deploy/tool",), "apart", "west", CLOCK) == 1
    assert said(session) == "west has a copy of Deployment apart/tool: ResourceProjection spare wants it.\n"


async def test_who_has_an_exclusive_object(town: tuple[World, User]) -> None:
    world, user = town
    labels = {"app": "only"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    marked = {"name": "only", "annotations": {EXCLUSIVE: "lease"}}
    await world.create(DEPLOYMENTS, "Deployment", "only", namespace="default", metadata=marked, spec=spec)
    lines = await until(lambda: told(user, "deploy/only"), lambda found: found[1].endswith("has it."))
    assert lines[1] == "It is exclusive (lease), in one cluster at a time: east has it."

    await world.clusters["east"].set_fault(Fault.PARTITION)
    marks = {"metadata": {"annotations": {EXCLUDE_CLUSTERS: "east"}}}
    await world.client.resource(DEPLOYMENTS).patch("only", marks, namespace="default")
    waiting = await until(lambda: told(user, "deploy/only"), lambda found: "east has not said" in found[1])
    assert waiting[1].startswith(
        "It is exclusive (lease), in one cluster at a time: no cluster may begin: east has not said that its copy is"
    )
