"""A control plane with simulated clusters and their syncers, each a process of its own that can be killed and started again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.processes import Kubectl, Process, eventually, free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
WORKSPACE = "root:hello-world"
NAMES = ("east", "west")


@dataclass
class Fleet:
    """Processes of one directory. Ports and data stay, so that what is killed comes back as the same."""

    directory: Path
    clusters_keep_data: bool = True
    kcp_port: int = field(default_factory=free_port)
    cluster_ports: dict[str, int] = field(default_factory=dict)
    kcp: Process | None = None
    clusters: dict[str, Process] = field(default_factory=dict)
    syncers: dict[str, Process] = field(default_factory=dict)
    kcp_flags: tuple[str, ...] = ("--enable-tmc", "--v=2")

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.directory / ".kcp" / "admin.kubeconfig", self.directory)

    def at(self, workspace: str) -> Kubectl:
        """kubectl for one workspace, whatever the kubeconfig's current one."""
        return Kubectl(self.directory / ".kcp" / "admin.kubeconfig", self.directory, ("--server", f"{self.url}/clusters/{workspace}"))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.kcp_port}"

    def below(self, name: str) -> Kubectl:
        """kubectl for one physical cluster."""
        return Kubectl(self.directory / f"{name}.kubeconfig", self.directory)

    def start_kcp(self, *, wait: bool = True) -> Process:
        command = ["kcp", "start", "--root-directory=.kcp", f"--secure-port={self.kcp_port}", *self.kcp_flags]
        self.kcp = Process.start(command, cwd=self.directory)
        if wait:
            self.kcp.wait_for_line("kcp is ready")
        return self.kcp

    def start_cluster(self, name: str, *, wait: bool = True) -> Process:
        port = self.cluster_ports.setdefault(name, free_port())
        data = ["--data-dir", f"{name}.data"] if self.clusters_keep_data else []
        started = Process.start(
            ["kcp", "sim", "cluster", name, "--port", str(port), "--nodes", "3", "--labels", f"region={name}",
             "--kubeconfig-out", f"{name}.kubeconfig", *data],
            cwd=self.directory,
        )  # fmt: skip
        self.clusters[name] = started
        if wait:
            started.wait_for_line("serves")
        return started

    def syncer_command(self, name: str, **replaced: str) -> list[str]:
        """Args: replaced: flags with other values, `_` for `-`."""
        uid = self.at(WORKSPACE)("get", "synctarget", name, "-o", "jsonpath={.metadata.uid}") if "sync_target_uid" not in replaced else ""
        flags = {
            "sync_target_name": name,
            "sync_target_uid": uid,
            "workspace_cluster": WORKSPACE,
            "kcp_kubeconfig": ".kcp/admin.kubeconfig",
            "cluster_kubeconfig": f"{name}.kubeconfig",
            **replaced,
        }
        return ["workload-syncer", *(f"--{flag.replace('_', '-')}={value}" for flag, value in flags.items())]

    def start_syncer(self, name: str) -> Process:
        self.syncers[name] = Process.start(self.syncer_command(name), cwd=self.directory)
        return self.syncers[name]

    def start(self, names: Sequence[str] = NAMES) -> None:
        """Everything up, SyncTargets ready."""
        for name in names:
            self.start_cluster(name, wait=False)
        self.start_kcp()
        self.kubectl("ws", "create", "hello-world", "--enter")
        for name in names:
            self.clusters[name].wait_for_line("serves")
            self.kubectl("apply", "-f", str(EXAMPLES / f"synctarget-{name}.yaml"))
            self.start_syncer(name)
        for name in names:
            self.wait_target(name, ready=True)

    def stop(self) -> None:
        """Kill whatever still runs."""
        for process in [*self.syncers.values(), *self.clusters.values(), *([self.kcp] if self.kcp else [])]:
            process.kill()

    def wait_target(self, name: str, *, ready: bool, timeout_s: float = 20.0) -> Any:
        wanted = "True" if ready else "False"

        def is_right(target: Any) -> bool:
            return bool(condition(target, "Ready").get("status") == wanted)

        return self.at(WORKSPACE).until("get", "synctarget", name, is_right=is_right, timeout_s=timeout_s)

    def deployments_below(self, name: str) -> list[Any]:
        found: list[Any] = self.below(name).json("get", "deployments", "-A", "--field-selector=metadata.namespace!=kube-system")["items"]
        return found

    def shares(self, deployment: str) -> dict[str, int]:
        """Replicas that each physical cluster is asked to run. Fails if a cluster has more than one copy."""
        found: dict[str, int] = {}
        for name in self.clusters:
            copies = [d for d in self.deployments_below(name) if d["metadata"]["name"] == deployment]
            assert len(copies) <= 1, f"{deployment} is doubled in {name}"
            if copies:
                found[name] = copies[0]["spec"]["replicas"]
        return found

    def wait_deployments(self, wanted: dict[str, int], *, timeout_s: float = 40.0) -> None:
        """Wait until each Deployment is ready upstream and heard of by all clusters, and adds up downstream: no orphan, no double."""

        def look() -> bool:
            faults[:] = self._faults(wanted)
            return not faults

        faults: list[str] = []
        eventually(look, timeout_s=timeout_s, what=lambda: "settled deployments: " + "; ".join(faults[:5]) + "\n" + self.logs())

    def _faults(self, wanted: dict[str, int]) -> list[str]:
        above = {d["metadata"]["name"]: d for d in self.at(WORKSPACE).json("get", "deployments")["items"]}
        if above.keys() != wanted.keys():
            return [f"upstream there are {sorted(above)}"]
        found = [f"{n} is not settled: {above[n].get('status')}" for n, replicas in wanted.items() if not is_settled(above[n], replicas)]
        sums = dict.fromkeys(wanted, 0)
        for cluster in self.clusters:
            copies = [(d["metadata"]["name"], d["spec"]["replicas"]) for d in self.deployments_below(cluster)]
            found += [f"{name} is doubled in {cluster}" for name in wanted if sum(name == n for n, _ in copies) > 1]
            found += [f"{name} is an orphan in {cluster}" for name, _ in copies if name not in wanted]
            for name, replicas in copies:
                sums[name] = sums.get(name, 0) + replicas
        return found + [f"{n} has {sums[n]} of {replicas} replicas downstream" for n, replicas in wanted.items() if sums[n] != replicas]

    def logs(self, lines: int = 15) -> str:
        processes = {"kcp": self.kcp, **{f"syncer {n}": p for n, p in self.syncers.items()}, **self.clusters}
        return "\n".join(f"--- {n}\n" + "\n".join(p.lines[-lines:]) for n, p in processes.items() if p is not None)


def condition(obj: Any, kind: str) -> dict[str, Any]:
    """A condition of an object; {} while it has none."""
    return next((c for c in (obj.get("status") or {}).get("conditions", ()) if c["type"] == kind), {})


def is_settled(deployment: Any, replicas: int) -> bool:
    """Whether the Deployment's status says that this many replicas are ready, seen by every cluster."""
    status = deployment.get("status") or {}
    counted = (status.get("replicas", 0), status.get("readyReplicas", 0)) == (replicas, replicas)
    return counted and condition(deployment, "Synced").get("status") == "True"


def deployment(name: str, replicas: int = 2) -> dict[str, Any]:
    """A Deployment for tests, as JSON for `kubectl apply -f -`."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]}},
        },
    }


def kill_all(*processes: Process | None) -> None:
    """kill -9, at the same moment as nearly as can be."""
    for process in processes:
        if process is not None and process.popen.poll() is None:
            process.popen.kill()
    for process in processes:
        if process is not None:
            process.popen.wait(5)
