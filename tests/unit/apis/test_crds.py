"""Defaults and rules of CustomResourceDefinitions, and the real ones of other projects."""

from __future__ import annotations

import base64
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
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
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
    assert paths == [  # what all versions have alike is the CRD's own to upstream
        "spec.validation.openAPIV3Schema.properties[spec].type", "spec.subresources.scale.specReplicasPath",
        "spec.additionalPrinterColumns[0].type", "spec.additionalPrinterColumns[0].JSONPath",
    ]  # fmt: skip
    other = {**version, "name": "v2", "storage": False, "additionalPrinterColumns": [], "subresources": {}}
    paths = [fault.partition(": ")[0] for fault in faults(crd(versions=[version, other]))]
    assert paths == [
        "spec.versions[0].subresources.scale.specReplicasPath", "spec.versions[0].additionalPrinterColumns[0].type",
        "spec.versions[0].additionalPrinterColumns[0].JSONPath", "spec.validation.openAPIV3Schema.properties[spec].type",
    ]  # fmt: skip


def one_version(**parts: Any) -> JSONObject:
    spec = {"type": "object", "properties": {"a": {"type": "string"}, "list": {"type": "array", "items": {"type": "string"}}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    return crd(versions=[{"name": "v1", "served": True, "storage": True, "schema": schema, **parts}])


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ({"deprecationWarning": "old"}, 'spec.versions[0].deprecationWarning: Invalid value: "old": can only be set for deprecated versions'),
        ({"deprecated": True, "deprecationWarning": ""}, 'spec.versions[0].deprecationWarning: Invalid value: "": must not be an empty string'),
        (
            {"deprecated": True, "deprecationWarning": "a\nb"},
            'spec.versions[0].deprecationWarning: Invalid value: "a\\nb": must only contain printable UTF-8 characters; non-printable character '
            "found at index 1",
        ),
        (
            {"additionalPrinterColumns": [{"name": "", "type": "text", "format": "odd", "jsonPath": ".a"}]},
            "spec.additionalPrinterColumns[0].name: Required value",
        ),
        (
            {"additionalPrinterColumns": [{"name": "A", "type": "text", "jsonPath": ".a"}]},
            'spec.additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,number,string',
        ),
        (
            {"subresources": {"scale": {"specReplicasPath": "spec.a", "statusReplicasPath": ".spec.a", "labelSelectorPath": ".metadata.x"}}},
            'spec.subresources.scale.labelSelectorPath: Invalid value: ".metadata.x": should be a json path under either .spec or .status',
        ),
        ({"selectableFields": [{"jsonPath": ".spec.b"}]}, 'spec.selectableFields[0].jsonPath: Invalid value: ".spec.b": is an invalid path: does not refer to a valid field'),
        ({"selectableFields": [{"jsonPath": ".spec.list[0]"}]}, 'spec.selectableFields[0].jsonPath: Invalid value: ".spec.list[0]": is an invalid path: array notation is not allowed'),
        (
            {"selectableFields": [{"jsonPath": ".spec.list"}]},
            'spec.selectableFields[0].jsonPath: Invalid value: ".spec.list": must point to a field of type string, boolean or integer. '
            "Enum string fields and strings with formats are allowed.",
        ),
        ({"selectableFields": [{"jsonPath": ".spec.a"}] * 2}, 'spec.selectableFields[1].jsonPath: Duplicate value: ".spec.a"'),
    ],
)  # fmt: skip
def test_a_fault_of_a_version_is_told_in_upstreams_words(parts: dict[str, Any], fault: str) -> None:
    assert fault in faults(one_version(**parts))


_HOOK = "spec.conversion.webhookClientConfig"


@pytest.mark.parametrize(
    ("conversion", "told"),
    [
        ({"strategy": "Odd"}, ['spec.conversion.strategy: Unsupported value: "Odd": supported values: "None", "Webhook"']),
        (
            {"strategy": "Webhook"},
            [
                f"{_HOOK}: Required value: required when strategy is set to Webhook",
                "spec.conversion.conversionReviewVersions: Required value",
            ],
        ),
        (
            {"strategy": "Webhook", "webhook": {"clientConfig": {}, "conversionReviewVersions": ["v2", "v2"]}},
            [
                f"{_HOOK}: Required value: exactly one of url or service is required",
                'spec.conversion.conversionReviewVersions[1]: Invalid value: "v2": duplicate version',
                'spec.conversion.conversionReviewVersions: Invalid value: ["v2","v2"]: must include at least one of v1, v1beta1',
            ],
        ),
        (
            {
                "strategy": "Webhook",
                "webhook": {"clientConfig": {"service": {"name": "a", "path": "b"}}, "conversionReviewVersions": ["v1"]},
            },
            [
                f"{_HOOK}.service.namespace: Required value: service namespace is required",
                f"{_HOOK}.service.path: Invalid value: \"b\": must start with a '/'",
            ],
        ),
        (
            {"strategy": "None", "webhook": {"clientConfig": {"url": "https://a"}, "conversionReviewVersions": ["v1"]}},
            [
                f"{_HOOK}: Forbidden: should not be set when strategy is not set to Webhook",
                "spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook",
            ],
        ),
    ],
)
def test_every_fault_of_a_conversion_is_told(conversion: dict[str, Any], told: list[str]) -> None:
    assert faults(crd(conversion=conversion)) == told


def test_authorities_are_held_to_their_form_once_established() -> None:
    def converting(bundle: str) -> JSONObject:
        webhook = {"clientConfig": {"url": "https://a", "caBundle": bundle}, "conversionReviewVersions": ["v1"]}
        return crd(conversion={"strategy": "Webhook", "webhook": webhook})

    good, bad = (base64.b64encode(text).decode() for text in (b"-----BEGIN CERTIFICATE-----", b"x"))
    established = {"status": {"conditions": [{"type": "Established", "status": "True"}]}}
    assert faults(converting(bad)) == []
    (fault,) = faults(converting(bad), converting(good) | established)
    assert fault.endswith("unable to load root certificates: unable to parse bytes as PEM block")
    assert faults(converting(bad), converting(bad) | established) == []


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
