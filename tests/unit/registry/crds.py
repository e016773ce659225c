"""CRDs for tests."""

from __future__ import annotations

from typing import Any

from kcp.apimachinery.meta import JSONObject

NOW = "2026-01-01T00:00:00Z"
_TEXT = {"type": "string"}


def crd(plural: str, kind: str, *, group: str = "example.com", versions: tuple[str, ...] = ("v1",), **names: Any) -> JSONObject:
    """The last version is the stored one."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "uid": f"uid-{plural}", "generation": 1},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List", **names},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == versions[-1],
                    "schema": {
                        "openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {"color": _TEXT}}}}
                    },
                    "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}},
                    "selectableFields": [{"jsonPath": ".spec.color"}],
                    "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}],
                }
                for version in versions
            ],
        },
    }


def established(plural: str, kind: str, **more: Any) -> JSONObject:
    made = crd(plural, kind, **more)
    made["status"] = {
        "acceptedNames": made["spec"]["names"],
        "conditions": [{"type": "Established", "status": "True"}, {"type": "NamesAccepted", "status": "True"}],
    }
    return made
