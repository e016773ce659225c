"""What must stay secret stands in no line of the log, at the highest level, whatever is done with it or goes wrong with it."""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from typing import Any

import pytest

from kcp.aio.clock import SystemClock
from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.gvk import GVR
from kcp.cli.logs import JSONLines, Text
from kcp.client import kubeconfig
from kcp.client.rest import Client, PatchType
from kcp.server.compose import run_server
from kcp.server.options import Options, TMCOptions
from kcp.tmc.model.kinds import SYNC_TARGETS

SECRETS, ACCOUNTS = GVR("", "v1", "secrets"), GVR("", "v1", "serviceaccounts")
VALUE = "hunter2-of-the-test"
TOKEN = "wrong-bearer-of-the-test"


class Said(logging.Handler):
    """Every line, in both forms."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self._forms = JSONLines(), Text("%(levelname).1s %(name)s: %(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += [form.format(record) for form in self._forms]


async def attempt(work: Any) -> Any:
    try:
        return await work
    except StatusError:
        return None


async def handle_secrets(client: Client) -> str:
    """Writes, faults and a token. Returns the token."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": VALUE}}
    secrets = client.resource(SECRETS)
    await secrets.create(secret, namespace="default")
    await secrets.patch("s", {"stringData": {"password": VALUE + "2"}}, namespace="default", type=PatchType.MERGE)
    await attempt(secrets.create({**secret, "metadata": {"name": "NOT VALID"}}, namespace="default"))
    await attempt(secrets.create({**secret, "stringData": {"password": [VALUE]}}, namespace="default"))
    await attempt(secrets.patch("s", [{"op": "test", "path": "/data/password", "value": VALUE}], namespace="default", type=PatchType.JSON))
    broken = base64.b64encode(f"users: [{{name: u, user: {{token: {VALUE}}}}}]\ncurrent-context: x".encode()).decode()
    await secrets.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "far"}, "data": {"kubeconfig": broken}}, namespace="default"
    )
    spec = {"workloadCluster": {"name": "far", "credentials": {"secretRef": {"name": "far", "namespace": "default"}}}}
    target = {"apiVersion": SYNC_TARGETS.api_version, "kind": "SyncTarget", "metadata": {"name": "far"}, "spec": spec}
    await client.resource(SYNC_TARGETS).create(target)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    made = await client.resource(ACCOUNTS).create(request, namespace="default", name="default", subresource="token")
    return str(made["status"]["token"])


async def test_secrets_stand_in_no_line_of_the_log(tmp_path: Path) -> None:
    said, root = Said(), logging.getLogger()
    level = root.level
    root.addHandler(said)
    root.setLevel(logging.DEBUG)
    try:
        options = Options(root_directory=tmp_path, in_memory=True, secure_port=0, tmc=TMCOptions(enabled=True))
        async with run_server(options, clock=SystemClock()) as server:
            entry = kubeconfig.load(options.admin_kubeconfig, "base")
            async with entry.connect() as admin:
                token = await handle_secrets(admin.cluster("root"))
                for bearer in (TOKEN, token[:-5] + "aaaaa"):
                    with pytest.raises(StatusError):
                        await admin.raw("GET", "/clusters/root/api/v1/secrets", headers={"authorization": f"Bearer {bearer}"})
                await admin.raw("GET", "/version", query={"token": TOKEN})
            secrets = [VALUE, base64.b64encode(VALUE.encode()).decode()[:-4], TOKEN, token, token.rpartition(".")[2], token[:-5],
                       server.admin.kcp_admin_token, server.admin.shard_admin_token, "PRIVATE KEY"]  # fmt: skip
    finally:
        root.removeHandler(said)
        root.setLevel(level)
    assert any("bearer token was refused" in line for line in said.lines), "the log was listened to"
    assert [line for line in said.lines for secret in secrets if secret in line] == []
