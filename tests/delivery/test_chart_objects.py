"""Every object that the charts make, in every combination that the documents name, is what Kubernetes takes; Pods meet level `restricted`.

Objects of Kubernetes are held against its own schemas (kubernetes-validate, unknown fields refused), those of Prometheus Operator and
cert-manager against their CustomResourceDefinitions.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from tests.delivery.charts import CRDS, LOADER, ROOT, objects, one
from tests.delivery.combinations import COMBINATIONS, values_of

from kcp.apimachinery.meta import JSONObject

pytestmark = pytest.mark.e2e
KUBERNETES = "1.36"
FOREIGN = {"monitoring.coreos.com": "prometheus-operator", "cert-manager.io": "cert-manager"}


@pytest.mark.parametrize("name", sorted(COMBINATIONS))
def test_objects_are_valid(name: str) -> None:
    for obj in objects(*values_of(name)):
        group = obj["apiVersion"].partition("/")[0]
        if group in FOREIGN:
            check_foreign(obj, FOREIGN[group])
        else:
            _check(json.dumps(obj, sort_keys=True))


@cache
def _check(text: str) -> None:
    """One object is looked at once, in however many combinations it is: that takes 0.1 s."""
    kubernetes_validate.validate(json.loads(text), KUBERNETES, strict=True)


def check_foreign(obj: JSONObject, project: str) -> None:
    if not CRDS.is_dir():
        pytest.skip("needs the CustomResourceDefinitions of ../shared/data/crds")
    jsonschema.Draft202012Validator(_crd_schema(project, obj["apiVersion"], obj["kind"])).validate(obj)


@cache
def _crd_schema(project: str, api_version: str, kind: str) -> Any:
    for file in (CRDS / project).glob("*.yaml"):
        spec = yaml.load(file.read_text(), Loader=LOADER)["spec"]
        if spec["names"]["kind"] == kind and api_version.startswith(f"{spec['group']}/"):
            (version,) = [v for v in spec["versions"] if f"{spec['group']}/{v['name']}" == api_version]
            schema = _closed(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            return schema
    raise AssertionError(f"no definition of {kind} in {api_version}")


def _closed(schema: Any) -> Any:
    """The schema with unknown fields refused, which an API server drops instead."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _closed(part) for key, part in schema.items()}
    if (
        isinstance(found.get("properties"), dict)
        and found.get("type") == "object"
        and not found.get("x-kubernetes-preserve-unknown-fields")
    ):
        found.setdefault("additionalProperties", False)
    if "(?i)" in str(found.get("pattern", "")):
        del found["pattern"]  # Go's way to write it, which Python's regular expressions do not know
    if found.get("x-kubernetes-int-or-string"):
        found.pop("anyOf", None)
        found["type"] = ["integer", "string"]
    return found


@pytest.mark.parametrize("name", sorted(COMBINATIONS))
def test_pods_ask_for_nothing_that_level_restricted_forbids(name: str) -> None:
    """Source: pod-security-standards, level restricted, which stands where PodSecurityPolicy was."""
    for obj in objects(*values_of(name)):
        spec = _pod_spec(obj)
        if spec is None:
            continue
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            told = container["securityContext"]
            assert (told["runAsNonRoot"], told["allowPrivilegeEscalation"], told["readOnlyRootFilesystem"]) == (True, False, True)
            assert told["capabilities"] == {"drop": ["ALL"]}
            assert told["seccompProfile"] == {"type": "RuntimeDefault"}
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}
        kinds = {next(key for key in volume if key != "name") for volume in spec.get("volumes", ())}
        assert kinds <= {"configMap", "emptyDir", "projected", "secret", "downwardAPI", "persistentVolumeClaim"}


def _pod_spec(obj: JSONObject) -> JSONObject | None:
    spec: JSONObject | None = obj.get("spec")
    if obj["kind"] == "Pod":
        return spec
    if obj["kind"] == "CronJob" and spec is not None:
        spec = spec["jobTemplate"]["spec"]
    return None if spec is None or "template" not in spec else spec["template"]["spec"]


def test_the_server_gets_no_right_and_no_token_of_its_cluster() -> None:
    found = objects("kcp-tmc")
    assert not [o for o in found if o["kind"].startswith("Cluster")]
    assert one(found, "Role")["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["kcp-tmc-admin"], "verbs": ["get"]}
    ]
    assert one(found, "ServiceAccount")["automountServiceAccountToken"] is False


def test_a_syncer_s_rights_name_every_resource() -> None:
    role = one(objects("kcp-syncer"), "ClusterRole")
    assert not [rule for rule in role["rules"] if "*" in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]]


def test_servers_of_several_zones_are_where_the_production_plan_wants_them() -> None:
    found = objects(*values_of("several zones"))
    pod = one(found, "Deployment")["spec"]["template"]
    assert pod["metadata"]["labels"]["app"] == "kcp-server"
    affinity = pod["spec"]["affinity"]
    (term,) = affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "topology.kubernetes.io/zone"
    (node,) = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert node["matchExpressions"][0]["values"] == ["us-west-2a", "us-west-2b", "us-west-2c"]
    etcd = one(found, "StatefulSet")["spec"]
    assert etcd["replicas"] == 3
    assert "requiredDuringSchedulingIgnoredDuringExecution" in etcd["template"]["spec"]["affinity"]["podAntiAffinity"]
    assert {o["metadata"]["name"]: o["spec"]["minAvailable"] for o in found if o["kind"] == "PodDisruptionBudget"} == {
        "kcp-tmc": 1, "kcp-tmc-etcd": 2,
    }  # fmt: skip


def test_several_servers_go_apart_without_being_told() -> None:
    pod = one(objects("kcp-tmc", {"replicaCount": 3}), "Deployment")["spec"]["template"]["spec"]
    apart = pod["affinity"]["podAntiAffinity"]
    assert apart["requiredDuringSchedulingIgnoredDuringExecution"][0]["topologyKey"] == "kubernetes.io/hostname"
    assert apart["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]["topologyKey"] == "topology.kubernetes.io/zone"


def test_certificates_have_the_names_and_usages_of_the_production_plan() -> None:
    found = objects(*values_of("certificates"))
    server, client, etcd = (one(found, "Certificate", f"kcp-tmc-{name}")["spec"] for name in ("server", "syncer-client", "etcd"))
    assert server["commonName"] == "kcp.your-domain.com"
    assert {"kcp.your-domain.com", "kcp-internal.kcp-system.svc.cluster.local"} <= set(server["dnsNames"])
    assert server["usages"] == ["digital signature", "key encipherment", "server auth"]
    assert (client["commonName"], client["usages"][-1]) == ("syncer-client", "client auth")
    assert etcd["commonName"] == "etcd-server"
    assert "etcd.kcp-system.svc.cluster.local" in etcd["dnsNames"]
    assert etcd["usages"][2:] == ["server auth", "client auth"]


def test_an_alert_of_one_s_own_stands_beside_those_that_are_shipped() -> None:
    groups = one(objects(*values_of("monitoring")), "PrometheusRule")["spec"]["groups"]
    assert [g["name"] for g in groups].count("tmc-alerts") == 1
    (mine,) = [g for g in groups if g["name"] == "tmc-alerts"]
    assert [rule["alert"] for rule in mine["rules"]] == ["TMCComponentDown", "SyncerHighErrorRate"]


def test_every_rule_of_monitoring_is_shipped() -> None:
    """By a symbolic link, which Helm follows: there is no second copy."""
    files = (ROOT / "monitoring" / "prometheus" / "rules").glob("*.yaml")
    wanted = {group["name"] for file in files for group in yaml.safe_load(file.read_text())["groups"]}
    rule = one(objects("kcp-tmc", {"monitoring": {"prometheus": {"assumeOperator": True}}}), "PrometheusRule")
    assert {group["name"] for group in rule["spec"]["groups"]} == wanted
    assert wanted


@pytest.mark.parametrize("chart", ["kcp-tmc", "kcp-syncer"])
def test_helm_finds_no_fault(chart: str) -> None:
    from tests.delivery.charts import CHARTS, engine

    found = engine().lint(CHARTS / chart, strict=True)
    assert found["errors"] == []
    assert [m for m in found["messages"] if m["severity"] > 1] == []
