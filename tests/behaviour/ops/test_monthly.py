"""`kcp ops monthly`: the drill, administrators, auditing, room; and that what it calls measured stands in docs/benchmarks.md."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.behaviour.ops.conftest import Installation

from kcp.cli import ops_backups, ops_capacity, ops_security
from kcp.cli.ops_report import State

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("says", "state", "told"),
    [
        ("echo '6. Recovery time: (RTO 12.5 s; target 900 s)'", State.OK, "after 12.5 s"),
        ("echo '6. Recovery time: (RTO 1200.0 s; target 900 s)'", State.LOOK, "after 1200.0 s"),
        ("echo 'FAILED: a syncer'; exit 1", State.LOOK, "failed with 1: FAILED: a syncer"),
    ],
)
async def test_the_drill_is_run_and_its_time_told(installation: Installation, tmp_path: Path, says: str, state: State, told: str) -> None:
    script = tmp_path / "drill.sh"
    script.write_text(f"#!/bin/sh\n{says}\n")
    script.chmod(0o755)
    check = await installation.look(ops_backups.drill, drill=script)
    assert check.state is state
    assert told in check.result


async def test_a_drill_that_is_not_there_is_left_out_and_it_is_said_how(installation: Installation, tmp_path: Path) -> None:
    check = await installation.look(ops_backups.drill, drill=tmp_path / "none")
    assert check.state is State.LEFT_OUT
    assert "scripts/dr-drill.sh" in check.result
    assert (await installation.look(ops_backups.drill, is_drill_wanted=False)).state is State.LEFT_OUT


async def test_administrators_that_nobody_expects_are_named(installation: Installation) -> None:
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"}
    assert (await installation.look(ops_security.administrators)).state is State.OK
    await installation.create("root", ops_security.CLUSTER_ROLE_BINDINGS, "ClusterRoleBinding", "x", roleRef=role, subjects=[subject])
    check = await installation.look(ops_security.administrators)
    assert (check.state, check.result) == (State.LOOK, "cluster-admin in root: User mallory")
    assert (await installation.look(ops_security.administrators, administrators=frozenset({"mallory"}))).state is State.OK
    everybody = {**subject, "kind": "Group", "name": "system:authenticated"}
    await installation.create(
        "root:work", ops_security.CLUSTER_ROLE_BINDINGS, "ClusterRoleBinding", "all", roleRef=role, subjects=[everybody]
    )
    check = await installation.look(ops_security.administrators, administrators=frozenset({"mallory"}))
    assert check.state is State.LOOK
    assert check.result.endswith("cluster-admin for everybody: all in root:work")


async def test_a_server_that_records_nothing_is_told(installation: Installation) -> None:
    assert (await installation.look(ops_security.audit)).state is State.LOOK


async def test_room_is_told_beside_what_was_measured(installation: Installation) -> None:
    check = await installation.look(ops_capacity.capacity)
    assert check.state is State.OK
    assert "2 of 100 clusters" in check.result
    assert (await installation.look(ops_capacity.memory)).name == "Memory"
    versions = await installation.look(ops_capacity.versions)
    assert versions.state is State.OK, versions


async def test_growth_is_told_from_what_is_remembered(installation: Installation) -> None:
    now = (await installation.inspection()).run
    few = {name: 0.0 for name in now.gauges}
    old = replace(now, at="2020-01-01T00:00:00Z", gauges=few)
    check = await ops_capacity.growth(await installation.inspection(runs=[old]))
    assert check.state is State.OK
    assert "clusters +0.0 a day" in check.result
    full = replace(now, at="2020-01-01T00:00:00Z", gauges={**few, "objects": -2e9})
    check = await ops_capacity.growth(await installation.inspection(runs=[full]))
    assert check.state is State.LOOK
    assert (await installation.look(ops_capacity.growth)).result.startswith("too little history")


def test_what_is_called_measured_is_near_the_benchmarks() -> None:
    """They are taken anew now and then, and differ a little each time."""
    text = (ROOT / "docs" / "benchmarks.md").read_text()

    def measured(row: str) -> float:
        found = re.search(row + r"[^\n]*?\| ([\d,]+) [MK]iB", text)
        assert found is not None, row
        return float(found[1].replace(",", ""))

    assert pytest.approx(measured(r"\| idle memory \|"), rel=0.5) == ops_capacity.IDLE_MIB
    assert pytest.approx(measured(r"\| memory of a workspace \| of 10,000 \| [^|]*"), rel=0.5) == ops_capacity.WORKSPACE_KIB
    assert pytest.approx(measured(r"\| memory \| 1,000,000 ConfigMaps \|") * 1024 / 1_000_000, rel=0.5) == ops_capacity.OBJECT_KIB
    most = {measured.gauge: measured.most for measured in ops_capacity.MEASURED}
    assert f"{most['clusters']} clusters, {most['Deployments']:,} Deployments" in text
    assert f"| workspaces created until Ready | {most['workspaces']:,} flat" in text
