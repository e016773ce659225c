"""`kcp ops daily`: what is well, what is not and what to do; what could not be looked at is no good news."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from tests.behaviour.ops.conftest import ADMIN, Installation, snapshot
from tests.behaviour.tmc.world import CLOCK, running
from tests.s3 import BUCKET, CREDENTIALS, S3

from kcp.aio.clock import rfc3339
from kcp.apimachinery import conditions
from kcp.apimachinery.meta import JSONObject
from kcp.cli import ops_backups, ops_health
from kcp.cli.ops import OF_EACH, in_order_of, look_at_all
from kcp.cli.ops_report import State, as_json, exit_code, show
from kcp.storage.snapshot.places import S3Options, place_of
from kcp.tmc.model.kinds import SYNC_TARGETS


async def test_an_installation_that_is_well_needs_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.spread()
        await world.deploy("default", "web", 2)
        await world.settle("default", "web", 2)
        checks = await look_at_all(ops_health.DAILY, await Installation(world).inspection())
    assert {c.name: c.state for c in checks if c.state is not State.OK} == {"Sync errors": State.LEFT_OUT}, as_json("", checks)
    assert exit_code(checks) == 0
    told = {check.name: check.result for check in checks}
    assert told["Clusters"] == "2, all Ready"
    assert told["Failing objects"].startswith("0 of "), told
    assert "since the server's start" in told["Request errors"]


async def test_clusters_that_are_not_ready_are_named_with_their_workspace(installation: Installation) -> None:
    check = await installation.look(ops_health.clusters)
    assert check.state is State.LOOK
    assert check.result.startswith("2 of 2 not Ready: east in root:work (")
    assert "kubectl kcp diagnose" in check.remedy


async def test_placements_without_a_cluster_are_named(installation: Installation) -> None:
    check = await installation.look(ops_health.placements)
    assert check.state is State.LOOK
    assert check.result.startswith("1 of 1 lack clusters: all in root:work (")


async def test_deletions_that_wait_after_a_restoration_need_somebody(installation: Installation) -> None:
    targets = installation.world.client.resource(SYNC_TARGETS)
    held: JSONObject = {"status": {"heldDeletions": {"restore": "r", "count": 1, "objects": ["apps/v1 default/lost"]}}}
    await targets.patch("east", held, subresource="status")
    check = await installation.look(ops_health.held)
    assert (check.state, check.result) == (State.LOOK, "deletions wait at east in root:work")
    assert not conditions.is_true(await targets.get("east"), "Ready")


async def test_who_may_not_read_all_workspaces_is_told_so(installation: Installation) -> None:
    check = await installation.look(ops_health.clusters, user=ADMIN)
    assert check.state is State.UNKNOWN
    assert "forbidden" in check.result
    assert exit_code([check]) == 1


async def test_certificates_that_expire_soon_are_told(installation: Installation) -> None:
    assert (await installation.look(ops_health.certificates)).state is State.OK
    check = await installation.look(ops_health.certificates, certificate_days=400)
    assert check.state is State.LOOK
    assert "serving is the first to expire, in 36" in check.result


async def test_a_backup_is_read_and_its_age_told(installation: Installation, tmp_path: Path) -> None:
    assert (await installation.look(ops_backups.age)).state is State.LEFT_OUT
    assert (await installation.look(ops_backups.age, backup=str(tmp_path / "nowhere"))).state is State.UNKNOWN
    assert "there are no snapshots" in (await installation.look(ops_backups.age, backup=str(tmp_path))).result
    path = await snapshot(tmp_path, created=rfc3339(CLOCK.now() - timedelta(hours=30)))
    check = await installation.look(ops_backups.age, backup=str(tmp_path))
    assert check.state is State.LOOK
    assert "30.0 h old" in check.result
    assert "2 objects, whole" in check.result
    assert (await installation.look(ops_backups.age, backup=str(tmp_path), max_backup_age_s=31 * 3600.0)).state is State.OK
    path.write_bytes(path.read_bytes()[:-20])
    assert (await installation.look(ops_backups.age, backup=str(tmp_path))).state is State.UNKNOWN


async def test_a_syncer_that_does_not_answer_is_not_passed_over(installation: Installation) -> None:
    check = await installation.look(ops_health.syncs, syncers=("http://127.0.0.1:9/metrics",))
    assert check.state is State.UNKNOWN


async def test_a_backup_in_a_bucket_is_read_where_the_flags_say(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    path = await snapshot(tmp_path, created=rfc3339(CLOCK.now()))
    server = S3()
    try:
        server.start()
        bucket = f"s3://{BUCKET}/nightly"
        place_of(bucket, S3Options(server.endpoint, "us-east-1")).put(path, path.name)
        check = await installation.look(ops_backups.age, backup=bucket, s3_endpoint=server.endpoint, s3_region="us-east-1")
        assert check.state is State.OK, check
        assert "2 objects, whole" in check.result
        assert (
            await installation.look(ops_backups.restoration, backup=bucket, s3_endpoint=server.endpoint, s3_region="us-east-1")
        ).state is State.OK
        check = await installation.look(
            ops_backups.age, backup="s3://elsewhere/nightly", s3_endpoint=server.endpoint, s3_region="us-east-1"
        )
        assert check.state is State.UNKNOWN
    finally:
        server.stop()


async def test_of_several_servers_each_is_named_with_what_it_says(installation: Installation) -> None:
    checks = await look_at_all(ops_health.DAILY, await installation.inspection())
    more = [replace(check, server="b:6443") for check in checks if check.name in OF_EACH]
    told = in_order_of(ops_health.DAILY, [*checks, *more], "a:6443")
    assert [(check.name, check.server) for check in told][:3] == [("Server", "a:6443"), ("Server", "b:6443"), ("Components", "a:6443")]
    assert [check.server for check in told if check.name == "Placements"] == [""]
    out = StringIO()
    show("it", told, out)
    lines = out.getvalue().splitlines()
    assert lines[2].split()[:3] == ["CHECK", "SERVER", "STATE"]
    assert sum("b:6443" in line for line in lines) == len(more)
