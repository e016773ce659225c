"""`kcp start` with an audit policy, a log and a webhook, and kubectl as the user."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.fleet import Fleet
from tests.e2e.processes import eventually

pytestmark = pytest.mark.e2e

POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "users": ["system:apiserver"]},
        {"level": "Metadata", "resources": [{"resources": ["secrets"]}]},
        {"level": "RequestResponse", "resources": [{"resources": ["configmaps"]}], "omitManagedFields": True},
        {"level": "None"},
    ],
}


class Receiver:
    """A server that keeps the events posted to it."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        kept = self.events

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                kept.extend(json.loads(self.rfile.read(int(self.headers["content-length"])))["items"])
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the method overridden
                """Not among the test's output."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)

    def kubeconfig(self) -> dict[str, Any]:
        cluster = {"name": "it", "cluster": {"server": f"http://127.0.0.1:{self.server.server_port}/audit"}}
        context = {"name": "it", "context": {"cluster": "it", "user": ""}}
        return {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context], "users": [], "current-context": "it"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    made.thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.thread.join()
        made.server.server_close()


@pytest.fixture
def fleet(tmp_path: Path, receiver: Receiver) -> Iterator[Fleet]:
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (tmp_path / "webhook.yaml").write_text(yaml.safe_dump(receiver.kubeconfig()))
    flags = (
        "--audit-policy-file=policy.yaml", "--audit-log-path=logs/audit.log", "--audit-log-maxage=7", "--audit-log-compress",
        "--audit-webhook-config-file=webhook.yaml", "--audit-webhook-batch-max-wait=100ms",
    )  # fmt: skip
    made = Fleet(tmp_path, kcp_flags=flags)
    try:
        made.start_kcp()
        yield made
    finally:
        made.stop()


def test_what_kubectl_does_is_in_the_log_and_at_the_webhook(fleet: Fleet, receiver: Receiver) -> None:
    kubectl = fleet.at("root")
    kubectl("create", "configmap", "settings", "-n", "default", "--from-literal=k=v")
    kubectl("create", "secret", "generic", "password", "-n", "default", "--from-literal=k=hidden")
    kubectl("get", "namespaces")
    log = fleet.directory / "logs" / "audit.log"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    created = {event["objectRef"]["resource"]: event for event in events if event["verb"] == "create"}
    assert set(created) == {"configmaps", "secrets"}
    written = created["configmaps"]
    assert (written["user"]["username"], written["sourceIPs"]) == ("kcp-admin", ["127.0.0.1"])
    assert written["requestURI"].startswith("/clusters/root/api/v1/namespaces/default/configmaps?")
    assert written["userAgent"].startswith("kubectl/")
    assert written["requestObject"]["data"] == written["responseObject"]["data"] == {"k": "v"}
    assert "managedFields" not in written["responseObject"]["metadata"]
    assert (written["annotations"]["kcp.io/path"], written["annotations"]["authorization.k8s.io/decision"]) == ("root", "allow")
    assert created["secrets"]["objectRef"]["name"] == "password"
    assert "hidden" not in log.read_text()
    assert not [event for event in events if event["stage"] == "RequestReceived"]
    ids = {event["auditID"] for event in events}
    eventually(lambda: ids <= {event["auditID"] for event in receiver.events}, timeout_s=10.0, what=lambda: "events at the webhook")


def test_a_policy_that_is_wrong_is_told_with_its_faults(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump({**POLICY, "rules": [{"level": "Everything"}]}))
    made = Fleet(tmp_path, kcp_flags=("--audit-policy-file=policy.yaml", "--audit-log-path=-"))
    try:
        with pytest.raises(AssertionError, match="Unsupported value: .*Everything"):
            made.start_kcp()
    finally:
        made.stop()
