"""Schema-driven requests from outside: what schemathesis makes out of our OpenAPI, sent over TLS to a workspace and to a simulated cluster.

Every answer is below 500, every refusal a `metav1.Status`. A thin slice of the operations; `make fuzz` takes all of
them, with as many examples as SCHEMATHESIS_EXAMPLES says, from SCHEMATHESIS_SEED on.
"""

from __future__ import annotations

import base64
import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.fleet import Fleet
from tests.e2e.processes import Kubectl

pytestmark = pytest.mark.e2e

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its dependencies, while they are loaded
    from schemathesis.core.errors import SerializationNotPossible
    from tests.fuzz.openapi import cases

HONEST_FAILURES = (501, 503, 504)
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "0"))
"""Of each operation, valid and invalid; 0: one of some operations."""
SEED = int(os.environ.get("SCHEMATHESIS_SEED", "36"))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("schemathesis"))
    try:
        made.start_cluster("east", wait=False)
        made.start_kcp()
        made.clusters["east"].wait_for_line("serves")
        yield made
        for process in (made.kcp, *made.clusters.values()):
            assert process is not None
            assert "Traceback" not in process.output
    finally:
        made.stop()


def files(kubeconfig: Path, directory: Path) -> dict[str, Any]:
    """What `requests` needs to be who the kubeconfig says."""
    held = yaml.safe_load(kubeconfig.read_text())
    (directory / "ca.crt").write_bytes(base64.b64decode(held["clusters"][0]["cluster"]["certificate-authority-data"]))
    user, found = held["users"][0]["user"], {"verify": str(directory / "ca.crt")}
    if "token" in user:
        return {**found, "headers": {"Authorization": f"Bearer {user['token']}"}}
    for kind in ("certificate", "key"):
        (directory / f"client.{kind}").write_bytes(base64.b64decode(user[f"client-{kind}-data"]))
    return {**found, "cert": (str(directory / "client.certificate"), str(directory / "client.key"))}


def answers(document: dict[str, Any], url: str, access: dict[str, Any], every: int) -> Counter[int]:
    found: Counter[int] = Counter()
    for case in cases(document, every=1 if EXAMPLES else every, examples=EXAMPLES or 1, start=SEED):
        try:
            answer = case.call(base_url=url, timeout=10, **access)
        except SerializationNotPossible:  # protobuf is none of its languages
            continue
        about = f"{case.method} {case.formatted_path} {case.query} {str(case.body)[:2000]}: {answer.status_code} {answer.text[:2000]}"
        assert answer.status_code < 500 or answer.status_code in HONEST_FAILURES, about
        if answer.status_code >= 400 and answer.headers["content-type"] == "application/json" and answer.content:
            status = json.loads(answer.text)
            assert (status["kind"], status["code"]) == ("Status", answer.status_code), about
            assert status["reason"], about
        found[answer.status_code] += 1
    return found


def document(kubectl: Kubectl, path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("get", "--raw", path))
    return found


@pytest.mark.parametrize(
    ("path", "every"),
    [("openapi/v3/apis/rbac.authorization.k8s.io/v1", 3), ("openapi/v3/apis/tenancy.kcp.io/v1alpha1", 2), ("openapi/v3/api/v1", 8), ("openapi/v2", 40)],
)  # fmt: skip
def test_a_workspace_refuses_what_openapi_does_not_allow(fleet: Fleet, tmp_path: Path, path: str, every: int) -> None:
    url = f"{fleet.url}/clusters/root"
    access = files(fleet.directory / ".kcp" / "admin.kubeconfig", tmp_path)
    found = answers(document(fleet.at("root"), f"/clusters/root/{path}"), url, access, every)
    assert found.total() > 10


@pytest.mark.parametrize(("path", "every"), [("openapi/v3/apis/autoscaling/v2", 2), ("openapi/v3/apis/networking.k8s.io/v1", 8)])
def test_a_simulated_cluster_refuses_what_openapi_does_not_allow(fleet: Fleet, tmp_path: Path, path: str, every: int) -> None:
    url = f"https://127.0.0.1:{fleet.cluster_ports['east']}"
    access = files(fleet.directory / "east.kubeconfig", tmp_path)
    assert answers(document(fleet.below("east"), f"/{path}"), url, access, every).total() > 10
