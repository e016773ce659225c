"""APIResourceImports: what one physical cluster offers, written by its syncer into the workspace of its SyncTarget.

Before: `tmc.syncer.importer`, `syncedresources`, `negotiation`. After: nothing.
Source: kcp release-0.11 pkg/apis/apiresource/v1alpha1, pkg/syncer/apiimporter.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject

IMPORTS = GVR("apiresource.kcp.io", "v1alpha1", "apiresourceimports")
NEGOTIATED = GVR("apiresource.kcp.io", "v1alpha1", "negotiatedapiresources")
API_VERSION_ANNOTATION = "apiresource.kcp.io/apiVersion"
BY_LOCATION = "tmc-location"
"""Index of imports: the SyncTarget that they are of."""
COMPATIBLE, AVAILABLE = "Compatible", "Available"
PUBLISHED = "Published"
"""Of NegotiatedAPIResources: an export of the workspace offers it."""


def import_name(gvr: GVR, target: str) -> str:
    """
    >>> import_name(GVR("apps", "v1", "deployments"), "east")
    'deployments.east.v1.apps'
    """
    return f"{gvr.resource}.{target}.{gvr.version}.{gvr.group or 'core'}"


def negotiated_name(gvr: GVR) -> str:
    """
    >>> negotiated_name(GVR("", "v1", "services"))
    'services.v1.core'
    """
    return f"{gvr.resource}.{gvr.version}.{gvr.group or 'core'}"


def gvr_of(obj: Mapping[str, Any]) -> GVR:
    """The API that an import, or what was negotiated of several, is about."""
    spec = obj.get("spec") or {}
    named = spec.get("groupVersion") or {}
    return GVR(named.get("group") or "", named.get("version") or "", spec.get("plural") or "")


def schema_of(obj: Mapping[str, Any]) -> JSONObject:
    schema: JSONObject = (obj.get("spec") or {}).get("openAPIV3Schema") or {}
    return schema


def index_by_location(obj: Mapping[str, Any]) -> Iterable[str]:
    return [str(located(meta.cluster(obj), str((obj.get("spec") or {}).get("location") or "")))]


def located(cluster: ClusterName, target: str) -> ObjectKey:
    """The SyncTarget of an import."""
    return ObjectKey(cluster, "", target)
