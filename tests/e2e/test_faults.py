"""Every process killed with -9 and started again, clusters cut off, programs stopped by Ctrl-C: everything comes right, nothing is lost.

After each fault every Deployment's status becomes true again, its replicas downstream add up, nothing is doubled and nothing is orphaned.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from tests.e2e.fleet import EXAMPLES, NAMES, WORKSPACE, Fleet, condition, deployment, is_settled, kill_all
from tests.e2e.processes import BIN, Kubectl, Process, free_port

pytestmark = pytest.mark.e2e

BEGUN = {f"web-{i}": 2 + i % 3 for i in range(6)}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("faults"))
    try:
        made.start()
        made.at(WORKSPACE)("apply", "-f", str(EXAMPLES / "01-hello-world" / "placement.yaml"))
        yield made
    finally:
        made.stop()


@pytest.fixture
def fleet(shared: Fleet) -> Fleet:
    """Everything runs, and the Deployments of BEGUN are settled; whatever the test before has done to it."""
    revive(shared)
    kubectl = shared.at(WORKSPACE)
    other = [d["metadata"]["name"] for d in kubectl.json("get", "deployments")["items"] if d["metadata"]["name"] not in BEGUN]
    if other:
        kubectl("delete", "deployment", *other)
    apply(shared, BEGUN)
    shared.wait_deployments(BEGUN)
    return shared


def revive(fleet: Fleet) -> None:
    """Start what does not run."""
    if fleet.kcp is None or fleet.kcp.popen.poll() is not None:
        fleet.start_kcp()
    for name in NAMES:
        if fleet.clusters[name].popen.poll() is not None:
            fleet.start_cluster(name)
        if fleet.syncers[name].popen.poll() is not None:
            fleet.start_syncer(name)


def apply(fleet: Fleet, wanted: dict[str, int]) -> None:
    fleet.at(WORKSPACE)("apply", "-f", "-", stdin="\n".join(json.dumps(deployment(*item)) for item in wanted.items()))


def scale_all(fleet: Fleet, replicas: int) -> dict[str, int]:
    fleet.at(WORKSPACE)("scale", "deployment", "--all", f"--replicas={replicas}")
    return dict.fromkeys(BEGUN, replicas)


def sim(fleet: Fleet, *arguments: str) -> None:
    subprocess.run([str(BIN / "kcp"), "sim", *arguments], cwd=fleet.directory, check=True, capture_output=True, timeout=30)


# --- the control plane ---


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.08])
def test_a_control_plane_killed_while_it_makes_a_workspace_goes_on_with_it(shared: Fleet, delay_s: float) -> None:
    revive(shared)
    name = f"halfway-{int(delay_s * 1000)}"
    acknowledged = shared.at("root").run("create", "-f", "-", stdin=json.dumps(workspace(name)))
    time.sleep(delay_s)
    kill_all(shared.kcp)
    shared.start_kcp()
    assert "created" in acknowledged.stdout
    shared.at("root").until("get", "workspace", name, is_right=lambda w: w.get("status", {}).get("phase") == "Ready")
    inside = shared.at(f"root:{name}")
    inside("wait", "apibindings", "--all", "--for=jsonpath={.status.phase}=Bound", "--timeout=20s")
    assert "default" in inside("get", "namespaces", "-o", "name")
    inside("create", "configmap", "works")


def workspace(name: str) -> dict[str, Any]:
    return {"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}, "spec": {}}


def test_what_was_acknowledged_while_twenty_deployments_were_applied_survives_a_kill(fleet: Fleet) -> None:
    wanted = {f"new-{i:02}": 2 for i in range(20)}
    kubectl = fleet.at(WORKSPACE)
    applying = subprocess.Popen(
        ["kubectl", *kubectl.flags, "apply", "-f", "-"], cwd=fleet.directory, env=kubectl.environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert applying.stdin is not None
    assert applying.stdout is not None
    acknowledged: list[str] = []
    with applying:
        applying.stdin.write("\n".join(json.dumps(deployment(*item)) for item in wanted.items()))
        applying.stdin.close()
        for line in applying.stdout:
            acknowledged += [line.split()[0].partition("/")[2]] if "created" in line else []
            if len(acknowledged) == 5:
                kill_all(fleet.kcp)
    assert len(acknowledged) < 20, "it was killed in the middle"
    fleet.start_kcp()
    held = {d["metadata"]["name"]: d["spec"]["replicas"] for d in kubectl.json("get", "deployments")["items"]}
    assert set(acknowledged) <= held.keys()
    assert {name: held[name] for name in BEGUN} == BEGUN
    fleet.wait_deployments(held)


def test_a_killed_control_plane_comes_back_with_everything_and_syncers_go_on(fleet: Fleet) -> None:
    kubectl = fleet.at(WORKSPACE)
    before = {o["metadata"]["uid"] for o in kubectl.json("get", "deployments,synctargets,placements")["items"]}
    kill_all(fleet.kcp)
    fleet.start_kcp()
    assert {o["metadata"]["uid"] for o in kubectl.json("get", "deployments,synctargets,placements")["items"]} == before
    fleet.wait_deployments(scale_all(fleet, 5))


# --- syncers ---


@pytest.mark.parametrize("delay_s", [0.03, 0.15])
def test_syncers_killed_between_finalizer_and_apply_finish_it(fleet: Fleet, delay_s: float) -> None:
    wanted = BEGUN | {f"fresh-{i}": 3 for i in range(6)}
    apply(fleet, wanted)
    time.sleep(delay_s)
    kill_all(*fleet.syncers.values())
    for name in NAMES:
        fleet.start_syncer(name)
    fleet.wait_deployments(wanted)


@pytest.mark.parametrize("delay_s", [0.0, 0.1])
def test_a_deletion_goes_on_after_its_syncers_were_killed(fleet: Fleet, delay_s: float) -> None:
    kubectl = fleet.at(WORKSPACE)
    kubectl("delete", "deployment", "--all", "--wait=false")
    time.sleep(delay_s)
    kill_all(*fleet.syncers.values())
    for name in NAMES:
        fleet.start_syncer(name)
    fleet.wait_deployments({})


def test_what_is_deleted_while_its_syncer_is_dead_goes_when_it_is_back(fleet: Fleet) -> None:
    kill_all(fleet.syncers["east"])
    kubectl = fleet.at(WORKSPACE)
    kubectl("delete", "deployment", "web-0", "--wait=false")
    kubectl.until("get", "deployment", "web-0", is_right=lambda d: len(d["metadata"]["finalizers"]) == 1)
    assert "web-0" in fleet.shares("web-0") or fleet.shares("web-0") == {"east": 1}
    fleet.start_syncer("east")
    fleet.wait_deployments({name: replicas for name, replicas in BEGUN.items() if name != "web-0"})


# --- clusters ---


def test_a_killed_cluster_comes_back_with_its_data(fleet: Fleet) -> None:
    uids = {d["metadata"]["uid"] for d in fleet.deployments_below("east")}
    kill_all(fleet.clusters["east"])
    wanted = scale_all(fleet, 4)
    fleet.start_cluster("east")
    fleet.wait_deployments(wanted)
    assert {d["metadata"]["uid"] for d in fleet.deployments_below("east")} == uids


def test_a_cluster_that_lost_everything_is_filled_again(fleet: Fleet) -> None:
    """Set up anew at its old address: another authority, another administrator, no object; the syncer reads its kubeconfig again."""
    kill_all(fleet.clusters["east"])
    fleet.clusters_keep_data = False
    try:
        fleet.start_cluster("east")
        fleet.wait_deployments(BEGUN)
        kill_all(fleet.clusters["east"])
    finally:
        fleet.clusters_keep_data = True
    fleet.start_cluster("east")
    fleet.wait_deployments(BEGUN)


def test_a_namespace_that_somebody_deletes_downstream_is_made_again(fleet: Fleet) -> None:
    below = fleet.below("east")
    namespaces = {d["metadata"]["namespace"] for d in fleet.deployments_below("east")}
    below("delete", "namespace", *namespaces, "--timeout=30s")
    fleet.wait_deployments(BEGUN)


# --- everything ---


@pytest.mark.parametrize("order", ["control plane first", "clusters first"])
def test_everything_killed_at_once_comes_back(fleet: Fleet, order: str) -> None:
    wanted = scale_all(fleet, 6)
    kill_all(fleet.kcp, *fleet.clusters.values(), *fleet.syncers.values())
    if order == "control plane first":
        fleet.start_kcp()
    for name in NAMES:
        fleet.start_cluster(name)
    if order == "clusters first":
        fleet.start_kcp()
    for name in NAMES:
        fleet.start_syncer(name)
    fleet.wait_deployments(wanted)


# --- clusters that are away, but not dead ---


@pytest.mark.parametrize("fault", ["kill", "partition", "pause"])
def test_a_cluster_that_is_away_is_told_of_and_left_alone_and_catches_up(fleet: Fleet, fault: str) -> None:
    sim(fleet, fault, "east")
    began_s = time.monotonic()
    try:
        target = fleet.wait_target("east", ready=False, timeout_s=10)
        assert time.monotonic() - began_s < 10
        assert condition(target, "Ready")["reason"] == "ClusterUnreachable"
        kubectl = fleet.at(WORKSPACE)
        placed = kubectl.until(
            "get", "placement", "hello-world",
            is_right=lambda p: "KeptWhileUnready" in [d["reason"] for d in p["status"]["decisions"]],
        )  # fmt: skip
        assert [d["chosen"] for d in placed["status"]["decisions"]] == [True, True]
        shown = kubectl.until("get", "deployment", "web-1", is_right=lambda d: condition(d, "Synced")["status"] == "False")
        assert "east" in condition(shown, "Synced")["message"]
        wanted = scale_all(fleet, 7)
        assert sum(d["spec"]["replicas"] for d in fleet.deployments_below("west")) < 7 * len(BEGUN), "nothing is moved in a hurry"
    finally:
        sim(fleet, "restore", "east")
    fleet.wait_target("east", ready=True, timeout_s=10)
    fleet.wait_deployments(wanted, timeout_s=15)


# --- SyncTargets ---


def test_a_deleted_sync_target_leaves_what_runs_and_one_made_anew_takes_it_over(fleet: Fleet) -> None:
    kubectl = fleet.at(WORKSPACE)
    kubectl("delete", "synctarget", "east")
    kubectl.until(
        "get", "deployment", "web-0", is_right=lambda d: sum(k.startswith("state.workload") for k in d["metadata"]["labels"]) == 1
    )
    assert {d["metadata"]["name"] for d in fleet.deployments_below("east")} == BEGUN.keys()
    kubectl("apply", "-f", str(EXAMPLES / "synctarget-east.yaml"))
    fleet.syncers["east"].kill()
    fleet.start_syncer("east")
    fleet.wait_target("east", ready=True)
    fleet.wait_deployments(BEGUN)


# --- Ctrl-C ---


def assert_stops(process: Process, number: int = signal.SIGINT) -> None:
    """In less than three seconds, with exit code 0 and without a traceback."""
    began_s = time.monotonic()
    code = process.stop(number)
    took_s = time.monotonic() - began_s
    assert code == 0, process.output
    assert took_s < 3.0
    assert "Traceback" not in process.output
    assert "never retrieved" not in process.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_every_program_stops_in_order_when_told_to(fleet: Fleet, number: int) -> None:
    kubectl = fleet.at(WORKSPACE)
    watching = subprocess.Popen(
        ["kubectl", *kubectl.flags, "get", "deployments", "--watch"], cwd=fleet.directory, env=kubectl.environment,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with watching:
        assert watching.stdout is not None
        watching.stdout.readline()
        assert_stops(fleet.syncers["west"], number)
        assert fleet.kcp is not None
        assert_stops(fleet.kcp, number)
        watching.kill()
    assert_stops(fleet.syncers["east"], number)
    assert_stops(fleet.clusters["east"], number)
    sim(fleet, "pause", "west")
    assert_stops(fleet.clusters["west"], number)


def test_a_sandbox_stops_in_order_and_comes_back_with_its_data_even_after_a_kill(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("sandbox")
    command = ["kcp", "sandbox", "--root-directory=.kcp", f"--secure-port={free_port()}"]
    kubectl = Kubectl(directory / ".kcp" / "admin.kubeconfig", directory)
    running = Process.start(command, cwd=directory)
    try:
        uid = ""
        for replicas, number in ((3, signal.SIGINT), (5, signal.SIGKILL), (4, signal.SIGINT)):
            running.wait_for_line("until Ctrl-C")
            kubectl("ws", "use", WORKSPACE)
            if not uid:
                kubectl("apply", "-f", str(EXAMPLES / "01-hello-world"))
                uid = kubectl("get", "deployment", "hello-world", "-o", "jsonpath={.metadata.uid}")
            kubectl("scale", "deployment", "hello-world", f"--replicas={replicas}")
            found = kubectl.until("get", "deployment", "hello-world", is_right=partial(is_settled, replicas=replicas))
            assert found["metadata"]["uid"] == uid
            if number == signal.SIGINT:
                assert_stops(running)
            else:
                running.kill()
            running = Process.start(command, cwd=directory)
    finally:
        running.kill()
