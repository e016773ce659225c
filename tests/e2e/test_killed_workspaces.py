"""A real server killed with -9 while workspaces and bindings are made and deleted: the next one finishes what was acknowledged.

Every step of that is crashed in `tests/behaviour/exports/test_kills.py`; here a process, a disk and kubectl are real.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.fleet import Fleet, kill_all

pytestmark = pytest.mark.e2e

NAMES = [f"team-{n}" for n in range(6)]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path, kcp_flags=())
    try:
        made.start_kcp()
        yield made
    finally:
        made.stop()


def test_creation_binding_and_deletion_survive_kills(fleet: Fleet) -> None:
    publish(fleet)
    crash_during(fleet, "create", objects=[workspace(name) for name in NAMES])
    fleet.at("root")("apply", "-f", "-", stdin=lines(workspace(name) for name in NAMES))
    for name in NAMES:
        fleet.at("root").until("get", "workspace", name, is_right=lambda w: w.get("status", {}).get("phase") == "Ready")
        assert "default" in fleet.at(f"root:{name}")("get", "namespaces", "-o", "name")

    for name in NAMES[:3]:
        crash_during(fleet, "create", objects=[binding()], at=f"root:{name}")
    for name in NAMES:
        fleet.at(f"root:{name}")("apply", "-f", "-", stdin=lines([binding()]))
        fleet.at(f"root:{name}")("wait", "apibinding/widgets", "--for=jsonpath={.status.phase}=Bound", "--timeout=20s")
        fleet.at(f"root:{name}")("create", "-f", "-", stdin=lines([widget()]))

    crash_during(fleet, "delete", objects=[binding()], at=f"root:{NAMES[0]}")
    fleet.at(f"root:{NAMES[0]}")("delete", "apibinding", "widgets", "--ignore-not-found", "--timeout=20s")
    crash_during(fleet, "delete", objects=[workspace(name) for name in NAMES])
    fleet.at("root")("delete", "workspace", *NAMES, "--ignore-not-found", "--timeout=40s")
    assert fleet.at("root")("get", "workspaces", "-o", "name") == "workspace.tenancy.kcp.io/provider"


def crash_during(fleet: Fleet, verb: str, *, objects: list[Any], at: str = "root") -> None:
    """Begin something, kill the server in the middle, and start it again."""
    kubectl = fleet.at(at)
    command = ["kubectl", *kubectl.flags, verb, "-f", "-", *(["--wait=false"] if verb == "delete" else [])]
    doing = subprocess.Popen(
        command, cwd=fleet.directory, env=kubectl.environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with doing:
        assert doing.stdin is not None
        assert doing.stdout is not None
        doing.stdin.write(lines(objects))
        doing.stdin.close()
        doing.stdout.readline()  # the first answer: what it asked for goes on behind it
        time.sleep(0.01)
        kill_all(fleet.kcp)
    fleet.start_kcp()


def publish(fleet: Fleet) -> None:
    fleet.at("root")("create", "-f", "-", stdin=lines([workspace("provider")]))
    fleet.at("root").until("get", "workspace", "provider", is_right=lambda w: w.get("status", {}).get("phase") == "Ready")
    version = {"name": "v1", "served": True, "storage": True, "schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    names = {"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"}
    schema = {
        "apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIResourceSchema", "metadata": {"name": "v1.widgets.example.com"},
        "spec": {"group": "example.com", "names": names, "scope": "Cluster", "versions": [version]},
    }  # fmt: skip
    resources = [{"group": "example.com", "name": "widgets", "schema": "v1.widgets.example.com"}]
    export = {"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIExport", "metadata": {"name": "widgets"}, "spec": {"resources": resources}}
    fleet.at("root:provider")("create", "-f", "-", stdin=lines([schema, export]))


def workspace(name: str) -> dict[str, Any]:
    spec = {"type": {"name": "universal", "path": "root"}}
    return {"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}, "spec": spec}


def binding() -> dict[str, Any]:
    spec = {"reference": {"export": {"path": "root:provider", "name": "widgets"}}}
    return {"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIBinding", "metadata": {"name": "widgets"}, "spec": spec}


def widget() -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "held"}}


def lines(objects: Any) -> str:
    return "\n".join(json.dumps(obj) for obj in objects)
