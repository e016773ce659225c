"""kubectl writes to a simulated cluster: apply in all forms, diff, create, replace, edit, patch, label, annotate, delete.

What is expected is what kubernetes.io/docs/reference/kubectl documents and a cluster of kubeadm answers.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.compat.servers import WORKLOAD
from tests.e2e.processes import Kubectl, eventually

pytestmark = pytest.mark.e2e

CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: one, labels: {app: one}}
data: {color: blue}
"""
RED = CONFIG_MAP.replace("blue", "red")
LAST_APPLIED = r"jsonpath={.metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration}"


# --- apply


def test_apply_creates_then_leaves_then_configures(kubectl: Kubectl) -> None:
    made = kubectl("apply", "-f", "-", stdin=WORKLOAD).splitlines()
    assert made == ["deployment.apps/web created", "service/web created", "configmap/settings created", "secret/token created"]
    again = kubectl("apply", "-f", "-", stdin=WORKLOAD).splitlines()
    assert again == ["deployment.apps/web unchanged", "service/web unchanged", "configmap/settings unchanged", "secret/token unchanged"]
    changed = kubectl("apply", "-f", "-", stdin=WORKLOAD.replace("nginx:1.25", "nginx:1.26")).splitlines()
    assert changed[0] == "deployment.apps/web configured"
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[*].image}") == "nginx:1.26"


def test_apply_removes_what_is_no_longer_in_the_file(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WORKLOAD)
    with_env = WORKLOAD.replace("image: nginx:1.25", "image: nginx:1.25\n        env: [{name: A, value: b}, {name: C, value: d}]")
    kubectl("apply", "-f", "-", stdin=with_env)
    kubectl("set", "env", "deployment/web", "MINE=x")
    kubectl("apply", "-f", "-", stdin=with_env.replace(", {name: C, value: d}", ""))
    names = kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env[*].name}").split()
    assert sorted(names) == ["A", "MINE"]


def test_apply_dry_run_changes_nothing(kubectl: Kubectl) -> None:
    assert kubectl("apply", "-f", "-", "--dry-run=client", stdin=CONFIG_MAP) == "configmap/one created (dry run)"
    assert kubectl("apply", "-f", "-", "--dry-run=server", stdin=CONFIG_MAP) == "configmap/one created (server dry run)"
    assert kubectl.run("get", "cm", "one", check=False).returncode == 1
    kubectl("apply", "-f", "-", stdin=CONFIG_MAP)
    assert kubectl("apply", "-f", "-", "--dry-run=server", stdin=RED) == "configmap/one configured (server dry run)"
    shown = yaml.safe_load(kubectl("apply", "-f", "-", "--dry-run=server", "-o", "yaml", stdin=RED))
    assert shown["data"] == {"color": "red"}
    assert kubectl("get", "cm", "one", "-o", "jsonpath={.data.color}") == "blue"


def test_server_side_apply_owns_and_refuses(kubectl: Kubectl) -> None:
    assert kubectl("apply", "--server-side", "-f", "-", stdin=CONFIG_MAP) == "configmap/one serverside-applied"
    assert kubectl("apply", "--server-side", "-f", "-", "--field-manager=other", stdin=CONFIG_MAP) == "configmap/one serverside-applied"
    refused = kubectl.run("apply", "--server-side", "-f", "-", "--field-manager=third", stdin=RED, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        'error: Apply failed with 2 conflicts: conflicts with "kubectl":\n- .data.color\nconflicts with "other":'
    )
    assert "--force-conflicts" in refused.stderr
    kubectl("apply", "--server-side", "-f", "-", "--field-manager=third", "--force-conflicts", stdin=RED)
    held = kubectl.json("get", "cm", "one", "--show-managed-fields")
    owners = {m["manager"] for m in held["metadata"]["managedFields"] if "f:data" in m["fieldsV1"]}
    assert (held["data"], owners) == ({"color": "red"}, {"third"})


def test_from_client_side_to_server_side_apply_and_back(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=CONFIG_MAP)
    kubectl("apply", "--server-side", "-f", "-", stdin=RED)
    held = kubectl.json("get", "cm", "one", "--show-managed-fields")
    assert held["data"] == {"color": "red"}
    assert {m["manager"] for m in held["metadata"]["managedFields"]} == {"kubectl", "kubectl-last-applied"}
    assert '"color":"red"' in kubectl("get", "cm", "one", "-o", LAST_APPLIED)
    assert kubectl("apply", "-f", "-", stdin=CONFIG_MAP) == "configmap/one configured"
    assert kubectl("get", "cm", "one", "-o", "jsonpath={.data.color}") == "blue"


def test_apply_prunes_by_selector(kubectl: Kubectl) -> None:
    other = CONFIG_MAP.replace("one", "two").replace("app: two", "app: one")
    kubectl("apply", "-f", "-", stdin=CONFIG_MAP + "---" + other)
    flags = ("--prune", "-l", "app=one", "--prune-allowlist=core/v1/ConfigMap")
    assert kubectl("apply", "-f", "-", *flags, stdin=CONFIG_MAP).splitlines() == ["configmap/one unchanged", "configmap/two pruned"]
    assert kubectl("get", "cm", "-l", "app=one", "-o", "name") == "configmap/one"


def test_apply_set_prunes(kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    other = CONFIG_MAP.replace("one", "two")
    flags = ("apply", "-f", "-", "--prune", "--applyset=set", "--server-side")
    monkeypatch.setenv("KUBECTL_APPLYSET", "true")
    kubectl(*flags, stdin=CONFIG_MAP + "---" + other)
    assert "configmap/two pruned" in kubectl(*flags, stdin=CONFIG_MAP)


def test_apply_and_delete_a_kustomization(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(CONFIG_MAP)
    (tmp_path / "kustomization.yaml").write_text(
        "resources: [one.yaml]\nnamePrefix: k-\nconfigMapGenerator: [{name: made, literals: [a=b]}]\n"
    )
    made = kubectl("apply", "-k", str(tmp_path)).splitlines()
    assert "configmap/k-one created" in made
    assert any(line.startswith("configmap/k-made-") for line in made)
    kubectl("delete", "-k", str(tmp_path))
    assert kubectl("get", "cm", "-o", "name") == "configmap/kube-root-ca.crt"


def test_apply_view_edit_and_set_last_applied(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl("apply", "-f", "-", stdin=CONFIG_MAP)
    assert yaml.safe_load(kubectl("apply", "view-last-applied", "cm/one"))["data"] == {"color": "blue"}
    (tmp_path / "red.yaml").write_text(RED)
    assert kubectl("apply", "set-last-applied", "-f", str(tmp_path / "red.yaml")) == "configmap/one configured"
    assert '"color":"red"' in kubectl("get", "cm", "one", "-o", LAST_APPLIED)


@pytest.mark.parametrize("server_side", [(), ("--server-side", "--force-conflicts")], ids=["client-side", "server-side"])
def test_diff_shows_what_apply_would_change(kubectl: Kubectl, server_side: tuple[str, ...]) -> None:
    kubectl("apply", "-f", "-", *server_side, stdin=CONFIG_MAP)
    assert kubectl.run("diff", "-f", "-", *server_side, stdin=CONFIG_MAP).stdout == ""
    done = kubectl.run("diff", "-f", "-", *server_side, stdin=RED, check=False)
    assert done.returncode == 1
    assert {line for line in done.stdout.splitlines() if line[:3] in ("-  ", "+  ")} == {"-  color: blue", "+  color: red"}
    assert kubectl("get", "cm", "one", "-o", "jsonpath={.data.color}") == "blue"


def test_unknown_and_wrong_fields_are_refused(kubectl: Kubectl) -> None:
    unknown = WORKLOAD.replace("replicas: 2", "replicas: 2\n  bogus: 1")
    done = kubectl.run("apply", "-f", "-", stdin=unknown, check=False)
    assert 'strict decoding error: unknown field "spec.bogus"' in done.stderr
    warned = kubectl.run("apply", "-f", "-", "--validate=warn", "--dry-run=server", stdin=unknown)
    assert 'Warning: unknown field "spec.bogus"' in warned.stderr
    assert kubectl.run("apply", "-f", "-", "--validate=ignore", "--dry-run=server", stdin=unknown).stderr == ""
    wrong = kubectl.run("create", "-f", "-", stdin=WORKLOAD.replace("replicas: 2", "replicas: x"), check=False).stderr
    assert "(BadRequest)" in wrong
    assert 'Deployment in version "v1" cannot be handled as a Deployment' in wrong
    assert "DeploymentSpec.spec.replicas of type int32" in wrong
    invalid = kubectl.run(
        "create", "-f", "-", stdin=WORKLOAD.replace("matchLabels: {app: web}", "matchLabels: {app: x}"), check=False
    ).stderr
    assert 'Deployment.apps "web" is invalid: spec.template.metadata.labels: Invalid value:' in invalid
    assert "`selector` does not match template `labels`" in invalid
    selector = kubectl.run("create", "-f", "-", stdin=WORKLOAD.replace("containerPort: 80", "containerPort: 99999"), check=False).stderr
    assert (
        "spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 99999: must be between 1 and 65535, inclusive" in selector
    )


# --- create, replace, edit


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("configmap", "a", "--from-literal=a=b"), "configmap/a created"),
        (("secret", "generic", "a", "--from-literal=a=b"), "secret/a created"),
        (("secret", "docker-registry", "a", "--docker-username=a", "--docker-password=b"), "secret/a created"),
        (("deployment", "a", "--image=nginx", "--replicas=2"), "deployment.apps/a created"),
        (("job", "a", "--image=busybox"), "job.batch/a created"),
        (("cronjob", "a", "--image=busybox", "--schedule=*/5 * * * *"), "cronjob.batch/a created"),
        (("serviceaccount", "a"), "serviceaccount/a created"),
        (("role", "a", "--verb=get,list", "--resource=pods,deployments.apps"), "role.rbac.authorization.k8s.io/a created"),
        (("rolebinding", "a", "--clusterrole=view", "--user=jane"), "rolebinding.rbac.authorization.k8s.io/a created"),
        (("clusterrole", "a", "--verb=get", "--resource=nodes"), "clusterrole.rbac.authorization.k8s.io/a created"),
        (("clusterrolebinding", "a", "--clusterrole=view", "--group=x"), "clusterrolebinding.rbac.authorization.k8s.io/a created"),
        (("quota", "a", "--hard=pods=50"), "resourcequota/a created"),
        (("poddisruptionbudget", "a", "--selector=app=a", "--min-available=1"), "poddisruptionbudget.policy/a created"),
        (("priorityclass", "a", "--value=10"), "priorityclass.scheduling.k8s.io/a created"),
        (("service", "clusterip", "a", "--tcp=80:8080"), "service/a created"),
        (("service", "nodeport", "a", "--tcp=80"), "service/a created"),
        (("service", "loadbalancer", "a", "--tcp=80"), "service/a created"),
        (("service", "externalname", "a", "--external-name=a.example.com"), "service/a created"),
        (("ingress", "a", "--rule=a.example.com/=a:80"), "ingress.networking.k8s.io/a created"),
        (("namespace", "typed-create"), "namespace/typed-create created"),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_typed_create(kubectl: Kubectl, arguments: tuple[str, ...], told: str) -> None:
    assert kubectl("create", *arguments) == told
    again = kubectl.run("create", *arguments, check=False)
    assert again.returncode == 1
    assert "already exists" in again.stderr
    assert kubectl.run("create", *arguments, "--dry-run=client", "-o", "yaml").stdout.startswith("apiVersion:")


def test_create_from_a_file_and_from_standard_input(kubectl: Kubectl, tmp_path: Path) -> None:
    assert kubectl("create", "-f", "-", stdin=CONFIG_MAP) == "configmap/one created"
    (tmp_path / "one.yaml").write_text(CONFIG_MAP)
    again = kubectl.run("create", "-f", str(tmp_path / "one.yaml"), check=False)
    assert again.stderr.startswith("Error from server (AlreadyExists): error when creating")
    assert again.stderr.endswith('configmaps "one" already exists\n')
    generated = CONFIG_MAP.replace("name: one", "generateName: one-")
    assert kubectl("create", "-f", "-", stdin=generated).startswith("configmap/one-")
    kubectl("create", "job", "a", "--image=busybox")
    kubectl("create", "cronjob", "c", "--image=busybox", "--schedule=0 0 1 1 *")
    assert kubectl("create", "job", "--from=cronjob/c", "b") == "job.batch/b created"
    owner = kubectl("get", "job", "b", "-o", "jsonpath={.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name}")
    assert owner == "CronJob/c"


def test_replace(kubectl: Kubectl, tmp_path: Path) -> None:
    missing = kubectl.run("replace", "-f", "-", stdin=CONFIG_MAP, check=False)
    assert 'configmaps "one" not found' in missing.stderr
    kubectl("create", "-f", "-", stdin=CONFIG_MAP)
    uid = kubectl("get", "cm", "one", "-o", "jsonpath={.metadata.uid}")
    assert kubectl("replace", "-f", "-", stdin=RED) == "configmap/one replaced"
    assert kubectl("get", "cm", "one", "-o", "jsonpath={.metadata.uid} {.data.color}") == f"{uid} red"
    stale = kubectl("get", "cm", "one", "-o", "yaml")
    kubectl("label", "cm", "one", "a=b")
    conflict = kubectl.run("replace", "-f", "-", stdin=stale, check=False)
    assert 'Operation cannot be fulfilled on configmaps "one": the object has been modified' in conflict.stderr
    (tmp_path / "one.yaml").write_text(CONFIG_MAP)
    forced = kubectl("replace", "--force", "-f", str(tmp_path / "one.yaml")).splitlines()
    assert forced == ['configmap "one" deleted', "configmap/one replaced"]
    assert kubectl("get", "cm", "one", "-o", "jsonpath={.metadata.uid}") != uid


def test_edit(kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl("create", "-f", "-", stdin=CONFIG_MAP)
    monkeypatch.setenv("KUBE_EDITOR", "sed -i 's/color: blue/color: red/'")
    assert kubectl("edit", "cm", "one") == "configmap/one edited"
    assert kubectl("get", "cm", "one", "-o", "jsonpath={.data.color}") == "red"
    assert kubectl.run("edit", "cm", "one").stderr == "Edit cancelled, no changes made.\n"
    monkeypatch.setenv("KUBE_EDITOR", "sed -i 's/name: one/name: two/'")
    assert kubectl.run("edit", "cm", "one", check=False).returncode == 1
    monkeypatch.setenv("KUBE_EDITOR", "sed -i 's/color: red/color: [1]/'")
    assert 'configmaps "one" is invalid' in kubectl.run("edit", "cm", "one", check=False).stderr


# --- patch, label, annotate


def test_three_kinds_of_patch(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WORKLOAD)
    sidecar = '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"busybox"}]}}}}'
    assert kubectl("patch", "deployment", "web", "-p", sidecar) == "deployment.apps/web patched"
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[*].name}").split() == ["side", "web"]
    # Not before the controllers have said what they make of the first one: kubectl compares the whole object.
    unchanged = "deployment.apps/web patched (no change)"
    eventually(lambda: kubectl("patch", "deployment", "web", "-p", sidecar) == unchanged or None, timeout_s=20, what=lambda: unchanged)
    only = '{"spec":{"template":{"spec":{"containers":[{"name":"only","image":"busybox"}]}}}}'
    kubectl("patch", "deployment", "web", "--type=merge", "-p", only)
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[*].name}") == "only"
    steps = '[{"op":"test","path":"/spec/replicas","value":2},{"op":"replace","path":"/spec/replicas","value":3}]'
    kubectl("patch", "deployment", "web", "--type=json", "-p", steps)
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "3"
    failed = kubectl.run("patch", "deployment", "web", "--type=json", "-p", steps, check=False)
    assert failed.stderr.startswith("The request is invalid: the server rejected our request due to an error in our request")
    status = '{"status":{"observedGeneration":0},"spec":{"replicas":9}}'
    kubectl("patch", "deployment", "web", "--subresource=status", "--type=merge", "-p", status)
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "3"
    assert 'deployments.apps "nope" not found' in kubectl.run("patch", "deployment", "nope", "-p", "{}", check=False).stderr


def test_label_and_annotate(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=CONFIG_MAP)
    assert kubectl("label", "cm", "one", "tier=web") == "configmap/one labeled"
    assert "'tier' already has a value (web), and --overwrite is false" in kubectl.run("label", "cm", "one", "tier=db", check=False).stderr
    assert kubectl("label", "cm", "one", "tier=db", "--overwrite") == "configmap/one labeled"
    assert sorted(kubectl("label", "cm", "one", "--list").splitlines()) == ["app=one", "tier=db"]
    assert kubectl("label", "cm", "one", "tier-") == "configmap/one unlabeled"
    assert kubectl("label", "cm", "--all", "every=1").splitlines() == ["configmap/kube-root-ca.crt labeled", "configmap/one labeled"]
    assert kubectl("annotate", "cm", "one", "note=a b") == "configmap/one annotated"
    assert kubectl("get", "cm", "one", "-o", "jsonpath={.metadata.annotations.note}") == "a b"
    assert kubectl("annotate", "cm", "-l", "app=one", "note-") == "configmap/one annotated"
    bad = kubectl.run("label", "cm", "one", "bad key=1", check=False).stderr
    assert 'The ConfigMap "one" is invalid: metadata.labels: Invalid value: "bad key": name part must consist of alphanumeric' in bad


# --- delete


def test_delete_by_name_selector_file_and_all(kubectl: Kubectl) -> None:
    for name in "abcd":
        kubectl("create", "configmap", name)
        kubectl("label", "configmap", name, f"half={'first' if name < 'c' else 'second'}")
    assert kubectl("delete", "cm", "a") == 'configmap "a" deleted'
    assert kubectl("delete", "cm/b") == 'configmap "b" deleted'
    assert 'configmaps "a" not found' in kubectl.run("delete", "cm", "a", check=False).stderr
    assert kubectl("delete", "cm", "a", "--ignore-not-found") == ""
    assert kubectl("delete", "cm", "-l", "half=second", "--dry-run=server").count("(server dry run)") == 2
    assert kubectl("delete", "cm", "-l", "half=second").splitlines() == ['configmap "c" deleted', 'configmap "d" deleted']
    kubectl("create", "-f", "-", stdin=CONFIG_MAP)
    assert kubectl("delete", "-f", "-", stdin=CONFIG_MAP) == 'configmap "one" deleted'
    kubectl("create", "secret", "generic", "x")
    assert kubectl("delete", "secret", "--all") == 'secret "x" deleted'


def test_delete_waits_for_finalizers(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=CONFIG_MAP)
    kubectl("patch", "cm", "one", "-p", '{"metadata":{"finalizers":["example.com/hold"]}}')
    held = kubectl.run("delete", "cm", "one", "--timeout=1s", check=False)
    assert "timed out waiting for the condition on configmaps/one" in held.stderr
    assert kubectl("get", "cm", "one", "-o", "jsonpath={.metadata.deletionTimestamp}") != ""
    added = kubectl.run("patch", "cm", "one", "-p", '{"metadata":{"finalizers":["example.com/hold","example.com/more"]}}', check=False)
    assert "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted" in added.stderr
    kubectl("patch", "cm", "one", "--type=json", "-p", '[{"op":"remove","path":"/metadata/finalizers"}]')
    assert kubectl.run("get", "cm", "one", check=False).returncode == 1


@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
def test_delete_cascades_as_told(kubectl: Kubectl, cascade: str) -> None:
    kubectl("create", "deployment", "web", "--image=nginx", "--replicas=2")
    kubectl("rollout", "status", "deployment/web", "--timeout=10s")
    assert kubectl("delete", "deployment", "web", f"--cascade={cascade}", "--timeout=20s") == 'deployment.apps "web" deleted'
    if cascade == "orphan":
        left = kubectl.json("get", "rs")["items"]
        assert [rs["metadata"].get("ownerReferences") for rs in left] == [None]
        assert len(kubectl.json("get", "pods")["items"]) == 2
    elif cascade == "foreground":
        assert kubectl("get", "rs,pods", "-o", "name") == ""
    else:
        eventually(lambda: kubectl("get", "rs,pods", "-o", "name") == "", timeout_s=10, what=lambda: "removal of what it owned")


def test_delete_pods_at_once_and_with_grace(kubectl: Kubectl) -> None:
    kubectl("run", "quick", "--image=nginx")
    kubectl("wait", "--for=condition=Ready", "pod/quick", "--timeout=10s")
    forced = kubectl.run("delete", "pod", "quick", "--grace-period=0", "--force")
    assert "Immediate deletion does not wait for confirmation" in forced.stderr
    assert forced.stdout == 'pod "quick" force deleted\n'
    kubectl("run", "quick", "--image=nginx")
    assert kubectl("delete", "pod", "quick", "--now") == 'pod "quick" deleted'


def test_delete_a_namespace_with_content(kubectl: Kubectl) -> None:
    kubectl("create", "namespace", "doomed")
    kubectl("-n", "doomed", "create", "deployment", "web", "--image=nginx")
    kubectl("-n", "doomed", "create", "configmap", "one")
    assert kubectl("delete", "namespace", "doomed", "--timeout=30s") == 'namespace "doomed" deleted'
    assert kubectl("get", "pods,cm", "-A", "--field-selector=metadata.namespace=doomed", "-o", "name") == ""
