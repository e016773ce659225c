"""What kubectl and curl are told: patches that fit nothing, answers for eyes, paths that are no API.

What is expected is what kube-apiserver 1.36 answers (test/cmd of kubernetes/kubernetes describes most of it).
"""

from __future__ import annotations

import json
import subprocess

import pytest
from tests.compat.servers import WORKLOAD, Server
from tests.e2e.processes import Kubectl, eventually

pytestmark = pytest.mark.e2e

PATCH_FAULTS = [
    ("strategic", '{"metadata":{"labels":"x"}}', "map[metadata:map[labels:x]]", "cannot restore map from string"),
    ("strategic", '{"metadata":{"finalizers":{"a":1}}}', "map[metadata:map[finalizers:map[a:1]]]", "cannot restore slice from map"),
    ("strategic", '{"spec":{"replicas":"two"}}', "map[spec:map[replicas:two]]", "unrecognized type: int32"),
    ("strategic", '{"spec":{"paused":[true]}}', "map[spec:map[paused:[true]]]", "unrecognized type: bool"),
    ("strategic", '{"spec":{"strategy":"x"}}', "map[spec:map[strategy:x]]", "cannot restore struct from: string"),
    ("strategic", '{"spec":{"strategy":{"type":7}}}', "map[spec:map[strategy:map[type:7]]]", "cannot convert int64 to string"),
    (
        "merge",
        '{"metadata":{"labels":"x"}}',
        '"{',
        "json: cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type map[string]string",
    ),
    (
        "merge",
        '{"spec":{"replicas":"two"}}',
        '"{',
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
    ),
    (
        "json",
        '[{"op":"replace","path":"/spec/replicas","value":"two"}]',
        '"{',
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
    ),
]


@pytest.fixture(scope="module")
def web(cluster: Server) -> Kubectl:
    kubectl = cluster.namespace("errors")
    kubectl("apply", "-f", "-", stdin=WORKLOAD)
    return kubectl


@pytest.mark.parametrize(("kind", "patch", "shown", "why"), PATCH_FAULTS)
def test_a_patch_that_leaves_no_object_of_the_kind_is_invalid(web: Kubectl, kind: str, patch: str, shown: str, why: str) -> None:
    done = web.run("patch", "deployment", "web", f"--type={kind}", "-p", patch, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("The request is invalid: patch: Invalid value: ")
    assert shown in done.stderr
    assert done.stderr.rstrip().endswith(f": {why}")


REVIEW = {
    "kind": "SubjectAccessReview",
    "apiVersion": "authorization.k8s.io/v1",
    "spec": {"user": "foo", "groups": ["system:masters"], "resourceAttributes": {"verb": "create", "resource": "pods"}},
}


@pytest.mark.parametrize(
    ("path", "body", "wanted"),
    [
        ("/apis/authorization.k8s.io/v1/subjectaccessreviews", REVIEW, '"allowed": true'),
        ("/api/v1/namespaces/nope", None, '\n  "reason": "NotFound",\n'),
        ("/api/v1", None, '\n  "groupVersion": "v1",\n'),
        ("/apis", None, '\n  "kind": "APIGroupList",\n'),
        ("/version", None, '\n  "minor": "36",\n'),
        ("/", None, '\n    "/api/v1",\n'),
    ],
)
def test_curl_gets_answers_for_eyes(cluster: Server, path: str, body: object, wanted: str) -> None:
    """Also without a Content-Type, which means JSON. Source: endpoints/handlers/negotiation/negotiate.go (isPrettyPrint)."""
    held = cluster.credentials()
    words = ["curl", "-sS", "--cacert", held["ca"], "--cert", held["cert"], "--key", held["key"], held["server"] + path]
    words += ["-H", "Content-Type:", "-d", json.dumps(body)] if body else []
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    assert wanted in done.stdout
    assert json.loads(done.stdout)


def test_the_root_lists_the_paths(cluster: Server, workspace: Server) -> None:
    for server in (cluster, workspace):
        paths = json.loads(server.kubectl()("get", "--raw", "/"))["paths"]
        assert paths == sorted(paths)
        assert {"/api", "/api/v1", "/apis", "/apis/apiextensions.k8s.io/v1", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3",
                "/readyz", "/version"} <= set(paths)  # fmt: skip


@pytest.mark.parametrize("text", ["list of returned", "List of services", "Watch for changes to the described resources"])
def test_openapi_says_what_parameters_are_for(cluster: Server, text: str) -> None:
    assert text in cluster.kubectl()("get", "--raw", "/openapi/v2")


@pytest.mark.parametrize("path", ["/api/v1", "/apis", "/api/v1/namespaces", "/api/v1/namespaces/default", "/api/v1/namespaces/nope"])
def test_answers_end_with_a_newline(cluster: Server, path: str) -> None:
    """The Python client's own tests compare whole texts. Source: runtime/serializer/json/json.go (doEncode)."""
    held = cluster.credentials()
    words = ["curl", "-sS", "-A", "a-program", "--cacert", held["ca"], "--cert", held["cert"], "--key", held["key"], held["server"] + path]
    done = subprocess.run(words, capture_output=True, timeout=30, check=True)
    assert done.stdout.endswith(b"}\n")
    assert done.stdout.count(b"\n") == 1


TWO_CONTAINERS = """
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  initContainers: [{name: first, image: x}]
  containers: [{name: a, image: x}, {name: b, image: x}]
"""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("logs two -c nope", "container nope is not valid for pod two"),
        ("logs two -c a --previous", 'previous terminated container "a" in pod "two" not found'),
        ("get --raw /api/v1/namespaces/NS/pods/two/log",
         "a container name must be specified for pod two, choose one of: [a b] or one of the init containers: [first]"),
        ("exec two -c a -- nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ("exec two -c nope -- date", "container nope is not valid for pod two"),
        ("exec nope -- date", 'pods "nope" not found'),
        ("exec configmap/kube-root-ca.crt -- date", "not implemented"),
        ("exec deployment/nope -- date", 'deployments.apps "nope" not found'),
        ("top pods", "Metrics API not available"),
        ("create token nope", 'serviceaccounts "nope" not found'),
        ("debug node/nope --image=x", 'nodes "nope" not found'),
        ("run two --image=x --dry-run=server", 'pods "two" already exists'),
        ("get pods --field-selector nope=x", "field label not supported: nope"),
        ("get pod two --subresource=scale", "the server could not find the requested resource"),
        ("wait pods -l no=no --for=condition=Ready", "no matching resources found"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(web: Kubectl, words: str, told: str) -> None:
    if web.run("get", "pod", "two", check=False).returncode:
        web("create", "-f", "-", stdin=TWO_CONTAINERS)
        web("wait", "--for=condition=Ready", "pod/two", "--timeout=10s")
    done = web.run(*words.replace("NS", web.flags[1]).split(), check=False)
    assert done.returncode == 1
    assert told in done.stderr


def test_a_schedule_that_names_no_time_is_told_in_an_event(web: Kubectl) -> None:
    web("create", "cronjob", "never", "--image=x", "--schedule=59 23 31 2 *")
    eventually(lambda: "InvalidSchedule" in web("events", "--for=CronJob/never", "--types=Warning"), timeout_s=5, what=lambda: "the event")
    assert "No events found" in web.run("events", "--for=CronJob/never", "--types=Normal").stderr


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("v1/Pod", "spec.containers: Required value"),
        ("apps/v1/Deployment", "spec.selector: Required value"),
        ("apps/v1/DaemonSet", "spec.selector: Required value"),
        ("v1/Service", "spec.ports: Required value"),
        ("batch/v1/CronJob", "spec.schedule: Required value"),
        ("autoscaling/v2/HorizontalPodAutoscaler", "spec.maxReplicas: Required value"),
        ("storage.k8s.io/v1/VolumeAttachment", "spec.attacher: Required value"),
    ],
)
def test_an_object_without_a_spec_lacks_what_the_spec_needs(web: Kubectl, kind: str, told: str) -> None:
    version, _, kind = kind.rpartition("/")
    made = {"apiVersion": version, "kind": kind, "metadata": {"name": "empty"}}
    done = web.run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(made), check=False)
    assert done.returncode == 1
    assert told in done.stderr
