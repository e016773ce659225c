"""The plugins as a user has them: by real kubectl, on a server of its own. One server for all; each test leaves its workspace where it was."""

from __future__ import annotations

import os
import select
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.e2e.fleet import Fleet
from tests.e2e.processes import Kubectl

pytestmark = pytest.mark.e2e

ORG = "quickstart-org"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("plugins"), kcp_flags=("--in-memory", "--enable-tmc"))
    try:
        made.start_kcp()
        yield made
    finally:
        made.stop()


@pytest.fixture
def kubectl(fleet: Fleet, tmp_path: Path) -> Kubectl:
    """In root, with a kubeconfig of its own to move about in."""
    config = tmp_path / "kubeconfig"
    config.write_bytes(fleet.at("root").kubeconfig.read_bytes())
    found = Kubectl(config, tmp_path)
    found("ws", ":root")
    return found


def completed(kubectl: Kubectl, *words: str) -> list[str]:
    """What kubectl's own completion offers; its last line is a directive to the shell."""
    *offered, directive = kubectl("__complete", *words).splitlines()
    assert directive in (":0", ":4")
    return [line.partition("\t")[0] for line in offered]


def test_quickstart_makes_a_demo_that_works_and_takes_it_away_again(kubectl: Kubectl) -> None:
    said = kubectl("kcp", "quickstart", "--with-samples", "--enter")
    assert "[1/7] Creating organization workspace" in said
    assert said.endswith(f'Current workspace is "root:{ORG}:quickstart-consumer" (type root:universal).')
    assert "john-wayne" in kubectl("get", "cowboys")
    assert kubectl("ws", ".") == f'Current workspace is "root:{ORG}:quickstart-consumer".'
    assert kubectl("kcp", "diagnose", ".").startswith(f"workspace root:{ORG}:quickstart-consumer is in order.")
    assert kubectl("kcp", "diagnose", "apibinding/cowboys") == "apibinding cowboys is in order."
    kubectl("ws", ":root")
    assert kubectl("kcp", "quickstart", "--cleanup").endswith("Cleanup complete.")
    assert ORG not in kubectl("ws", "tree")


def test_the_scenario_workspaces_draws_as_a_tree_with_columns(kubectl: Kubectl) -> None:
    words = ("--scenario", "workspaces", "--tree-count", "3", "--tree-depth", "1", "--name-prefix", "t")
    assert "Progress: 3/3 workspaces created" in kubectl("kcp", "quickstart", *words)
    tree = kubectl("ws", "tree", "-w", "t-org")
    assert tree == ".\n└── t-org\n    ├── t-ws-1\n    ├── t-ws-2\n    └── t-ws-3"
    heading, _, *rows = kubectl("ws", "tree", "--wide", "-w", "t-org").splitlines()
    assert heading.split() == [".", "TYPE", "PHASE", "CLUSTER"]
    assert {row.index("root:universal") for row in rows} == {heading.index("TYPE")}
    assert all("Ready" in row for row in rows)
    assert kubectl("ws", "tree", "--full", "-w", "t-org").splitlines()[-1].endswith("root:t-org:t-ws-3")
    kubectl("kcp", "quickstart", "--cleanup", "--name-prefix", "t")


def test_the_interactive_tree_says_what_it_needs_where_there_is_no_terminal(kubectl: Kubectl) -> None:
    done = kubectl.run("ws", "tree", "-i", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: -i needs a terminal; `kubectl ws tree` prints the tree")


def test_in_a_terminal_the_arrow_keys_choose_a_workspace_to_enter(kubectl: Kubectl) -> None:
    kubectl("ws", "create", "aaa")
    terminal, inner = os.openpty()
    termios.tcsetwinsize(inner, (24, 100))
    process = subprocess.Popen(["kubectl", "ws", "-i"], env=kubectl.environment, stdin=inner, stdout=inner, stderr=inner)
    os.close(inner)
    shown = _read_until(terminal, b"Enter go there")
    assert "▾ root".encode() in shown
    os.write(terminal, b"\x1b[B\r")
    entered = _read_until(terminal, b"(type root:organization).")
    assert b'Current workspace is "root:aaa"' in entered
    assert process.wait(20) == 0
    os.close(terminal)
    assert kubectl("ws", "current", "--short") == "root:aaa"


def _read_until(terminal: int, wanted: bytes) -> bytes:
    shown = b""
    while wanted not in shown:
        assert select.select([terminal], [], [], 20)[0], shown.decode(errors="replace")
        shown += os.read(terminal, 4096)
    return shown


def test_diagnose_ends_with_1_for_what_is_wrong_and_2_for_what_it_cannot_see(kubectl: Kubectl) -> None:
    binding = (
        '{"apiVersion":"apis.kcp.io/v1alpha2","kind":"APIBinding","metadata":{"name":"nothing"},'
        '"spec":{"reference":{"export":{"path":"root","name":"nothing"}}}}'
    )
    kubectl("ws", "create", "broken", "--enter")
    kubectl("create", "-f", "-", stdin=binding)
    done = kubectl.run("kcp", "diagnose", "apibinding", "nothing", check=False)
    assert (done.returncode, 'There is no APIExport "nothing" in workspace root.' in done.stdout) == (1, True)
    done = kubectl.run("kcp", "diagnose", "workspace", "missing", check=False)
    assert done.returncode == 2
    assert "`kubectl get workspaces` shows what is there" in done.stderr
    done = kubectl.run("kcp", "diagnose", "deployment", "web", check=False)
    assert done.returncode == 2


def test_binding_what_is_bound_already_fails_at_once_and_says_with_what(kubectl: Kubectl) -> None:
    kubectl("kcp", "quickstart", "--name-prefix", "twice", "--enter")
    export = "root:twice-org:twice-provider:cowboys"
    done = kubectl.run("kcp", "bind", "apiexport", export, "--name", "again", "--timeout", "80s", check=False)
    assert done.returncode == 1
    assert "could not bind again: it is not bound:\n" in done.stderr
    assert 'naming conflict with APIBinding "cowboys"' in done.stderr
    assert "`kubectl kcp diagnose apibinding again` says what to do; `kubectl delete apibinding again` gives up." in done.stderr


def test_kubectl_completes_the_plugins_lines(kubectl: Kubectl) -> None:
    kubectl("ws", "create", "shown")
    assert {"use", "create", "tree", "delete", "..", "-", "~", ":root", "shown"} <= set(completed(kubectl, "ws", ""))
    assert completed(kubectl, "ws", ":root:sho") == [":root:shown"]
    assert {"bind", "claims", "diagnose", "quickstart", "workload"} <= set(completed(kubectl, "kcp", ""))
    assert completed(kubectl, "kcp", "quickstart", "--sc") == ["--scenario"]
    assert completed(kubectl, "kcp", "quickstart", "--scenario", "") == ["api-provider", "workspaces"]
    assert {"workspace/", "apibinding/", "deployment/", "synctarget/"} <= set(completed(kubectl, "kcp", "diagnose", ""))
    assert "workspace/shown" in completed(kubectl, "kcp", "diagnose", "workspace/")
    assert completed(kubectl, "ws", "create", "x", "--type", "root:o") == ["root:organization"]
    assert completed(kubectl, "kcp", "bind", "apiexport", "root:tenancy") == ["root:tenancy.kcp.io"]


def test_a_shell_completes_the_plugins_by_the_script_they_print(kubectl: Kubectl) -> None:
    kubectl("ws", "create", "seen")
    assert "complete -F _kcp_create-workspace kubectl-create-workspace" in kubectl("kcp", "completion", "bash")
    line = """
        source <(kubectl kcp completion bash)
        COMP_WORDS=(kubectl-ws se) COMP_CWORD=1
        _kcp_ws
        echo "${COMPREPLY[@]}"
        COMP_WORDS=(kubectl-create-workspace x --type root:org) COMP_CWORD=3
        _kcp_create-workspace
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "-c", line], env=kubectl.environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["seen", "root:organization"]


CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
"""
EXPORT = """
apiVersion: apis.kcp.io/v1alpha2
kind: APIExport
metadata: {name: widgets}
spec:
  resources: [{group: example.com, name: widgets, schema: v1.widgets.example.com, storage: {crd: {}}}]
  permissionClaims: [{group: "", resource: configmaps, verbs: [get, list]}, {group: "", resource: secrets, verbs: ["*"]}]
"""


def claims(kubectl: Kubectl) -> list[list[str]]:
    return [line.split() for line in kubectl("kcp", "claims", "get", "apibinding", "widgets").splitlines()]


def test_an_api_is_made_of_a_crd_bound_and_its_claims_are_answered(kubectl: Kubectl) -> None:
    kubectl("ws", "create", "provider", "--enter")
    kubectl("apply", "-f", "-", stdin=kubectl("kcp", "crd", "snapshot", "-f", "-", "--prefix", "v1", stdin=CRD))
    kubectl("apply", "-f", "-", stdin=EXPORT)
    assert kubectl("create", "workspace", "consumer", "--type", "root:universal", "-w", ":root", "--enter").endswith(
        'Current workspace is "root:consumer" (type root:universal).'
    )
    answers = ("--accept-permission-claim", "configmaps.core", "--reject-permission-claim", "secrets.core")
    said = kubectl("kcp", "bind", "apiexport", "root:provider:widgets", *answers)
    assert said == "apibinding widgets created. Waiting to successfully bind ...\nwidgets created and bound."
    assert kubectl("get", "widgets") == ""
    head = ["APIBINDING", "GROUP-RESOURCE", "VERBS", "STATUS"]
    assert claims(kubectl) == [head, ["widgets", "configmaps", "get,list", "Accepted"], ["widgets", "secrets", "*", "Rejected"]]
    said = kubectl("kcp", "claims", "accept", "apibinding", "widgets", "--resource", "secrets.core")
    assert said == 'Accepted permission claim "secrets.core" for APIBinding "widgets"'
    assert claims(kubectl)[2][-1] == "Accepted"
    kubectl("kcp", "claims", "reject", "apibinding", "widgets", "--all")
    assert {line[-1] for line in claims(kubectl)[1:]} == {"Rejected"}
    done = kubectl.run("kcp", "claims", "accept", "apibinding", "widgets", "--resource", "nope.core", check=False)
    assert done.stderr == 'error: no permission claim "nope.core" in APIBinding "widgets"; its claims: configmaps.core, secrets.core\n'


def test_one_moves_about_as_in_directories(kubectl: Kubectl) -> None:
    assert kubectl("ws", "create", "up", "--enter").splitlines() == [
        'Workspace "up" (type root:organization) created. Waiting for it to be ready...',
        'Workspace "up" (type root:organization) is ready to use.',
        'Current workspace is "root:up" (type root:organization).',
    ]
    kubectl("ws", "create", "down")
    assert (
        kubectl("ws", "create", "down", "--ignore-existing")
        .splitlines()[0]
        .startswith('Workspace "down" (type root:universal) already exists')
    )
    for argument, path in (("down", "root:up:down"), ("..", "root:up"), ("-", "root:up:down"), (":", "root"), ("up:down", "root:up:down")):
        assert f'Current workspace is "{path}"' in kubectl("ws", argument)
    assert 'Current workspace is "user:kcp-admin" (type root:home).' in kubectl("workspaces", "~")
    assert "has no parent" in kubectl.run("ws", "..", check=False).stderr
    assert 'Current workspace is "root:up:down"' in kubectl("kcp", "workspace", "use", "-")
    assert kubectl("ws", "create-context", "mine") == 'Created context "mine" and switched to it.'
    assert kubectl("config", "current-context") == "mine"
    kubectl("ws", "root:up")
    assert kubectl("ws", "delete", "down") == 'Workspace "down" deleted.'
    assert "not found, or access to it denied; `kubectl ws tree` shows what is there" in kubectl.run("ws", "down", check=False).stderr


def test_sync_targets_are_connected_cordoned_and_drained(kubectl: Kubectl) -> None:
    kubectl("ws", "create", "clusters", "--enter")
    said = kubectl.run("kcp", "workload", "sync", "east", "--syncer-image", "example.com/syncer:1", "-o", "east.yaml").stderr
    assert said.startswith('Creating synctarget "east"\nCreating service account "kcp-syncer-east-')
    assert 'KUBECONFIG=<pcluster-config> kubectl apply -f "east.yaml"' in said
    kinds = {document["kind"] for document in yaml.safe_load_all((kubectl.cwd / "east.yaml").read_text())}
    assert {"Namespace", "ServiceAccount", "ClusterRole", "Secret", "Deployment"} <= kinds
    assert kubectl("kcp", "workload", "cordon", "east") == "east cordoned"
    assert kubectl("kcp", "workload", "cordon", "east") == "east already cordoned"
    assert kubectl("kcp", "workload", "uncordon", "east") == "east uncordoned"
    assert kubectl("kcp", "workload", "drain", "east") == "east draining"
    assert "It is drained: nothing new is placed there." in kubectl.run("kcp", "diagnose", "synctarget", "east", check=False).stdout
    done = kubectl.run("kcp", "bind", "compute", "root:clusters", "--timeout", "1s", check=False)
    assert done.stdout.startswith("placement placement-")
    assert "`kubectl kcp diagnose placement placement-" in done.stderr
