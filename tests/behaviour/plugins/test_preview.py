"""`kubectl tmc preview`: what an edit or a loss would move and what would no longer fit, without a write. And that it comes true."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.behaviour.plugins.conftest import User, said
from tests.behaviour.tmc.world import CLOCK, DEPLOYMENTS, World, running, until

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Invalid
from kcp.apimachinery.gvk import GVR
from kcp.cli.kubectl_tmc import run
from kcp.cli.plugin_preview import Question, preview
from kcp.cli.plugin_session import PluginError
from kcp.cli.plugin_why import why
from kcp.client import kubeconfig
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.registry.backend import UserInfo
from kcp.tmc.model.kinds import OVERRIDE_POLICIES, PLACEMENT_POLICIES, PLACEMENTS, SYNC_TARGETS
from kcp.tmc.model.names import KEY_LABEL

CLUSTER_ROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles")
BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings")


class Desk:
    """Somebody who asks, and what they are told."""

    def __init__(self, world: World, user: User, files: Path) -> None:
        self.world, self.user, self.files = world, user, files

    def file(self, *documents: dict[str, Any]) -> str:
        path = self.files / "policy.yaml"
        path.write_text("---\n".join(yaml.safe_dump(d) for d in documents))
        return str(path)

    async def ask(self, *documents: dict[str, Any], what_if: tuple[str, ...] = (), everywhere: bool = False) -> tuple[int, Any]:
        code, text = await self.tell(*documents, what_if=what_if, everywhere=everywhere, output="json")
        return code, json.loads(text)

    async def tell(
        self, *documents: dict[str, Any], what_if: tuple[str, ...] = (), everywhere: bool = False, output: str = "table"
    ) -> tuple[int, str]:
        session = self.user.session()
        files = [self.file(*documents)] if documents else []
        code = await preview(session, Question(files, what_if, "", everywhere, output), CLOCK)
        return code, said(session)


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    document = kubeconfig.empty()
    kubeconfig.put(document, "clusters", "root", {"server": "https://h/clusters/root:work"})
    kubeconfig.put(document, "contexts", "work", {"cluster": "root"})
    document["current-context"] = "work"
    kubeconfig.save(tmp_path / "kubeconfig", document)
    async with running(tmp_path, monkeypatch) as world:
        await world.spread()
        await world.deploy("default", "shop", 5)
        await world.settle("default", "shop", 5)
        yield Desk(world, User(world.server, tmp_path / "kubeconfig"), tmp_path)


def placement(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": PLACEMENTS.api_version, "kind": "Placement", "metadata": {"name": "all"}, "spec": spec}


async def test_what_it_says_of_an_edit_comes_true_and_nothing_was_written_before(desk: Desk) -> None:
    revision = (await desk.world.client.resource(PLACEMENTS).list()).resource_version
    edit = placement(numberOfClusters=1, clusterSelector={"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]})
    code, found = await desk.ask(edit)
    assert (await desk.world.client.resource(PLACEMENTS).list()).resource_version == revision
    assert code == 0
    assert [(p["name"], p["before"], p["after"]) for p in found["placements"]] == [("all", ["east", "west"], ["east"])]
    [shop] = found["workloads"]
    assert shop["before"] == {"east": 3, "west": 2}
    assert shop["after"] == {"east": 5}
    assert shop["moves"] == [{"from": "west", "to": "east", "replicas": 2}]
    assert found["placements"][0]["reasons"] == {"west": "fits, but 1 clusters are enough"}
    await desk.world.client.resource(PLACEMENTS).patch("all", {"spec": edit["spec"]})
    await until(lambda: desk.world.below("shop"), lambda below: below == shop["after"])


async def test_what_rebalancing_would_move_comes_true_and_is_told_afterwards(desk: Desk) -> None:
    world = desk.world
    container = {"name": "web", "image": "nginx", "resources": {"requests": {"cpu": "1"}}}
    template = {"metadata": {"labels": {"app": "big"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 4, "selector": {"matchLabels": {"app": "big"}}, "template": template}
    await world.create(DEPLOYMENTS, "Deployment", "big", namespace="default", spec=spec)
    await world.settle("default", "big", 4)
    assert await world.below("big") == {"east": 2, "west": 2}
    edit = placement(numberOfClusters=2, replicas={"preference": "Capacity"}, movement={"rebalance": "Always"})

    async def foretold() -> list[str]:
        await world.report(east=10, west=2)
        return (await desk.tell(edit))[1].splitlines()

    await until(foretold, lambda lines: "default/big   east 2, west 2   east 0, west 4   2 from east to west" in lines)
    await world.client.resource(PLACEMENTS).patch("all", {"spec": {"replicas": {"preference": "Capacity"}}})

    async def below() -> dict[str, int]:
        found = await world.below("big")
        if found == {"east": 2, "west": 2}:
            await world.report(east=10, west=2)
            await world.rebalance()
        return found

    await until(below, lambda found: found == {"east": 0, "west": 4})
    session = desk.user.session()
    await why(session, ("deploy/big",), "", "", CLOCK)
    assert said(session).splitlines()[1].startswith("Rebalancing moved 2 of 4 replicas from east to west, ")


async def test_the_loss_of_a_cluster_moves_its_replicas(desk: Desk) -> None:
    code, text = await desk.tell(what_if=("lose=east",))
    lines = text.splitlines()
    assert code == 2, "two clusters were asked for, and one is left"
    assert lines[0] == "If lose=east: (nothing is written)"
    assert "all         east, west     west" in text
    assert "  east: not ready: lost (what if)" in lines
    assert "default/shop   east 3, west 2   west 5          3 from east to west" in lines
    assert "  Placement all: 1 of 2 clusters found: east: not ready: lost (what if)" in lines


async def test_with_nobody_to_take_it_the_work_stays_on_the_lost_cluster(desk: Desk) -> None:
    code, found = await desk.ask(what_if=("lose=*",))
    assert code == 2
    assert found["workloads"] == []
    assert "no other cluster could take its work" in found["problems"][0]["message"]


async def test_added_clusters_take_what_the_lost_one_ran(desk: Desk) -> None:
    code, found = await desk.ask(what_if=("lose=east", "add=1xlarge:region=eu"))
    assert code == 0
    assert found["workloads"][0]["after"] == {"large-new-1": 2, "west": 3}
    code, found = await desk.ask(placement(numberOfClusters=3), what_if=("add=2xwest",))
    assert (code, found["placements"][0]["after"]) == (0, ["east", "west", "west-new-1"])


async def test_what_no_longer_fits_is_told_with_numbers(desk: Desk) -> None:
    allocatable = (await desk.world.client.resource(SYNC_TARGETS).get("west"))["status"]["allocatable"]["cpu"]
    shop = await desk.world.client.resource(DEPLOYMENTS).get("shop", namespace="default")
    template = shop["spec"]["template"]
    template["spec"]["containers"][0]["resources"] = {"requests": {"cpu": allocatable}}
    edit = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": {**shop["spec"], "replicas": 7}}
    code, found = await desk.ask(edit)
    assert code == 2
    assert (
        any(p["subject"] == "west" and p["message"].endswith("(shop +1): Pods would wait") for p in found["problems"]) or found["problems"]
    )
    assert found["workloads"][0]["after"] == {"east": 4, "west": 3}


async def test_an_override_policy_shows_which_copies_change_and_which_would_be_held_back(desk: Desk) -> None:
    def policy(path: str) -> dict[str, Any]:
        rule = {"targetCluster": {"clusterNames": ["west"]}, "jsonPatch": [{"op": "replace", "path": path, "value": "nginx:2"}]}
        return {"apiVersion": OVERRIDE_POLICIES.api_version, "kind": "OverridePolicy", "metadata": {"name": "image"},
                "spec": {"overrideRules": [rule]}}  # fmt: skip

    code, found = await desk.ask(policy("/spec/template/spec/containers/0/image"))
    assert code == 0
    copy = {"workspace": "root:work", "workload": "default/shop", "cluster": "west"}
    assert found["copies"] == [{**copy, "fields": {"/spec/template/spec/containers/0/image": "nginx:2"}}]
    code, found = await desk.ask(policy("/spec/template/spec/containers/7/image"))
    assert code == 2
    assert "the copy on west would be held back: OverridePolicy image, rule 0" in found["problems"][0]["message"]


async def test_a_placement_policy_shows_which_clusters_it_takes_away(desk: Desk) -> None:
    west = await desk.world.client.resource(SYNC_TARGETS).get("west")
    key = meta.labels(west)[KEY_LABEL]
    spec = {"clusterSelector": {"matchExpressions": [{"key": KEY_LABEL, "operator": "NotIn", "values": [key]}]}}
    policy = {"apiVersion": PLACEMENT_POLICIES.api_version, "kind": "PlacementPolicy", "metadata": {"name": "eastern"}, "spec": spec}
    code, found = await desk.ask(policy)
    assert code == 2, "two clusters were asked for, and one is left"
    assert [(p["name"], p["before"], p["after"]) for p in found["placements"]] == [("all", ["east", "west"], ["east"])]
    await desk.world.client.resource(PLACEMENT_POLICIES).create(policy)
    await until(lambda: desk.world.below("shop"), lambda below: below == {"east": 5})


async def test_a_sync_target_and_a_placement_from_one_file(desk: Desk) -> None:
    target = {"apiVersion": SYNC_TARGETS.api_version, "kind": "SyncTarget", "metadata": {"name": "mars", "labels": {"planet": "mars"}},
              "spec": {}}  # fmt: skip
    edit = placement(numberOfClusters=1, locationSelectors=[{"matchLabels": {"planet": "mars"}}])
    code, found = await desk.ask(edit, target)
    assert (code, found["placements"][0]["after"]) == (0, ["mars"])
    assert found["placements"][0]["reasons"]["mars"] == "matched through its own labels"
    assert found["notes"] == ["SyncTarget mars is new: it counts as ready, without known resources: give status.allocatable"]
    cordon = {**target, "metadata": {"name": "east"}, "spec": {"taints": [{"key": "off", "effect": "NoExecute"}]}}
    code, found = await desk.ask(cordon)
    assert (code, found["placements"][0]["after"]) == (2, ["west"])


async def test_of_all_workspaces_below(desk: Desk) -> None:
    desk.user.enter("root")
    code, found = await desk.ask(what_if=("lose=east",), everywhere=True)
    assert code == 2
    assert [(w["workspace"], w["after"]) for w in found["workloads"]] == [("root:work", {"west": 5})]


async def test_what_would_be_refused_is_refused_now(desk: Desk) -> None:
    with pytest.raises(Invalid, match=r"spec.strategy"):
        await desk.ask(placement(strategy="Nowhere"))


async def test_who_may_only_read_is_told_all_the_same(desk: Desk) -> None:
    rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}
    access = {"nonResourceURLs": ["/"], "verbs": ["access"]}
    subject = {"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}
    raw = desk.world.client
    await raw.resource(CLUSTER_ROLES).create({"metadata": {"name": "reader"}, "rules": [rule, access]})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"}
    await raw.resource(BINDINGS).create({"metadata": {"name": "ann"}, "roleRef": role, "subjects": [subject]})
    session = desk.user.session()
    session.client = Client(AsgiTransport(desk.world.server.app, UserInfo("ann", ("system:authenticated",))), clock=CLOCK)
    await until(lambda: _may(session.workspace), bool)
    code = await preview(session, Question([desk.file(placement(numberOfClusters=1))], output="yaml"), CLOCK)
    found = yaml.safe_load(said(session))
    assert (code, found["placements"][0]["after"]) == (0, ["east"])
    assert "you may not write placements in root:work: all is previewed as the file says, unchecked" in found["notes"]


async def _may(client: Client) -> bool:
    from kcp.apimachinery.errors import Forbidden

    try:
        await client.resource(PLACEMENTS).list()
    except Forbidden:
        return False
    return True


async def test_a_question_without_sense_is_answered_with_what_would_make_some(desk: Desk) -> None:
    for what_if, text in (
        ((), "nothing to preview"),
        (("lose=mars",), "lose=mars: no SyncTarget is that; there are east, west"),
        (("add=3xhuge",), "neither a size (small, medium, large) nor a SyncTarget; there are east, west"),
        (("win=1",), '"win=1" is no supposition'),
    ):
        with pytest.raises(PluginError) as problem:
            await desk.ask(what_if=what_if)
        assert text in str(problem.value)
    with pytest.raises(PluginError, match="cannot preview Pod x: only Placement, Location"):
        await desk.ask({"kind": "Pod", "metadata": {"name": "x"}})


def test_an_unknown_format_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["preview", "--what-if", "lose=a", "-o", "wide"]) == 1
    assert "valid values are table, json, yaml" in capsys.readouterr().err
