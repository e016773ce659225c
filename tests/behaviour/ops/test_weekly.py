"""`kcp ops weekly`: speed beside that of before, strangers, tokens, policies, and a backup that is restored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml
from tests.behaviour.ops.conftest import Installation, snapshot

from kcp.apimachinery.gvk import GVR
from kcp.cli import ops_backups, ops_performance, ops_security
from kcp.cli.ops_figures import Figures, Run
from kcp.cli.ops_report import State
from kcp.tmc.model.kinds import SYNC_TARGETS

POLICIES = Path(__file__).parents[3] / "policies"
_KINDS = {"ValidatingAdmissionPolicy": ops_security.POLICIES, "ValidatingAdmissionPolicyBinding": ops_security.POLICY_BINDINGS}


async def test_roles_of_strangers_are_told(installation: Installation) -> None:
    assert (await installation.look(ops_security.anonymous)).state is State.OK
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:anonymous"}
    await installation.create(
        "root:work", ops_security.CLUSTER_ROLE_BINDINGS, "ClusterRoleBinding", "open", roleRef=role, subjects=[subject]
    )
    check = await installation.look(ops_security.anonymous)
    assert check.state is State.LOOK
    assert "roles given to strangers: open (view) in root:work" in check.result


async def test_tokens_that_do_not_expire_are_counted_those_of_syncers_are_no_fault(installation: Installation) -> None:
    assert (await installation.look(ops_security.tokens)).result == "every token expires"
    accounts = GVR("", "v1", "serviceaccounts")
    for name, state in (("kcp-syncer-east", State.OK), ("robot", State.LOOK)):
        await installation.create("root:work", accounts, "ServiceAccount", name, namespace="default")
        annotations = {"kubernetes.io/service-account.name": name}
        await installation.create(
            "root:work", ops_security.SECRETS, "Secret", name, namespace="default", type="kubernetes.io/service-account-token",
            metadata={"annotations": annotations},
        )  # fmt: skip
        check = await installation.look(ops_security.tokens)
        assert check.state is state, check
    assert "2 Secrets with tokens that do not expire: 2 in root:work (accounts kcp-syncer-east, robot)" in check.result


async def test_workspaces_with_workloads_have_a_tier_of_todays_policies(installation: Installation) -> None:
    check = await installation.look(ops_security.policies, policies=POLICIES)
    assert check.state is State.LOOK
    assert "none in root:work" in check.result
    for document in yaml.safe_load_all((POLICIES / "relaxed" / "policy.yaml").read_text()):
        name, metadata = document["metadata"].pop("name"), document["metadata"]
        await installation.create("root:work", _KINDS[document["kind"]], document["kind"], name, metadata=metadata, spec=document["spec"])
    check = await installation.look(ops_security.policies, policies=POLICIES)
    assert (check.state, check.result) == (State.OK, "1 of 1 workspaces that place workloads have a tier of policies")
    policies = installation.world.client.resource(ops_security.POLICIES)
    lax = {"spec": {"validations": [{"expression": "true"}]}}
    await policies.patch("workloads-relaxed", lax)
    check = await installation.look(ops_security.policies, policies=POLICIES)
    assert check.state is State.LOOK
    assert "workloads-relaxed in root:work" in check.result


async def test_the_newest_backup_is_restored_and_read_again(installation: Installation, tmp_path: Path) -> None:
    path = await snapshot(tmp_path, created="2026-01-01T02:00:00Z")
    check = await installation.look(ops_backups.restoration, backup=str(tmp_path))
    assert check.state is State.OK, check
    assert check.result.startswith("2 objects of revision ")
    assert check.result.endswith("2 read again")
    packed = bytearray(path.read_bytes())
    packed[len(packed) // 2] ^= 0x55
    path.write_bytes(packed)
    assert (await installation.look(ops_backups.restoration, backup=str(tmp_path))).state is State.UNKNOWN


async def test_what_got_slower_or_larger_since_the_last_run_is_told(installation: Installation) -> None:
    assert "no earlier run" in (await installation.look(ops_performance.trend)).result
    now = (await installation.inspection()).run
    fast = {verb: {bound: 1_000.0 for bound in found} for verb, found in now.latencies.items()}
    small = {**now.gauges, "memory MiB": 1.0}
    before = Run("2026-01-01T00:00:00Z", "daily", 0.0, now.counters, small, fast)
    check = await ops_performance.trend(await installation.inspection(runs=[before]))
    assert check.state is State.LOOK
    assert "memory 1 → " in check.remedy
    same = Run("2026-01-01T00:00:00Z", "daily", now.started_s, now.counters, now.gauges, now.latencies)
    inspection = await installation.inspection(runs=[same])
    assert (await ops_performance.trend(inspection)).state is State.OK
    assert inspection.period == "since 2026-01-01T00:00:00Z"


async def test_slow_requests_are_named(installation: Installation) -> None:
    for _ in range(100):  # from then on a kind of request has a name of its own in what is measured
        await installation.world.server.client.cluster("root").resource(SYNC_TARGETS).list()
    check = await installation.look(ops_performance.slowest)
    assert check.result.count("≤") > 0, check
    assert (await installation.look(ops_performance.workers)).state is State.OK
    line = 'apiserver_request_duration_seconds_bucket{{le="{}",resource="pods",scope="namespace",verb="LIST"}} {}\n'
    slow = Figures(line.format("1", 90) + line.format("5", 100) + line.format("+Inf", 100))
    check = await ops_performance.slowest(replace(await installation.inspection(), figures=slow))
    assert (check.state, check.result) == (State.LOOK, "99th percentiles: LIST pods ≤ 5 s")
