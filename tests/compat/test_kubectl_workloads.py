"""kubectl runs workloads on a simulated cluster: rollout, scale, autoscale, set, expose, wait, drain, taint, certificates, events."""

from __future__ import annotations

import base64
import json
import shutil

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.compat.servers import WORKLOAD, Server
from tests.e2e.processes import Kubectl, Process, eventually

pytestmark = pytest.mark.e2e

KUBECTL = shutil.which("kubectl") or "kubectl"
IMAGE = "jsonpath={.spec.template.spec.containers[0].image}"


@pytest.fixture
def web(kubectl: Kubectl) -> Kubectl:
    """kubectl in a namespace where a Deployment is rolled out."""
    kubectl("apply", "-f", "-", stdin=WORKLOAD)
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    return kubectl


# --- rollout


def test_rollout_history_undo_and_status(web: Kubectl) -> None:
    assert web("set", "image", "deployment/web", "web=nginx:1.26") == "deployment.apps/web image updated"
    web("annotate", "deployment/web", "kubernetes.io/change-cause=to 1.26")
    assert web("rollout", "status", "deployment/web", "--timeout=20s").endswith('deployment "web" successfully rolled out')
    history = [line.split(maxsplit=1) for line in web("rollout", "history", "deployment/web").splitlines()[2:]]
    assert history == [["1", "<none>"], ["2", "to 1.26"]]
    assert "Image:\tnginx:1.25" in web("rollout", "history", "deployment/web", "--revision=1")
    assert web("rollout", "undo", "deployment/web") == "deployment.apps/web rolled back"
    assert web("get", "deployment", "web", "-o", IMAGE) == "nginx:1.25"
    web("rollout", "status", "deployment/web", "--timeout=20s")
    assert [line.split()[0] for line in web("rollout", "history", "deployment/web").splitlines()[2:]] == ["2", "3"]
    assert web("rollout", "undo", "deployment/web", "--to-revision=2") == "deployment.apps/web rolled back"
    assert web("get", "deployment", "web", "-o", IMAGE) == "nginx:1.26"
    assert "unable to find specified revision 9" in web.run("rollout", "undo", "deployment/web", "--to-revision=9", check=False).stderr


def test_rollout_restart_pause_and_resume(web: Kubectl) -> None:
    before = set(web("get", "pods", "-o", "name").split())
    assert web("rollout", "restart", "deployment/web") == "deployment.apps/web restarted"
    web("rollout", "status", "deployment/web", "--timeout=20s")
    assert before.isdisjoint(web("get", "pods", "-o", "name").split())
    assert web("rollout", "pause", "deployment/web") == "deployment.apps/web paused"
    web("set", "image", "deployment/web", "web=nginx:1.26")
    generation = web("get", "deployment/web", "-o", "jsonpath={.metadata.generation}")
    web("wait", f"--for=jsonpath={{.status.observedGeneration}}={generation}", "deployment/web", "--timeout=10s")
    assert web("get", "rs", "-o", "jsonpath={.items[*].spec.template.spec.containers[0].image}").count("1.26") == 0
    assert "can't restart paused deployment" in web.run("rollout", "restart", "deployment/web", check=False).stderr
    assert web("rollout", "resume", "deployment/web") == "deployment.apps/web resumed"
    web("rollout", "status", "deployment/web", "--timeout=20s")
    assert web("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}") == "nginx:1.26 nginx:1.26"


@pytest.mark.parametrize("kind", ["DaemonSet", "StatefulSet"])
def test_rollout_of_other_kinds(kubectl: Kubectl, kind: str) -> None:
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}
    spec = {"selector": {"matchLabels": {"app": "x"}}, "template": template}
    more = {"serviceName": "x", "replicas": 2} if kind == "StatefulSet" else {}
    made = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec | more}
    kubectl("apply", "-f", "-", stdin=json.dumps(made))
    name = f"{kind.lower()}/x"
    kubectl("rollout", "status", name, "--timeout=20s")
    kubectl("set", "image", name, "c=nginx:2")
    kubectl("rollout", "status", name, "--timeout=30s")
    assert [line.split()[0] for line in kubectl("rollout", "history", name).splitlines()[2:]] == ["1", "2"]
    assert kubectl("rollout", "undo", name).endswith("rolled back")
    kubectl("rollout", "status", name, "--timeout=30s")
    assert set(kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}").split()) == {"nginx:1"}


# --- scale, autoscale, set, expose


def test_scale(web: Kubectl) -> None:
    assert web("scale", "deployment/web", "--replicas=3") == "deployment.apps/web scaled"
    web("wait", "--for=jsonpath={.status.readyReplicas}=3", "deployment/web", "--timeout=10s")
    assert (
        "Expected replicas to be 5, was 3" in web.run("scale", "deployment/web", "--current-replicas=5", "--replicas=1", check=False).stderr
    )
    assert web("scale", "deployment/web", "--current-replicas=3", "--replicas=0") == "deployment.apps/web scaled"
    web("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=10s")


def test_autoscale(web: Kubectl) -> None:
    assert (
        web("autoscale", "deployment/web", "--min=2", "--max=5", "--cpu-percent=80") == "horizontalpodautoscaler.autoscaling/web autoscaled"
    )
    (row,) = web("get", "hpa", "--no-headers").splitlines()
    assert row.split()[:2] == ["web", "Deployment/web"]
    assert "/80%" in row
    held = web.json("get", "horizontalpodautoscalers.v2.autoscaling", "web")["spec"]
    assert held["metrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    ]
    assert web.json("get", "horizontalpodautoscalers.v1.autoscaling", "web")["spec"]["targetCPUUtilizationPercentage"] == 80
    assert "Metrics:" in web("describe", "hpa", "web")
    assert web("patch", "horizontalpodautoscalers.v1.autoscaling", "web", "-p", '{"spec":{"maxReplicas":6}}').endswith("patched")
    assert web("get", "horizontalpodautoscalers.v2.autoscaling", "web", "-o", "jsonpath={.spec.maxReplicas}") == "6"


def test_set(web: Kubectl) -> None:
    assert web("set", "env", "deployment/web", "A=b", "C=d") == "deployment.apps/web env updated"
    assert web("set", "env", "deployment/web", "A-") == "deployment.apps/web env updated"
    assert web("set", "env", "deployment/web", "--list").splitlines() == ["# Deployment web, container web", "C=d"]
    assert web("set", "env", "deployment/web", "--from=configmap/settings") == "deployment.apps/web env updated"
    assert web("set", "resources", "deployment/web", "--limits=cpu=200m") == "deployment.apps/web resource requirements updated"
    web("create", "serviceaccount", "builder")
    assert web("set", "serviceaccount", "deployment/web", "builder") == "deployment.apps/web serviceaccount updated"
    assert web("set", "selector", "service/web", "app=other") == "service/web selector updated"
    web("create", "rolebinding", "rb", "--clusterrole=view", "--user=a")
    assert web("set", "subject", "rolebinding/rb", "--user=b") == "rolebinding.rbac.authorization.k8s.io/rb subjects updated"
    assert web("get", "rolebinding", "rb", "-o", "jsonpath={.subjects[*].name}") == "a b"
    assert 'deployments.apps "nope" not found' in web.run("set", "image", "deployment/nope", "a=b", check=False).stderr


def test_expose_and_run(web: Kubectl) -> None:
    assert web("expose", "deployment/web", "--name=front", "--port=8080", "--target-port=80", "--type=NodePort") == "service/front exposed"
    (port,) = web.json("get", "service", "front")["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (8080, 80)
    assert 30000 <= port["nodePort"] <= 32767
    assert web("run", "once", "--image=busybox", "--labels=a=b", "--restart=Never") == "pod/once created"
    assert web("expose", "pod", "once", "--port=1") == "service/once exposed"
    eventually(
        lambda: len(web.json("get", "endpoints", "front").get("subsets", [])) == 1, timeout_s=5, what=lambda: "endpoints of the service"
    )


# --- wait


def test_wait(web: Kubectl) -> None:
    assert web("wait", "--for=condition=Available", "deployment/web", "--timeout=5s") == "deployment.apps/web condition met"
    assert web("wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=5s").count("condition met") == 2
    assert web("wait", "--for=jsonpath={.status.phase}=Running", "pod", "-l", "app=web").count("condition met") == 2
    late = web.run("wait", "--for=condition=Nope", "deployment/web", "--timeout=1s", check=False)
    assert late.stderr == "error: timed out waiting for the condition on deployments/web\n"
    assert 'pods "nope" not found' in web.run("wait", "--for=condition=Ready", "pod/nope", "--timeout=1s", check=False).stderr
    assert web("wait", "--for=delete", "pod/nope", "--timeout=1s") == ""


def test_wait_for_what_comes_and_goes(web: Kubectl) -> None:
    def waiting(what: str) -> Process:
        words = [KUBECTL, *web.flags, "--kubeconfig", str(web.kubeconfig), "wait", f"--for={what}", "cm/late", "--timeout=20s"]
        return Process.start(words, cwd=web.cwd)

    for what, command in (("create", "create"), ("delete", "delete")):
        process = waiting(what)
        try:
            web(command, "configmap", "late")
            assert process.popen.wait(20) == 0, process.output
        finally:
            process.kill()


def test_jobs_run_to_their_end(kubectl: Kubectl) -> None:
    kubectl("create", "job", "once", "--image=busybox", "--", "true")
    assert kubectl("wait", "--for=condition=Complete", "job/once", "--timeout=20s") == "job.batch/once condition met"
    (row,) = kubectl("get", "jobs", "--no-headers").splitlines()
    assert row.split()[:3] == ["once", "Complete", "1/1"]
    assert kubectl("get", "pods", "-o", "jsonpath={.items[*].status.phase}") == "Succeeded"


# --- nodes


def test_cordon_drain_and_taint(cluster: Server, kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "spread", "--image=nginx", "--replicas=6")
    kubectl("rollout", "status", "deployment/spread", "--timeout=20s")
    assert kubectl("cordon", "east-node-2") == "node/east-node-2 cordoned"
    assert "Ready,SchedulingDisabled" in kubectl("get", "node", "east-node-2")
    kubectl("run", "bare", "--image=nginx", "--overrides", '{"spec":{"nodeName":"east-node-2"}}')
    kubectl("wait", "--for=condition=Ready", "pod/bare", "--timeout=10s")
    refused = kubectl.run("drain", "east-node-2", "--timeout=20s", check=False)
    assert "cannot delete cannot delete Pods that declare no controller" in refused.stderr
    drained = kubectl("drain", "east-node-2", "--force", "--ignore-daemonsets", "--timeout=20s")
    assert "pod/bare evicted" in drained
    assert drained.endswith("node/east-node-2 drained")
    kubectl("rollout", "status", "deployment/spread", "--timeout=20s")
    assert kubectl("get", "pods", "-o", "name", "--field-selector", "spec.nodeName=east-node-2") == ""
    assert kubectl("uncordon", "east-node-2") == "node/east-node-2 uncordoned"
    assert kubectl("taint", "node", "east-node-2", "k=v:NoSchedule") == "node/east-node-2 tainted"
    assert "already has k taint(s)" in kubectl.run("taint", "node", "east-node-2", "k=w:NoSchedule", check=False).stderr
    assert kubectl("taint", "node", "east-node-2", "k-") == "node/east-node-2 untainted"


def test_drain_honours_a_disruption_budget(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "held", "--image=nginx", "--replicas=1")
    kubectl("create", "poddisruptionbudget", "held", "--selector=app=held", "--min-available=1")
    kubectl("rollout", "status", "deployment/held", "--timeout=20s")
    kubectl("wait", "--for=jsonpath={.status.currentHealthy}=1", "pdb/held", "--timeout=10s")
    node = kubectl("get", "pods", "-o", "jsonpath={.items[0].spec.nodeName}")
    try:
        done = kubectl.run("drain", node, "--pod-selector=app=held", "--timeout=1s", check=False)
        assert done.returncode == 1
        assert "Cannot evict pod as it would violate the pod's disruption budget." in done.stderr
    finally:
        kubectl("uncordon", node)


# --- certificates, events


def certificate_request(name: str, key: ec.EllipticCurvePrivateKey, organization: str = "dev") -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)])
    pem = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    spec = {"request": base64.b64encode(pem).decode(), "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}
    return json.dumps(
        {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name}, "spec": spec}
    )


def test_certificates_are_approved_and_denied(kubectl: Kubectl) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    for name in ("jane", "mallory"):
        kubectl("create", "-f", "-", stdin=certificate_request(name, key))
    (row,) = kubectl("get", "csr", "jane", "--no-headers").splitlines()
    assert row.split()[2:] == ["kubernetes.io/kube-apiserver-client", "kubernetes-admin", "<none>", "Pending"]
    assert kubectl("certificate", "approve", "jane") == "certificatesigningrequest.certificates.k8s.io/jane approved"
    assert kubectl("certificate", "deny", "mallory") == "certificatesigningrequest.certificates.k8s.io/mallory denied"
    conditions = kubectl.json("get", "csr", "mallory")["status"]["conditions"]
    assert [(c["type"], c["status"]) for c in conditions] == [("Denied", "True")]
    assert conditions[0]["lastTransitionTime"]
    assert kubectl.run("certificate", "deny", "jane", check=False).returncode == 1
    kubectl("wait", "--for=jsonpath={.status.certificate}", "csr/jane", "--timeout=5s")
    assert kubectl("get", "csr", "jane", "--no-headers").endswith("Approved,Issued")
    masters = kubectl.run("create", "-f", "-", stdin=certificate_request("eve", key, "system:masters"), check=False).stderr
    assert "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed" in masters


def test_an_approved_certificate_is_who_it_says(cluster: Server, kubectl: Kubectl) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    kubectl("create", "-f", "-", stdin=certificate_request("kim", key))
    kubectl("certificate", "approve", "kim")
    kubectl("wait", "--for=jsonpath={.status.certificate}", "csr/kim", "--timeout=5s")
    key_pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    user = {
        "client-certificate-data": kubectl("get", "csr", "kim", "-o", "jsonpath={.status.certificate}"),
        "client-key-data": base64.b64encode(key_pem).decode(),
    }
    config = json.loads(kubectl("config", "view", "--raw", "-o", "json"))
    config["users"][0]["user"] = user
    kubeconfig = cluster.directory / "kim.kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    kim = Kubectl(kubeconfig, cluster.directory, kubectl.flags)
    assert kim.json("auth", "whoami")["status"]["userInfo"] == {"username": "kim", "groups": ["dev", "system:authenticated"]}
    assert 'User "kim" cannot list resource "pods"' in kim.run("get", "pods", check=False).stderr
    kubectl("create", "rolebinding", "kim", "--clusterrole=view", "--group=dev")
    assert kim("get", "pods", "-o", "name") == ""


EVENT = """
apiVersion: v1
kind: Event
metadata: {name: told}
involvedObject: {apiVersion: v1, kind: ConfigMap, name: kube-root-ca.crt, namespace: NAMESPACE, uid: UID}
reason: Told
message: something happened
type: Warning
count: 3
firstTimestamp: "2026-01-01T00:00:00Z"
lastTimestamp: "2026-01-01T00:00:00Z"
source: {component: a-test}
"""


def test_events_are_one_kind_in_two_groups(kubectl: Kubectl) -> None:
    namespace = kubectl.flags[1]
    uid = kubectl("get", "cm", "kube-root-ca.crt", "-o", "jsonpath={.metadata.uid}")
    kubectl("create", "-f", "-", stdin=EVENT.replace("NAMESPACE", namespace).replace("UID", uid))
    assert "Warning" in kubectl("get", "events", "--field-selector", "reason=Told")
    listed = kubectl("events", "--for", "cm/kube-root-ca.crt")
    assert "something happened" in listed
    assert "(x3 over" in listed
    assert "something happened" in kubectl("describe", "cm", "kube-root-ca.crt")
    seen = kubectl.json("get", "events.v1.events.k8s.io", "told")
    assert (seen["note"], seen["regarding"]["name"], seen["deprecatedCount"]) == ("something happened", "kube-root-ca.crt", 3)
    assert (
        kubectl("get", "events.v1.events.k8s.io", "--field-selector", "reason=Told,type=Warning", "-o", "name")
        == "event.events.k8s.io/told"
    )
