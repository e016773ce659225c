"""`kubectl kcp bind compute` with clusters behind it, and what `diagnose` says of a Deployment that runs there."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.behaviour.plugins.conftest import User, said
from tests.behaviour.tmc.world import CLOCK, DEPLOYMENTS, running, until

from kcp.cli.plugin_bind_compute import ComputeOptions, bind_compute
from kcp.client import kubeconfig


async def test_a_workspace_runs_on_the_clusters_of_another_one_and_diagnose_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = kubeconfig.empty()
    kubeconfig.put(document, "clusters", "root", {"server": "https://h/clusters/root:team"})
    kubeconfig.put(document, "contexts", "root", {"cluster": "root"})
    document["current-context"] = "root"
    kubeconfig.save(tmp_path / "kubeconfig", document)
    async with running(tmp_path, monkeypatch) as world:
        user = User(world.server, tmp_path / "kubeconfig")
        await user.workspace("team")
        session, options = user.session(), ComputeOptions(location_workspace="root:work")
        await bind_compute(session, options, CLOCK)
        assert said(session) == f"placement {options.placement} created.\n"
        again = user.session()
        await bind_compute(again, options, CLOCK)
        assert said(again) == f"placement {options.placement} already exists.\n"
        world.client = world.server.client.cluster("root:team")
        await world.deploy("default", "web", 2)
        await world.settle("default", "web", 2)
        assert await user.diagnose("deployment", "web") == (0, "deployment web is in order.\n")
        assert await user.diagnose("placement", options.placement) == (0, f"placement {options.placement} is in order.\n")
        container = {"name": "big", "image": "nginx", "resources": {"requests": {"cpu": "900"}}}
        template = {"metadata": {"labels": {"app": "big"}}, "spec": {"containers": [container]}}
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": "big"}}, "template": template}
        await world.create(DEPLOYMENTS, "Deployment", "big", namespace="default", spec=spec)
        _, told = await until(lambda: user.diagnose("deployment", "big"), lambda found: found[0] == 1 and "Available" in found[1])
        assert "deployment big is not in order:\n- Available is False: MinimumReplicasUnavailable: " in told
