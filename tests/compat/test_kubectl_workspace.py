"""kubectl in a workspace: custom kinds from their CRD to their removal, who may do what, tokens, and what a workspace does not have.

What is expected of custom kinds is what kubernetes.io/docs/tasks/extend-kubernetes/custom-resources documents.
"""

from __future__ import annotations

import json

import pytest
import yaml
from tests.compat.servers import Server
from tests.e2e.processes import Kubectl, eventually

pytestmark = pytest.mark.e2e

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd], categories: [all, toys]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    - {name: Color, type: string, jsonPath: .spec.color, priority: 1}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    selectableFields: [{jsonPath: .spec.color}]
    schema:
      openAPIV3Schema:
        type: object
        description: A thing to play with.
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, minimum: 1, description: How big it is.}
              color: {type: string, enum: [red, blue], default: red}
              replicas: {type: integer}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string}, count: {type: integer}}}
          status:
            type: object
            properties:
              replicas: {type: integer}
              selector: {type: string}
              conditions: {type: array, items: {type: object, properties: {type: {type: string}, status: {type: string}}}}
"""
WIDGET = """
apiVersion: example.com/v1
kind: Widget
metadata: {name: one}
spec: {size: 3, parts: [{name: a, count: 1}]}
"""


@pytest.fixture(scope="module")
def served(workspace: Server) -> Server:
    """A workspace that serves Widgets."""
    kubectl = workspace.kubectl()
    assert kubectl("create", "-f", "-", stdin=CRD) == "customresourcedefinition.apiextensions.k8s.io/widgets.example.com created"
    told = kubectl("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=2s")
    assert told == "customresourcedefinition.apiextensions.k8s.io/widgets.example.com condition met"
    return workspace


@pytest.fixture
def kubectl(served: Server, request: pytest.FixtureRequest) -> Kubectl:
    """In a namespace of the test's own, with one Widget."""
    kubectl = served.namespace(request.node.name.removeprefix("test_").replace("_", "-")[:60].strip("-"))
    assert kubectl("apply", "-f", "-", stdin=WIDGET) == "widget.example.com/one created"
    return kubectl


# --- custom kinds


def test_a_custom_kind_is_found_by_all_its_names(kubectl: Kubectl) -> None:
    for word in ("widgets", "widget", "wd", "Widget", "widgets.example.com", "widgets.v1.example.com", "toys"):
        assert kubectl("get", word, "-o", "name") == "widget.example.com/one"
    assert "widget.example.com/one" in kubectl("get", "all", "-o", "name")
    assert kubectl("api-resources", "--api-group=example.com", "--no-headers").split() == [
        "widgets",
        "wd",
        "example.com/v1",
        "true",
        "Widget",
    ]


def test_printer_columns_and_selectable_fields(kubectl: Kubectl) -> None:
    assert [line.split()[:-1] for line in kubectl("get", "wd").splitlines()] == [["NAME", "SIZE"], ["one", "3"]]
    assert [line.split()[:-1] for line in kubectl("get", "wd", "-o", "wide").splitlines()] == [
        ["NAME", "SIZE", "COLOR"],
        ["one", "3", "red"],
    ]
    assert kubectl("get", "wd", "--field-selector", "spec.color=red", "-o", "name") == "widget.example.com/one"
    assert kubectl("get", "wd", "--field-selector", "spec.color!=red", "-o", "name") == ""
    assert "field label not supported: spec.size" in kubectl.run("get", "wd", "--field-selector", "spec.size=3", check=False).stderr


def test_explain_and_describe(kubectl: Kubectl) -> None:
    text = kubectl("explain", "widget")
    assert text.startswith("GROUP:      example.com\nKIND:       Widget\nVERSION:    v1\n\nDESCRIPTION:\n    A thing to play with.")
    assert "APIVersion defines the versioned schema" in text
    assert "FIELD: size <integer>\n\n\nDESCRIPTION:\n    How big it is." in kubectl("explain", "widget.spec.size")
    assert "  spec\t<Object>\n    color\t<string>" in kubectl("explain", "widget", "--recursive")
    shown = kubectl("describe", "widget", "one")
    assert "API Version:  example.com/v1" in shown
    assert "  Size:" in shown
    crd = kubectl("describe", "crd", "widgets.example.com")
    assert "Reason:                InitialNamesAccepted" in crd


def test_apply_merges_custom_objects(kubectl: Kubectl) -> None:
    bigger = WIDGET.replace("size: 3", "size: 4")
    assert kubectl("apply", "-f", "-", stdin=WIDGET) == "widget.example.com/one unchanged"
    assert "+  size: 4" in kubectl.run("diff", "-f", "-", stdin=bigger, check=False).stdout
    assert kubectl("apply", "-f", "-", stdin=bigger) == "widget.example.com/one configured"
    assert kubectl("get", "wd", "one", "-o", "jsonpath={.spec.size} {.metadata.generation}") == "4 2"
    other = WIDGET.replace("size: 3, parts: [{name: a, count: 1}]", "parts: [{name: b}]")
    kubectl("apply", "--server-side", "--field-manager=other", "-f", "-", "--validate=ignore", stdin=other)
    assert kubectl("get", "wd", "one", "-o", "jsonpath={.spec.parts[*].name}") == "a b"
    conflict = kubectl.run(
        "apply", "--server-side", "--field-manager=third", "-f", "-", stdin=WIDGET.replace("count: 1", "count: 2"), check=False
    )
    assert '.spec.parts[name="a"].count' in conflict.stderr


def test_faults_are_told_by_field(kubectl: Kubectl) -> None:
    unknown = WIDGET.replace("size: 3", "size: 3, bogus: 1")
    assert 'unknown field "spec.bogus"' in kubectl.run("apply", "-f", "-", stdin=unknown, check=False).stderr
    assert 'Warning: unknown field "spec.bogus"' in kubectl.run("apply", "-f", "-", "--validate=warn", stdin=unknown).stderr
    assert kubectl("get", "wd", "one", "-o", "jsonpath={.spec.bogus}") == ""
    ssa = kubectl.run("apply", "--server-side", "-f", "-", stdin=unknown, check=False).stderr
    assert ".spec.bogus: field not declared in schema" in ssa
    wrong = kubectl.run("patch", "wd", "one", "--type=merge", "-p", '{"spec":{"size":0,"color":"green"}}', check=False).stderr
    assert wrong.splitlines() == [
        'The Widget "one" is invalid: ',
        "* spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
        '* spec.color: Unsupported value: "green": supported values: "red", "blue"',
    ]
    strategic = kubectl.run("patch", "wd", "one", "-p", '{"spec":{"size":2}}', check=False).stderr
    assert "application/strategic-merge-patch+json is not supported by example.com/v1, Kind=Widget" in strategic


def test_scale_and_status_of_a_custom_kind(kubectl: Kubectl) -> None:
    assert "not found" in kubectl.run("scale", "wd", "two", "--replicas=3", check=False).stderr
    assert kubectl("scale", "wd", "one", "--replicas=3") == "widget.example.com/one scaled"
    assert kubectl("get", "wd", "one", "--subresource=scale", "-o", "jsonpath={.kind} {.spec.replicas} {.status.replicas}") == "Scale 3 0"
    status = '{"status":{"replicas":3,"conditions":[{"type":"Ready","status":"True"}]},"spec":{"size":9}}'
    kubectl("patch", "wd", "one", "--subresource=status", "--type=merge", "-p", status)
    assert kubectl("wait", "--for=condition=Ready", "wd/one", "--timeout=2s") == "widget.example.com/one condition met"
    assert kubectl("get", "wd", "one", "-o", "jsonpath={.spec.size} {.metadata.generation}") == "3 2"
    kubectl("patch", "wd", "one", "--type=merge", "-p", '{"status":{"replicas":7}}')
    assert kubectl("get", "wd", "one", "-o", "jsonpath={.status.replicas}") == "3"


def test_edit_label_and_replace_custom_objects(kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBE_EDITOR", "sed -i 's/size: 3/size: 7/'")
    assert kubectl("edit", "widget", "one") == "widget.example.com/one edited"
    monkeypatch.setenv("KUBE_EDITOR", "sed -i 's/^status:.*//; $ a status: {replicas: 2}'")
    assert kubectl("edit", "widget", "one", "--subresource=status") == "widget.example.com/one edited"
    assert kubectl("get", "wd", "one", "-o", "jsonpath={.spec.size} {.status.replicas}") == "7 2"
    assert kubectl("label", "wd", "one", "a=b") == "widget.example.com/one labeled"
    held = yaml.safe_load(kubectl("get", "wd", "one", "-o", "yaml"))
    del held["metadata"]["resourceVersion"]
    refused = kubectl.run("replace", "-f", "-", stdin=json.dumps(held), check=False)
    assert refused.returncode == 0 or "metadata.resourceVersion: Invalid value" in refused.stderr


def test_a_crd_changes_and_goes_with_its_objects(workspace: Server) -> None:
    kubectl = workspace.namespace("goes")
    crd = (
        CRD.replace("widgets", "gadgets")
        .replace("widget", "gadget")
        .replace("Widget", "Gadget")
        .replace("[wd]", "[gd]")
        .replace("toys", "tools")
    )
    kubectl("create", "-f", "-", stdin=crd)
    kubectl("wait", "--for=condition=Established", "crd/gadgets.example.com", "--timeout=2s")
    gadget = WIDGET.replace("Widget", "Gadget")
    kubectl("apply", "-f", "-", stdin=gadget)
    more = crd.replace("size: {type: integer, minimum: 1", "weight: {type: integer}\n              size: {type: integer, minimum: 1")
    assert kubectl("apply", "-f", "-", "--server-side", "--force-conflicts", stdin=more).endswith("serverside-applied")
    heavy = gadget.replace("size: 3", "size: 3, weight: 2")
    eventually(
        lambda: kubectl.run("apply", "-f", "-", stdin=heavy, check=False).returncode == 0,
        timeout_s=3,
        what=lambda: "the new field is known",
    )
    kubectl("patch", "gadget", "one", "--type=merge", "-p", '{"metadata":{"finalizers":["example.com/hold"]}}')
    kubectl("delete", "crd", "gadgets.example.com", "--wait=false")
    terminating = kubectl.until(
        "get", "crd", "gadgets.example.com",
        is_right=lambda c: any(x["type"] == "Terminating" and x["status"] == "True" for x in c["status"]["conditions"]),
    )  # fmt: skip
    assert terminating["metadata"]["deletionTimestamp"]
    refused = kubectl.run("create", "-f", "-", stdin=gadget.replace("one", "two"), check=False)
    assert refused.returncode == 1
    kubectl("patch", "gadget", "one", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    kubectl("wait", "--for=delete", "crd/gadgets.example.com", "--timeout=10s")
    assert "gadgets" not in kubectl("api-resources", "-o", "name")


EXPORT = """
apiVersion: apis.kcp.io/v1alpha1
kind: APIResourceSchema
metadata: {name: v1.cogs.machine.example.com}
spec:
  group: machine.example.com
  names: {plural: cogs, singular: cog, kind: Cog, listKind: CogList}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      type: object
      description: A part of a machine.
      properties: {spec: {type: object, properties: {teeth: {type: integer, description: How many it has.}}}}
  - name: v1alpha1
    served: true
    storage: false
    schema:
      type: object
      properties: {spec: {type: object, properties: {teeth: {type: integer, description: How many it had.}}}}
---
apiVersion: apis.kcp.io/v1alpha2
kind: APIExport
metadata: {name: machine.example.com}
spec: {resources: [{group: machine.example.com, name: cogs, schema: v1.cogs.machine.example.com, storage: {crd: {}}}]}
"""
BINDING = """
apiVersion: apis.kcp.io/v1alpha2
kind: APIBinding
metadata: {name: machine}
spec: {reference: {export: {path: "root:compat", name: machine.example.com}}}
"""
COG = """
apiVersion: machine.example.com/v1
kind: Cog
metadata: {name: one}
spec: {teeth: 12}
"""


def test_a_bound_kind_is_explained_and_goes_with_its_binding(workspace: Server) -> None:
    kubectl = workspace.kubectl()
    kubectl("create", "-f", "-", stdin=EXPORT)
    kubectl("create", "-f", "-", stdin=BINDING)
    kubectl("wait", "--for=condition=Ready", "apibinding/machine", "--timeout=10s")
    assert "FIELD: teeth <integer>\n\n\nDESCRIPTION:\n    How many it has." in kubectl("explain", "cog.spec.teeth")
    older = kubectl("explain", "cog", "--api-version=machine.example.com/v1alpha1", "--recursive")
    assert older.startswith("GROUP:      machine.example.com\nKIND:       Cog\nVERSION:    v1alpha1\n")
    assert "  spec\t<Object>\n    teeth\t<integer>" in older
    assert "How many it had." in kubectl("explain", "cog.spec.teeth", "--api-version=machine.example.com/v1alpha1")
    for namespace in ("left", "right"):
        workspace.namespace(namespace)("apply", "-f", "-", stdin=COG)
    assert kubectl("get", "cogs", "-A", "-o", "jsonpath={.items[*].metadata.namespace}") == "left right"
    kubectl("patch", "cog", "one", "-n", "left", "--type=merge", "-p", '{"metadata":{"finalizers":["example.com/hold"]}}')
    assert kubectl.run("delete", "apibinding", "machine", "--timeout=1s", check=False).returncode == 1
    assert kubectl("get", "cogs", "-A", "-o", "jsonpath={.items[*].metadata.namespace}") == "left"
    kubectl("patch", "cog", "one", "-n", "left", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    kubectl("wait", "--for=delete", "apibinding/machine", "--timeout=10s")
    assert "cogs" not in kubectl("api-resources", "-o", "name")


# --- who may do what


def test_who_am_i_and_what_may_i(kubectl: Kubectl) -> None:
    assert kubectl.json("auth", "whoami")["status"]["userInfo"]["username"] == "kcp-admin"
    assert kubectl("auth", "can-i", "create", "widgets") == "yes"
    assert kubectl("auth", "can-i", "--list").splitlines()[1].split() == ["*.*", "[]", "[]", "[*]"]
    assert "doesn't have a resource type 'nope'" in kubectl.run("auth", "can-i", "get", "nope").stderr


def test_a_token_may_what_its_roles_allow(served: Server, kubectl: Kubectl) -> None:
    namespace = kubectl.flags[1]
    kubectl("create", "serviceaccount", "player")
    kubectl("create", "role", "player", "--verb=get,list,watch", "--resource=widgets.example.com")
    kubectl("create", "rolebinding", "player", "--role=player", f"--serviceaccount={namespace}:player")
    token = kubectl("create", "token", "player", "--duration=10m")
    credentials = served.credentials()
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": credentials["server"], "certificate-authority": credentials["ca"]}}],
        "users": [{"name": "u", "user": {"token": token}}],
    }  # fmt: skip
    path = served.directory / "player.kubeconfig"
    path.write_text(json.dumps(config))
    player = Kubectl(path, served.directory, ("--namespace", namespace))
    assert player("get", "widgets", "-o", "name") == "widget.example.com/one"
    assert player.json("auth", "whoami")["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:player"
    assert player.run("auth", "can-i", "delete", "widgets", check=False).stdout == "no - access denied\n"
    refused = player.run("delete", "widget", "one", check=False).stderr
    told = f'User "system:serviceaccount:{namespace}:player" cannot delete resource "widgets" in API group "example.com" in the namespace'
    assert 'Error from server (Forbidden): widgets.example.com "one" is forbidden' in refused
    assert told in refused


ROLES = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: NAMESPACE}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}]
"""


def test_auth_reconcile(kubectl: Kubectl) -> None:
    roles = ROLES.replace("NAMESPACE", kubectl.flags[1])
    made = kubectl.run("auth", "reconcile", "-f", "-", stdin=roles)
    told = ["role.rbac.authorization.k8s.io/reader reconciled", "rolebinding.rbac.authorization.k8s.io/reader reconciled"]
    assert made.stdout.splitlines() == told
    assert made.stderr.count("reconciliation required create") == 2
    wider = kubectl.run("auth", "reconcile", "-f", "-", stdin=roles.replace("verbs: [get]", "verbs: [get, list]"))
    assert "reconciliation required update\n\tmissing rules added:" in wider.stderr
    assert kubectl.run("auth", "reconcile", "-f", "-", stdin=roles).stderr == ""
    assert kubectl("get", "role", "reader", "-o", "jsonpath={.rules[*].verbs}") == '["get"] ["list"]'
    changed = kubectl.run("apply", "-f", "-", stdin=roles.split("---")[1].replace("kind: Role,", "kind: ClusterRole,"), check=False)
    assert "cannot change roleRef" in changed.stderr


# --- a workspace has no pods of its own


def test_a_workspace_shows_itself_and_has_no_pods(kubectl: Kubectl) -> None:
    (row,) = kubectl("get", "logicalclusters", "--no-headers").splitlines()
    assert row.split()[:2] == ["cluster", "Ready"]
    assert "Phase:" in kubectl("describe", "logicalcluster", "cluster")
    assert "FIELDS:" in kubectl("explain", "workspace.spec")
    assert kubectl("get", "workspaces", "-o", "name") == ""
    for words in (("get", "pods"), ("describe", "node", "a"), ("top", "pods"), ("cordon", "a")):
        assert kubectl.run(*words, check=False).returncode == 1
    assert 'the server doesn\'t have a resource type "pods"' in kubectl.run("get", "pods", check=False).stderr
    assert kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}").endswith("/clusters/root:compat")
    assert kubectl("get", "--raw", "/version").startswith("{")
    assert kubectl("version", "-o", "json") != ""
