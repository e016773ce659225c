"""Bad input with the real programs: every mistake of the issue's list gets an answer that names it and says what to do.

Aspects: workspaces, credentials, malformed bodies, unknown and duplicate fields, schema violations, conflicts, stale writes, Placements
that match nothing, wrong SyncTargets and kubeconfigs for the syncer and `kubectl ws`, ports and directories that are taken, a full disk.
"""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import yaml
from tests.e2e.fleet import WORKSPACE, Fleet, condition, deployment
from tests.e2e.processes import Kubectl, Process, free_port

from kcp.aio.clock import SystemClock
from kcp.apiserver import pki_issue

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One control plane and one cluster; no syncer."""
    made = Fleet(tmp_path_factory.mktemp("input"))
    try:
        made.start_cluster("east", wait=False)
        made.start_kcp()
        made.kubectl("ws", "create", "hello-world", "--enter")
        made.kubectl("apply", "-f", "-", stdin=json.dumps(sync_target("east")))
        made.clusters["east"].wait_for_line("serves")
        yield made
    finally:
        made.stop()


@pytest.fixture
def kubectl(fleet: Fleet) -> Kubectl:
    return fleet.at(WORKSPACE)


def sync_target(name: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"region": name}}
    return {"apiVersion": "workload.kcp.io/v1alpha1", "kind": "SyncTarget", "metadata": metadata, "spec": {}}


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def refused(kubectl: Kubectl, *arguments: str, stdin: object = None) -> str:
    """What kubectl prints when it fails with exit code 1."""
    text = stdin if isinstance(stdin, str) or stdin is None else json.dumps(stdin)
    done = kubectl.run(*arguments, stdin=text, check=False)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return done.stderr


def applied(kubectl: Kubectl, obj: object, *flags: str) -> str:
    """What a refused `kubectl apply` prints."""
    return refused(kubectl, "apply", "-f", "-", *flags, stdin=obj)


# --- workspaces and credentials ---


def test_an_unknown_workspace_is_named_with_what_to_do(fleet: Fleet) -> None:
    told = refused(fleet.kubectl, "ws", "root:nowhere")
    assert told == 'error: workspace "root:nowhere" not found, or access to it denied; `kubectl ws tree` shows what is there\n'
    told = refused(fleet.at("root:nowhere"), "get", "configmaps")
    assert "Error from server (Forbidden)" in told
    assert 'workspace "root:nowhere" not found or not accessible: check the path in the server URL of your kubeconfig' in told
    assert fleet.kubectl("ws", "current", "--short") == WORKSPACE, "a refused move leaves one where one was"


def test_a_wrong_token_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    told = refused(with_user(fleet, tmp_path, {"token": "wrong"}), "get", "configmaps")
    assert "You must be logged in to the server" in told


def test_missing_credentials_are_told_who_one_is(fleet: Fleet) -> None:
    answer = ask(fleet, f"/clusters/{WORKSPACE}/api/v1/namespaces/default/configmaps")
    assert (answer["code"], answer["reason"]) == (403, "Forbidden")
    assert 'User "system:anonymous" cannot list resource "configmaps"' in answer["message"]


def ask(fleet: Fleet, path: str) -> Any:
    """The Status that a client without credentials is answered with; kubectl would ask for a user name first."""
    context = ssl.create_default_context(cafile=str(fleet.directory / ".kcp" / "pki" / "ca.crt"))
    with pytest.raises(HTTPError) as refusal:
        urlopen(f"{fleet.url}{path}", context=context, timeout=10)
    with refusal.value as answer:
        return json.loads(answer.read())


def test_an_expired_client_certificate_is_refused_and_a_valid_one_is_not(fleet: Fleet, tmp_path: Path) -> None:
    now = SystemClock().now()
    expired = pki_issue.client(authority(fleet), "alice", ["system:masters"], now=now - timedelta(days=2), lifetime=timedelta(days=1))
    told = refused(with_user(fleet, tmp_path, certificate(expired)), "get", "configmaps")
    assert "You must be logged in to the server" in told
    assert fleet.kcp is not None
    fleet.kcp.wait_for_line("a client certificate was refused: it expired at ")
    valid = pki_issue.client(authority(fleet), "alice", ["system:masters"], now=now, lifetime=timedelta(days=1))
    assert "kube-root-ca.crt" in with_user(fleet, tmp_path, certificate(valid))("get", "configmaps")


def with_user(fleet: Fleet, directory: Path, user: dict[str, str]) -> Kubectl:
    """kubectl of the workspace with other credentials."""
    document = yaml.safe_load((fleet.directory / ".kcp" / "admin.kubeconfig").read_text())
    document["users"] = [{"name": entry["name"], "user": user} for entry in document["users"]]
    path = directory / "other.kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return Kubectl(path, fleet.directory, ("--server", f"{fleet.url}/clusters/{WORKSPACE}"))


def authority(fleet: Fleet) -> tuple[bytes, bytes]:
    """Certificate and key of the CA for clients."""
    pki = fleet.directory / ".kcp" / "pki"
    return (pki / "client-ca.crt").read_bytes(), (pki / "client-ca.key").read_bytes()


def certificate(issued: pki_issue.Issued) -> dict[str, str]:
    return {
        "client-certificate-data": base64.b64encode(issued.certificate).decode(),
        "client-key-data": base64.b64encode(issued.key).decode(),
    }


# --- bodies ---


def test_malformed_yaml_and_json_are_refused(kubectl: Kubectl, tmp_path: Path) -> None:
    assert "yaml: line 3" in applied(kubectl, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x\ndata: {\n")
    assert "unexpected EOF" in applied(kubectl, '{"apiVersion":"v1","kind":"ConfigMap",')
    broken = tmp_path / "broken.json"
    broken.write_text('{"apiVersion":"v1",')
    told = refused(kubectl, "create", "--raw", f"/clusters/{WORKSPACE}/api/v1/namespaces/default/configmaps", "-f", str(broken))
    assert "couldn't get version/kind; json parse error" in told


def test_an_unknown_kind_is_told_as_such(kubectl: Kubectl) -> None:
    told = applied(kubectl, {"apiVersion": "v1", "kind": "Nonsense", "metadata": {"name": "a"}})
    assert 'no matches for kind "Nonsense" in version "v1"' in told


def test_unknown_fields_are_refused_strictly_and_warned_of_on_request(kubectl: Kubectl) -> None:
    web: dict[str, Any] = deployment("typos")
    web["spec"]["replicass"] = 3
    web["metadata"]["nick"] = "x"
    web["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    fields = ("metadata.nick", "spec.replicass", "spec.template.spec.containers[0].imagee")
    told = applied(kubectl, web)
    assert "strict decoding error" in told
    assert all(f'unknown field "{field}"' in told for field in fields)
    told = applied(kubectl, web, "--server-side")
    assert all(f".{name}: field not declared in schema" in told for name in ("metadata.nick", "spec.replicass"))
    done = kubectl.run("apply", "-f", "-", "--validate=warn", stdin=json.dumps(web))
    assert all(f'Warning: unknown field "{field}"' in done.stderr for field in fields)
    assert "replicass" not in kubectl.json("get", "deployment", "typos")["spec"]


def test_duplicate_fields_are_refused_strictly_and_warned_of_on_request(kubectl: Kubectl, tmp_path: Path) -> None:
    doubled = tmp_path / "doubled.json"
    doubled.write_text('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"doubled"},"data":{"a":"1","a":"2"}}')
    path = f"/clusters/{WORKSPACE}/api/v1/namespaces/default/configmaps"
    told = refused(kubectl, "create", "--raw", f"{path}?fieldValidation=Strict", "-f", str(doubled))
    assert 'strict decoding error: duplicate field "data.a"' in told
    done = kubectl.run("create", "--raw", f"{path}?fieldValidation=Warn", "-f", str(doubled))
    assert 'Warning: duplicate field "data.a"' in done.stderr
    assert kubectl.json("get", "configmap", "doubled")["data"] == {"a": "2"}


# --- schema violations, all at once ---


def test_every_fault_of_a_bound_deployment_is_told_at_once(kubectl: Kubectl) -> None:
    web: dict[str, Any] = deployment("wrong", -3)
    web["spec"]["strategy"] = {"type": "Fast"}
    web["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    container = web["spec"]["template"]["spec"]["containers"][0]
    container.update(image="", imagePullPolicy="Perhaps", ports=[{"containerPort": 99999}])
    told = applied(kubectl, web)
    assert 'The Deployment "wrong" is invalid' in told
    for fault in (
        "* spec.replicas: Invalid value: -3",
        '* spec.strategy.type: Unsupported value: "Fast"',
        "* spec.template.metadata.labels: Invalid value",
        "* spec.template.spec.containers[0].image: Required value",
        '* spec.template.spec.containers[0].imagePullPolicy: Unsupported value: "Perhaps"',
        "* spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 99999",
    ):
        assert fault in told


def test_wrong_types_are_named_with_their_paths(kubectl: Kubectl) -> None:
    web: dict[str, Any] = deployment("types")
    web["spec"]["replicas"] = "three"
    web["spec"]["template"]["spec"]["containers"][0]["image"] = {"a": "b"}
    told = applied(kubectl, web)
    assert "spec.replicas in body must be of type integer" in told
    assert "spec.template.spec.containers[0].image in body must be of type string" in told


def test_every_fault_of_a_custom_object_is_told_at_once(kubectl: Kubectl) -> None:
    properties = {
        "size": {"type": "integer", "minimum": 1},
        "color": {"type": "string", "enum": ["red", "blue"]},
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]+$"}},
    }
    schema = {"type": "object", "properties": {"spec": {"type": "object", "required": ["size"], "properties": properties}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget"}
    spec = {"group": "example.io", "scope": "Namespaced", "names": names, "versions": [version]}
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.io"}}
    kubectl("apply", "-f", "-", stdin=json.dumps({**crd, "spec": spec}))
    kubectl("wait", "crd", "widgets.example.io", "--for=condition=Established", "--timeout=10s")
    widget = {"apiVersion": "example.io/v1", "kind": "Widget", "metadata": {"name": "w"}}
    told = applied(kubectl, {**widget, "spec": {"color": "green", "tags": ["ok", "NO"]}})
    assert "* spec.size: Required value" in told
    assert '* spec.color: Unsupported value: "green": supported values: "red", "blue"' in told
    assert """* spec.tags[1]: Invalid value: "NO": spec.tags[1] in body should match '^[a-z]+$'""" in told


def test_every_fault_of_a_config_map_is_told_at_once(kubectl: Kubectl) -> None:
    wrong = {**config_map("Bad_Name", **{"a/b": "1", "..": "2"})}
    wrong["metadata"]["labels"] = {"-x": "a b"}
    told = applied(kubectl, wrong)
    for field in ("metadata.name", "metadata.labels", "data[..]", "data[a/b]"):
        assert f"* {field}: Invalid value" in told


# --- writes against one another ---


def test_a_conflicting_apply_names_the_other_manager_and_the_fields(kubectl: Kubectl) -> None:
    kubectl("apply", "--server-side", "--field-manager=alice", "-f", "-", stdin=json.dumps(config_map("shared", a="1", b="1")))
    told = applied(kubectl, config_map("shared", a="2", b="1"), "--server-side", "--field-manager=bob")
    assert 'conflict with "alice": .data.a' in told or ('conflicts with "alice"' in told and "- .data.a" in told)
    assert ".data.b" not in told
    assert kubectl.json("get", "configmap", "shared")["data"]["a"] == "1"


def test_a_write_of_a_stale_version_is_refused(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=json.dumps(config_map("stale", a="1")))
    held = kubectl.json("get", "configmap", "stale")
    kubectl("annotate", "configmap", "stale", "x=y")
    held["data"]["a"] = "2"
    told = refused(kubectl, "replace", "-f", "-", stdin=held)
    assert 'Operation cannot be fulfilled on configmaps "stale": the object has been modified' in told
    assert kubectl.json("get", "configmap", "stale")["data"]["a"] == "1"


# --- placements ---


def placement(name: str, **spec: Any) -> dict[str, Any]:
    none: dict[str, Any] = {"matchLabels": {"nobody": "here"}}
    made = {"namespaceSelector": none, **spec}
    return {"apiVersion": "scheduling.kcp.io/v1alpha1", "kind": "Placement", "metadata": {"name": name}, "spec": made}


def test_a_placement_that_matches_nothing_says_why(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=json.dumps(placement("mars", locationSelectors=[{"matchLabels": {"planet": "mars"}}])))
    found = kubectl.until("get", "placement", "mars", is_right=lambda p: bool(condition(p, "Ready")))
    assert condition(found, "Ready")["reason"] == "NoValidTarget"
    decision = found["status"]["decisions"][0]
    assert (decision["syncTarget"], decision["chosen"], decision["reason"]) == ("east", False, "LocationNotMatched")
    described = kubectl("describe", "placement", "mars")
    assert "no locationSelector matches (labels: region=east)" in described
    assert re.search(r"mars +Pending +False +<none> +<none> +NoValidTarget; LocationNotMatched: east", kubectl("get", "placements"))


def test_a_placement_on_targets_of_an_unknown_workspace_says_so(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=json.dumps(placement("venus", locationWorkspace="root:nowhere")))
    found = kubectl.until("get", "placement", "venus", is_right=lambda p: bool(condition(p, "Ready")))
    assert condition(found, "Ready")["reason"] == "LocationNotFound"
    assert 'spec.locationWorkspace "root:nowhere" does not exist' in condition(found, "Ready")["message"]


def test_a_malformed_selector_is_refused_with_its_path(kubectl: Kubectl) -> None:
    told = applied(kubectl, placement("bad", locationSelectors=[{"matchExpressions": [{"key": "region", "operator": "Near"}]}]))
    assert 'spec.locationSelectors[0].matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator' in told


# --- the syncer and the plugin ---


def ended(fleet: Fleet, command: list[str], code: int = 1) -> str:
    """What a program prints that ends by itself."""
    process = Process.start(command, cwd=fleet.directory)
    try:
        found = process.popen.wait(20)
        process.kill()
        assert found == code, process.output
        assert "Traceback" not in process.output
        return process.output
    finally:
        process.kill()


def altered(fleet: Fleet, source: str, name: str, *changes: tuple[str, str]) -> str:
    """A copy of a kubeconfig with regular expressions replaced; its name."""
    text = (fleet.directory / source).read_text()
    for pattern, replacement in changes:
        text = re.sub(pattern, replacement, text)
    (fleet.directory / name).write_text(text)
    return name


def test_a_sync_target_of_another_uid_is_not_served(fleet: Fleet, kubectl: Kubectl) -> None:
    uid = kubectl("get", "synctarget", "east", "-o", "jsonpath={.metadata.uid}")
    told = ended(fleet, fleet.syncer_command("east", sync_target_uid="1234"))
    assert f'SyncTarget "east" has uid {uid}, not 1234' in told
    assert f"start with --sync-target-uid={uid}" in told


def test_an_unknown_sync_target_or_workspace_is_named(fleet: Fleet) -> None:
    told = ended(fleet, fleet.syncer_command("east", sync_target_name="nobody"))
    assert 'SyncTarget "nobody" in workspace "root:hello-world" not found: create it there first' in told
    told = ended(fleet, fleet.syncer_command("east", workspace_cluster="root:nowhere"))
    assert 'workspace "root:nowhere" not found or not accessible' in told


@pytest.mark.parametrize(
    ("flag", "value", "told"),
    [
        ("kcp_kubeconfig", "nowhere.kubeconfig", "kubeconfig nowhere.kubeconfig does not exist"),
        ("cluster_kubeconfig", "nowhere.kubeconfig", "kubeconfig nowhere.kubeconfig does not exist"),
        ("kcp_context", "nobody", 'kubeconfig .kcp/admin.kubeconfig has no context "nobody"; it has: base, root'),
        ("cluster_context", "nobody", 'kubeconfig east.kubeconfig has no context "nobody"; it has: east'),
    ],
)
def test_a_missing_kubeconfig_or_context_is_named(fleet: Fleet, flag: str, value: str, told: str) -> None:
    assert told in ended(fleet, fleet.syncer_command("east", **{flag: value}))


def test_a_control_plane_that_cannot_be_reached_or_trusted_is_named_with_the_file(fleet: Fleet) -> None:
    port = free_port()
    away = altered(fleet, ".kcp/admin.kubeconfig", "away.kubeconfig", (rf":{fleet.kcp_port}\b", f":{port}"))
    foreign = altered(fleet, ".kcp/admin.kubeconfig", "foreign.kubeconfig", (r"(authority-data: )\S+", rf"\g<1>{authority_of(fleet)}"))
    stale = altered(fleet, ".kcp/admin.kubeconfig", "stale.kubeconfig", (r"token: \S+", "token: stale"))
    for name, fault in (
        (away, f"https://127.0.0.1:{port}: connection refused: nothing listens there; start the server, or correct its address"),
        (foreign, "the server's certificate is signed by an unknown authority"),
        (stale, "Unauthorized: the server does not accept the credentials"),
    ):
        told = ended(fleet, fleet.syncer_command("east", kcp_kubeconfig=name))
        assert fault in told
        assert f'context "base" of {name}' in told
        for command in (["tree"], ["create", "never"]):
            done = fleet.kubectl.run("ws", *command, "--kubeconfig", name, check=False)
            assert done.returncode == 1
            assert fault in done.stderr
            assert f"of {name}" in done.stderr
            assert "Traceback" not in done.stderr


def authority_of(fleet: Fleet) -> str:
    """The CA of the physical cluster, which did not sign the control plane's certificate."""
    found = re.search(r"authority-data: (\S+)", (fleet.directory / "east.kubeconfig").read_text())
    assert found is not None
    return found.group(1)


def test_a_cluster_that_does_not_let_the_syncer_in_ends_it_with_the_reason(fleet: Fleet) -> None:
    ca = base64.b64encode((fleet.directory / ".kcp" / "pki" / "ca.crt").read_bytes()).decode()
    foreign = altered(fleet, "east.kubeconfig", "foreign-east.kubeconfig", (r"(authority-data: )\S+", rf"\g<1>{ca}"))
    stale = altered(
        fleet, "east.kubeconfig", "stale-east.kubeconfig", (r"client-certificate-data: \S+\n *client-key-data: \S+", "token: x")
    )
    told = ended(fleet, fleet.syncer_command("east", cluster_kubeconfig=foreign))
    assert f'replace it in context "east" of {foreign}' in told
    told = ended(fleet, fleet.syncer_command("east", cluster_kubeconfig=stale))
    assert f'does not accept the credentials of context "east" of {stale}' in told


def test_a_cluster_that_is_away_makes_its_sync_target_say_so(fleet: Fleet) -> None:
    port = free_port()
    away = altered(fleet, "east.kubeconfig", "away-east.kubeconfig", (rf":{fleet.cluster_ports['east']}\b", f":{port}"))
    process = Process.start(fleet.syncer_command("east", cluster_kubeconfig=away), cwd=fleet.directory)
    try:
        process.wait_for_line(rf"https://127.0.0.1:{port}: connection refused.*context \"east\" of {away}")
        found = fleet.at(WORKSPACE).until(
            "get", "synctarget", "east", is_right=lambda t: condition(t, "Ready").get("reason") == "ClusterUnreachable"
        )
        assert str(port) in condition(found, "Ready")["message"]
        assert process.stop() == 0
    finally:
        process.kill()


def test_the_plugin_names_what_is_missing_in_its_kubeconfig(fleet: Fleet) -> None:
    (fleet.directory / "junk.kubeconfig").write_text("a: [")
    for flags, fault in (
        (["--kubeconfig", "nowhere.kubeconfig"], "no kubeconfig: nowhere.kubeconfig does not exist. Set KUBECONFIG or pass --kubeconfig"),
        (["--kubeconfig", "junk.kubeconfig"], "kubeconfig junk.kubeconfig is not valid YAML"),
        (["--context", "nobody"], 'has no context "nobody"; it has: base, root'),
    ):
        done = fleet.kubectl.run("ws", "tree", *flags, check=False)
        assert done.returncode == 1
        assert fault in done.stderr
        assert "Traceback" not in done.stderr


# --- taken ports and directories ---


def test_a_port_in_use_is_told_with_its_owner(fleet: Fleet) -> None:
    assert fleet.kcp is not None
    told = ended(fleet, ["kcp", "start", "--root-directory=other", f"--secure-port={fleet.kcp_port}"])
    assert f"127.0.0.1:{fleet.kcp_port} is in use by process {fleet.kcp.popen.pid} (kcp)" in told
    assert "choose another port with --secure-port" in told
    assert not (fleet.directory / "other" / "admin.kubeconfig").exists()
    assert fleet.at(WORKSPACE)("get", "synctargets", "-o", "name") == "synctarget.workload.kcp.io/east"


def test_a_root_directory_of_a_running_server_is_left_alone(fleet: Fleet) -> None:
    assert fleet.kcp is not None
    before = (fleet.directory / ".kcp" / "admin.kubeconfig").read_bytes()
    told = ended(fleet, ["kcp", "start", "--root-directory=.kcp", f"--secure-port={free_port()}"])
    assert f"the database .kcp/kcp.db is in use by another running server (pid {fleet.kcp.popen.pid})" in told
    assert (fleet.directory / ".kcp" / "admin.kubeconfig").read_bytes() == before
    assert fleet.at(WORKSPACE)("get", "synctargets", "-o", "name") == "synctarget.workload.kcp.io/east"


def test_all_faults_of_the_flags_are_told_at_once(fleet: Fleet) -> None:
    told = ended(fleet, ["kcp", "start", "--root-directory=east.kubeconfig", "--secure-port=99999", "--token-auth-file=nowhere.csv"])
    assert "--secure-port=99999: must be between 0 and 65535" in told
    assert "--root-directory=east.kubeconfig: exists and is not a directory" in told
    assert "--token-auth-file=nowhere.csv: no such file" in told


@pytest.mark.parametrize(
    ("command", "flag"),
    [(["start", "--secure-port=0"], "--root-directory"), (["sandbox", "--once=hello-world"], "--root-directory"),
     (["sim", "cluster", "north"], "--data-dir"), (["sim", "cluster", "north"], "--kubeconfig-out")],
)  # fmt: skip
def test_a_place_that_cannot_be_written_is_named_with_its_flag(fleet: Fleet, command: list[str], flag: str) -> None:
    told = ended(fleet, ["kcp", *command, f"{flag}=/proc/nowhere/x"])
    assert f"error: cannot use {flag}=/proc/nowhere/x: /proc/nowhere" in told
    assert "No such file or directory; make room or give access there, or choose another place" in told


def test_a_second_simulated_cluster_of_the_same_name_is_refused(fleet: Fleet) -> None:
    before = (fleet.directory / "east.kubeconfig").read_bytes()
    told = ended(fleet, ["kcp", "sim", "cluster", "east"])
    assert f'simulated cluster "east" runs already (process {fleet.clusters["east"].popen.pid}' in told
    assert (fleet.directory / "east.kubeconfig").read_bytes() == before


# --- a full disk ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(path)], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_on_a_full_disk_writes_say_so_reads_go_on_and_room_helps(small_disk: Path) -> None:
    fleet = Fleet(small_disk)
    try:
        fleet.start_kcp()
        kubectl = fleet.at("root")
        kubectl("create", "configmap", "before", "--from-literal=a=1")
        ballast = small_disk / "ballast"
        free = os.statvfs(small_disk)
        with suppress(OSError):  # full before its end where the server wrote meanwhile
            ballast.write_bytes(b"x" * (free.f_bavail * free.f_frsize))
        told = refused(kubectl, "create", "configmap", "full", f"--from-literal=a={'x' * 60_000}")
        assert 'disk (or storage quota) is full: nothing was written to configmaps "full"; free space or raise the quota' in told
        assert kubectl.json("get", "configmap", "before")["data"] == {"a": "1"}
        ballast.unlink()
        kubectl("create", "configmap", "after", "--from-literal=a=2")
        held = {m["metadata"]["name"] for m in kubectl.json("get", "configmaps")["items"]}
        assert {"before", "after"} <= held
        assert fleet.kcp is not None
        fleet.kcp.kill()
        fleet.start_kcp()
        assert {m["metadata"]["name"] for m in kubectl.json("get", "configmaps")["items"]} == held
    finally:
        fleet.stop()
