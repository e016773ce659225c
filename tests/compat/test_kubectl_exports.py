"""kubectl with APIs that are exported and bound: in the consumer's workspace, and through the provider's virtual workspace, over TLS.

Source: kcp docs/content/concepts/apis/exporting-apis.md, test/e2e/virtual/apiexport.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.compat.servers import Server
from tests.e2e.processes import Kubectl, eventually

pytestmark = pytest.mark.e2e

APIS = """
apiVersion: apis.kcp.io/v1alpha1
kind: APIResourceSchema
metadata: {name: v1.widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    selectableFields: [{jsonPath: .spec.color}]
    schema:
      type: object
      description: A thing to play with.
      properties:
        spec:
          type: object
          properties:
            size: {type: integer, minimum: 1, description: How big it is.}
            color: {type: string}
        status: {type: object, properties: {seen: {type: boolean}}}
---
apiVersion: apis.kcp.io/v1alpha2
kind: APIExport
metadata: {name: widgets}
spec:
  resources: [{group: example.com, name: widgets, schema: v1.widgets.example.com, storage: {crd: {}}}]
  permissionClaims:
  - {group: "", resource: configmaps, verbs: [get, list, watch, create, patch, update, delete]}
  - {group: authorization.k8s.io, resource: subjectaccessreviews, verbs: [create]}
"""
BINDING = """
apiVersion: apis.kcp.io/v1alpha2
kind: APIBinding
metadata: {name: widgets}
spec:
  reference: {export: {path: "root:compat", name: widgets}}
  permissionClaims:
  - {group: "", resource: configmaps, verbs: [get, list, watch, create, patch, update, delete], state: Accepted, selector: {matchAll: true}}
  - {group: authorization.k8s.io, resource: subjectaccessreviews, verbs: [create], state: Accepted, selector: {matchAll: true}}
"""
WIDGET = """
apiVersion: example.com/v1
kind: Widget
metadata: {name: %s, namespace: default}
spec: {size: 3, color: %s}
"""


VERSIONS = """
apiVersion: apis.kcp.io/v1alpha1
kind: APIResourceSchema
metadata: {name: rev2.people.example.io}
spec:
  group: example.io
  scope: Cluster
  names: {plural: people, singular: person, kind: Person, listKind: PersonList}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      type: object
      properties: {spec: {type: object, properties: {firstName: {type: string}, lastName: {type: string}}}}
  - name: v2
    served: true
    storage: false
    schema:
      type: object
      properties:
        spec:
          type: object
          properties:
            name: {type: object, properties: {first: {type: string}, last: {type: string}, upper: {type: string}}}
            born: {type: integer}
---
apiVersion: apis.kcp.io/v1alpha1
kind: APIConversion
metadata: {name: rev2.people.example.io}
spec:
  conversions:
  - from: v1
    to: v2
    rules:
    - {field: .spec.firstName, destination: .spec.name.first}
    - {field: .spec.lastName, destination: .spec.name.last}
    - {field: .spec.lastName, destination: .spec.name.upper, transformation: self.upperAscii()}
  - from: v2
    to: v1
    rules:
    - {field: .spec.name.first, destination: .spec.firstName}
    - {field: .spec.name.last, destination: .spec.lastName}
    preserve: [.spec.born]
---
apiVersion: apis.kcp.io/v1alpha2
kind: APIExport
metadata: {name: people}
spec: {resources: [{group: example.io, name: people, schema: rev2.people.example.io, storage: {crd: {}}}]}
"""
PERSON = """
apiVersion: example.io/v1
kind: Person
metadata: {name: bob}
spec: {lastName: Jones}
"""


@dataclass(frozen=True)
class Market:
    provider: Kubectl
    consumer: Kubectl
    everywhere: Kubectl
    """The virtual workspace over all consumers."""
    there: Kubectl
    """The virtual workspace at the consumer."""


def at(server: Server, directory: Path, url: str) -> Kubectl:
    """kubectl with a cache of its own, as discovery differs from place to place."""
    directory.mkdir()
    return Kubectl(server.kubeconfig, directory, (f"--server={url}", f"--cache-dir={directory}"))


@pytest.fixture(scope="module")
def market(workspace: Server, tmp_path_factory: pytest.TempPathFactory) -> Market:
    base = tmp_path_factory.mktemp("kubectl")
    provider = workspace.kubectl()
    provider("create", "-f", "-", stdin=APIS)
    provider("ws", "create", "consumer")
    root = str(workspace.credentials()["server"]).partition("/clusters/")[0]
    consumer = at(workspace, base / "consumer", f"{root}/clusters/root:compat:consumer")
    consumer("create", "-f", "-", stdin=BINDING)
    consumer("wait", "--for=condition=Ready", "apibinding/widgets", "--timeout=20s")
    consumer("create", "-f", "-", stdin=WIDGET % ("first", "red"))
    found = provider.until("get", "apiexportendpointslice", "widgets", is_right=lambda s: bool(s.get("status", {}).get("endpoints")))
    url = found["status"]["endpoints"][0]["url"]
    everywhere = at(workspace, base / "everywhere", f"{url}/clusters/*")
    there = at(workspace, base / "there", f"{url}/clusters/root:compat:consumer")
    return Market(provider, consumer, everywhere, there)


def test_a_bound_kind_is_explained_and_found(market: Market) -> None:
    explained = market.consumer("explain", "widgets.spec.size")
    assert "How big it is." in explained
    assert "<integer>" in explained
    resources = market.consumer("api-resources", "--api-group=example.com", "--no-headers")
    assert resources.split() == ["widgets", "wd", "example.com/v1", "true", "Widget"]
    table = market.consumer("get", "wd")
    assert [line.split()[:2] for line in table.splitlines()] == [["NAME", "SIZE"], ["first", "3"]]


def test_the_view_lists_and_explains(market: Market) -> None:
    table = market.everywhere("get", "widgets", "-A")
    assert [line.split()[:3] for line in table.splitlines()] == [["NAMESPACE", "NAME", "SIZE"], ["default", "first", "3"]]
    assert "A thing to play with." in market.everywhere("explain", "widgets")
    names = set(market.everywhere("api-resources", "-o", "name").split())
    assert names == {"widgets.example.com", "configmaps", "subjectaccessreviews.authorization.k8s.io", "apibindings.apis.kcp.io"}
    found = market.everywhere.json("get", "widgets", "-A")["items"]
    assert found[0]["metadata"]["annotations"]["kcp.io/cluster"]
    assert market.everywhere("get", "widgets", "-A", "--field-selector=spec.color=blue", "-o", "name") == ""
    assert market.everywhere("get", "widgets", "-A", "--field-selector=spec.color=red", "-o", "name") == "widget.example.com/first"


def test_the_view_writes_at_one_consumer(market: Market) -> None:
    market.there("apply", "--server-side", "-f", "-", stdin=WIDGET % ("made", "blue"))
    market.there("patch", "widget", "made", "--type=merge", "-p", '{"spec":{"size":5}}')
    market.there("patch", "widget", "made", "--subresource=status", "--type=merge", "-p", '{"status":{"seen":true}}')
    assert market.consumer.json("get", "widget", "made")["status"] == {"seen": True}
    invalid = market.there.run("patch", "widget", "made", "--type=merge", "-p", '{"spec":{"size":0}}', check=False)
    assert "spec.size: Invalid value: 0" in invalid.stderr
    market.there("label", "widget", "made", "a=b")
    market.there("delete", "widget", "made", "--timeout=20s")
    assert market.consumer("get", "widget", "-o", "name") == "widget.example.com/first"
    refused = market.everywhere.run("create", "-f", "-", stdin=WIDGET % ("nowhere", "red"), check=False)
    assert refused.returncode != 0


def test_claimed_objects_are_reached_through_the_view(market: Market) -> None:
    market.consumer("create", "configmap", "settings", "--from-literal=a=b")
    market.everywhere("get", "configmaps", "-A", "--field-selector=metadata.name=settings", "-o", "name")
    market.there("patch", "configmap", "settings", "--type=merge", "-p", '{"data":{"a":"c"}}')
    assert market.consumer.json("get", "configmap", "settings")["data"] == {"a": "c"}
    unclaimed = market.there.run("get", "secrets", check=False)
    assert 'the server doesn\'t have a resource type "secrets"' in unclaimed.stderr
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": "nobody", "resourceAttributes": {"verb": "get", "resource": "configmaps", "namespace": "default"}},
    }
    answer = json.loads(market.there("create", "-f", "-", "-o", "json", stdin=json.dumps(review)))
    assert answer["status"]["allowed"] is False


def test_the_view_is_watched(market: Market) -> None:
    command = ["kubectl", *market.everywhere.flags, "get", "widgets", "-A", "--watch", "--no-headers", "-o", "name"]
    watching = subprocess.Popen(command, env=market.everywhere.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert watching.stdout is not None
        assert watching.stdout.readline().strip() == "widget.example.com/first"
        market.consumer("create", "-f", "-", stdin=WIDGET % ("watched", "red"))
        assert watching.stdout.readline().strip() == "widget.example.com/watched"
    finally:
        watching.kill()
        watching.communicate(timeout=10)


def test_versions_are_converted_by_the_providers_rules(market: Market) -> None:
    market.provider("apply", "-f", "-", stdin=VERSIONS)
    assert "rev2.people.example.io" in market.provider("get", "apiconversions")
    assert "A CEL expression" in market.provider("explain", "apiconversion.spec.conversions.rules.transformation")
    market.consumer("create", "-f", "-", stdin=BINDING.partition("  permissionClaims")[0].replace("widgets", "people"))
    market.consumer("wait", "--for=condition=Ready", "apibinding/people", "--timeout=20s")
    market.consumer("create", "-f", "-", stdin=PERSON)
    assert market.consumer.json("get", "people.v2.example.io", "bob")["spec"] == {"name": {"last": "Jones", "upper": "JONES"}}
    market.consumer("patch", "people.v2.example.io", "bob", "--type=merge", "-p", '{"spec":{"name":{"first":"Bob"},"born":1970}}')
    assert market.consumer.json("get", "people.v1.example.io", "bob")["spec"] == {"firstName": "Bob", "lastName": "Jones"}
    market.consumer("patch", "people.v1.example.io", "bob", "--type=merge", "-p", '{"spec":{"lastName":"Smith"}}')
    shown = market.consumer.json("get", "people.v2.example.io", "bob")
    assert shown["spec"] == {"name": {"first": "Bob", "last": "Smith", "upper": "SMITH"}, "born": 1970}
    wrong = market.provider.run("apply", "-f", "-", stdin=VERSIONS.replace("self.upperAscii()", "self.nothing()"), check=False)
    assert "error compiling conversion rules: spec.conversions[0].rules[2].transformation: Invalid value" in wrong.stderr


def test_a_deleted_binding_takes_its_kind_away(market: Market) -> None:
    market.consumer("delete", "apibinding", "widgets", "--timeout=30s")
    assert market.consumer("api-resources", "--api-group=example.com", "--no-headers", "--cached=false") == ""
    eventually(lambda: market.everywhere("get", "widgets", "-A", "-o", "name") == "", timeout_s=10, what=lambda: "an empty view")
    refused = market.there.run("get", "widgets", check=False)
    assert "Error from server (Forbidden)" in refused.stderr
