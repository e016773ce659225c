"""The two kinds of server that strangers' clients meet: a workspace of a control plane, and a simulated cluster. Real processes, TLS."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.processes import Kubectl, Process, eventually, free_port

WORKLOAD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web, tier: front}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx:1.25
        resources: {requests: {cpu: 100m, memory: 64Mi}}
        ports: [{containerPort: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web}}
data: {color: blue}
---
apiVersion: v1
kind: Secret
metadata: {name: token, labels: {app: web}}
data: {password: czNjcmV0}
"""


@dataclass(frozen=True)
class Server:
    """One running server and how to reach it."""

    directory: Path
    kubeconfig: Path
    process: Process

    def kubectl(self, namespace: str = "") -> Kubectl:
        return Kubectl(self.kubeconfig, self.directory, ("--namespace", namespace) if namespace else ())

    def namespace(self, name: str) -> Kubectl:
        """kubectl in a namespace made for the purpose."""
        self.kubectl()("create", "namespace", name)
        kubectl = self.kubectl(name)
        kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=10s")
        return kubectl

    def credentials(self) -> dict[str, Any]:
        """Address, CA and either a token or a client certificate of the current context, the last two as files."""
        config = json.loads(self.kubectl()("config", "view", "--raw", "--minify", "-o", "json"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        found: dict[str, Any] = {"server": cluster["server"], "token": user.get("token", "")}
        for part, held in (("ca", cluster.get("certificate-authority-data")), ("cert", user.get("client-certificate-data")),
                           ("key", user.get("client-key-data"))):  # fmt: skip
            path = self.directory / f"client-{part}.pem"
            if held:
                path.write_bytes(base64.b64decode(held))
                found[part] = str(path)
        return found


@contextmanager
def simulated_cluster(directory: Path) -> Iterator[Server]:
    kubeconfig = directory / "east.kubeconfig"
    process = Process.start(
        ["kcp", "sim", "cluster", "east", "--port", str(free_port()), "--nodes", "3", "--kubeconfig-out", str(kubeconfig)], cwd=directory
    )
    try:
        eventually(kubeconfig.exists, timeout_s=20, what=lambda: process.output, alive=process)
        process.wait_for_line("Ctrl-C")
        yield Server(directory, kubeconfig, process)
    finally:
        process.kill()


@contextmanager
def control_plane(directory: Path) -> Iterator[Server]:
    """A control plane whose kubeconfig points at the workspace root:compat."""
    process = Process.start(["kcp", "start", "--root-directory=.kcp", f"--secure-port={free_port()}"], cwd=directory)
    try:
        process.wait_for_line("kcp is ready")
        server = Server(directory, directory / ".kcp" / "admin.kubeconfig", process)
        server.kubectl()("ws", "create", "compat", "--enter")
        yield server
    finally:
        process.kill()
