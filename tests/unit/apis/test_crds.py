"""Defaults and rules of CustomResourceDefinitions, and the real ones of other projects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apis.kubernetes import crds

REAL = sorted(Path(__file__).parents[4].glob("shared/data/crds/*/*.yaml"))


def crd(**spec: Any) -> JSONObject:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}],
            **spec,
        },
    }


def faults(new: JSONObject, old: JSONObject | None = None) -> list[str]:
    new = copy_json(new)
    crds.default(new)
    return [str(cause) for cause in crds.validate(new, old)]


def test_defaults_complete_names_and_stored_versions() -> None:
    made = crd()
    crds.default(made)
    assert made["spec"]["names"] == {"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"}
    assert made["spec"]["conversion"] == {"strategy": "None"}
    assert made["status"]["storedVersions"] == ["v1"]
    again = copy_json(made)
    crds.default(again)
    assert again == made


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({"group": "example.org"}, 'metadata.name: Invalid value: "widgets.example.com": must be spec.names.plural+"."+spec.group'),
        ({"scope": "World"}, 'spec.scope: Unsupported value: "World": supported values: "Cluster", "Namespaced"'),
        ({"versions": []}, "spec.versions: Invalid value: []: must have exactly one version marked as storage version"),
        (
            {"versions": [{"name": "v1", "served": True, "storage": True}]},
            "spec.validation.openAPIV3Schema: Required value: schemas are required",
        ),
    ],
)
def test_faults(spec: JSONObject, fault: str) -> None:
    assert faults(crd(**spec)) == [fault]


def test_every_broken_rule_of_a_version_is_told() -> None:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"properties": {}}}}},
        "subresources": {"scale": {"specReplicasPath": ".status.replicas", "statusReplicasPath": ".status.replicas"}},
        "additionalPrinterColumns": [{"name": "A", "type": "text", "jsonPath": "spec.a"}],
    }
    paths = [fault.partition(": ")[0] for fault in faults(crd(versions=[version]))]
    assert "spec.versions[0].subresources.scale.specReplicasPath" in paths
    assert "spec.versions[0].additionalPrinterColumns[0].type" in paths
    assert "spec.versions[0].additionalPrinterColumns[0].jsonPath" in paths
    assert any(path.startswith("spec.validation.openAPIV3Schema.properties[spec]") for path in paths)


def test_groups_of_kubernetes_need_approval() -> None:
    protected = crd(group="gateway.networking.k8s.io")
    protected["metadata"]["name"] = "widgets.gateway.networking.k8s.io"
    (fault,) = faults(protected)
    assert fault.startswith("metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval")
    protected["metadata"]["annotations"] = {crds.APPROVED: "https://github.com/kubernetes-sigs/gateway-api/pull/1"}
    assert faults(protected) == []


def test_scope_and_kind_are_fixed_once_established() -> None:
    old = crd() | {"status": {"conditions": [{"type": "Established", "status": "True"}]}}
    assert faults(crd(scope="Cluster"), old) == ['spec.scope: Invalid value: "Cluster": field is immutable']
    assert faults(crd(scope="Cluster"), crd()) == []


def test_a_stored_version_may_not_be_dropped() -> None:
    new = crd() | {"status": {"storedVersions": ["v1alpha1"]}}
    (fault,) = faults(new)
    assert fault.startswith('status.storedVersions[0]: Invalid value: "v1alpha1": missing from spec.versions; v1alpha1 was previously')


@pytest.mark.skipif(not REAL, reason="the CRDs of other projects are not on this machine (../shared/data/crds)")
@pytest.mark.parametrize("path", [p for p in REAL if p.stat().st_size < 60_000], ids=lambda p: p.stem)
def test_real_crd_is_accepted(path: Path) -> None:
    for document in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader):
        if document and document.get("kind") == "CustomResourceDefinition":
            assert faults({k: v for k, v in document.items() if k != "status"}) == []
