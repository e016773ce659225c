"""The schemas of the compute export: structural, complete, cheap, and native when bound."""

from __future__ import annotations

from typing import Any

import orjson

from kcp.apimachinery.schema.structural import structural_violations
from kcp.apis.kubernetes.compute import NATIVE, compute_schemas
from kcp.apis.kubernetes.crds import approval_faults
from kcp.apis.kubernetes.kinds import COMPUTE_KINDS

SCHEMAS = {schema["metadata"]["name"]: schema for schema in compute_schemas()}


def test_names_carry_version_plural_and_group() -> None:
    assert {"v136.deployments.apps", "v136.services.core", "v136.pods.core", "v136.ingresses.networking.k8s.io"} < SCHEMAS.keys()
    assert len(SCHEMAS) == len(COMPUTE_KINDS)


def test_every_schema_is_structural_and_whole() -> None:
    for name, schema in SCHEMAS.items():
        (version,) = schema["spec"]["versions"]
        assert structural_violations(version["schema"]) == [], name
        assert b"$ref" not in orjson.dumps(schema), name
        assert schema["metadata"]["annotations"][NATIVE] == "v1.36"
        assert list(approval_faults(schema, schema["spec"]["group"])) == []


def test_merge_and_list_keys_are_kept() -> None:
    found: dict[str, Any] = SCHEMAS["v136.deployments.apps"]["spec"]["versions"][0]["schema"]
    for field in ("spec", "template", "spec", "containers"):
        found = found["properties"][field]
    assert found["x-kubernetes-list-type"] == "map"
    assert found["x-kubernetes-list-map-keys"] == ["name"]
    assert found["x-kubernetes-patch-merge-key"] == "name"
    ports = found["items"]["properties"]["ports"]
    assert ports["items"]["properties"]["protocol"]["default"] == "TCP"


def test_all_schemas_together_stay_small() -> None:
    assert sum(len(orjson.dumps(schema)) for schema in SCHEMAS.values()) < 700_000


def test_deployment_has_status_and_scale() -> None:
    (version,) = SCHEMAS["v136.deployments.apps"]["spec"]["versions"]
    assert version["subresources"] == {
        "status": {},
        "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
    }
