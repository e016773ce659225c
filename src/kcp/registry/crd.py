"""Resources made of CustomResourceDefinitions and APIResourceSchemas, and the source that serves each cluster's own CRDs.

Before: `catalog` (as a source), `exports.source` (bound schemas). After: `schemas`, `builtin` (behaviour of bound Kubernetes kinds).
Source: k8s.io/apiextensions-apiserver/pkg/apiserver/customresource_handler.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVK, GVR, GroupResource
from kcp.apimachinery.keys import WILDCARD, ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.table import columns_from_crd
from kcp.apimachinery.versions import version_rank
from kcp.apis.kubernetes.compute import NATIVE
from kcp.registry import strategy
from kcp.registry.builtin import builtin_columns, builtin_resource, storage_hash, strategy_for
from kcp.registry.resource import ALL_VERBS, Origin, Resource, Scale
from kcp.registry.schemas import hold
from kcp.storage.keyspace import resource_prefix

CUSTOM_RESOURCES = "customresources"
_READ_VERBS = ("get", "list", "watch")


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a CRD and an APIResourceSchema have in common."""

    group: str
    names: Mapping[str, Any]
    namespaced: bool
    storage_version: str
    accepted: Mapping[str, Any]
    """The names that may be used: a CRD's accepted ones."""
    stored_versions: int = 1
    undeprecated: tuple[str, ...] = ()
    """Served versions that a user of a deprecated one may be told of."""


def resources_from_crd(crd: JSONObject, *, origin: Origin = Origin.CRD, source: str = CUSTOM_RESOURCES) -> Iterator[Resource]:
    """One resource per served version; none before the CRD is established.

    Args: source third part of the storage prefix, see `storage.keyspace.resource_prefix`.
    """
    if not conditions.is_true(crd, "Established"):
        return
    for version in meta.nested(crd, "spec", "versions", default=()):
        if version.get("served"):
            yield resource_from_crd(crd, version["name"], origin=origin, source=source)


def resource_from_crd(crd: JSONObject, version: str, *, origin: Origin = Origin.CRD, source: str = CUSTOM_RESOURCES) -> Resource:
    """The resource of one version, established or not. Raises KeyError for a version that the CRD does not have."""
    spec = crd["spec"]
    found = _version(spec["versions"], version)
    accepted = meta.nested(crd, "status", "acceptedNames", default=spec["names"])
    held = len(meta.nested(crd, "status", "storedVersions", default=()))
    parts = _Parts(
        spec["group"],
        spec["names"],
        spec.get("scope") == "Namespaced",
        _stored(spec["versions"]),
        accepted,
        held,
        _undeprecated(spec["versions"]),
    )
    schema = meta.nested(found, "schema", "openAPIV3Schema", default={})
    return _resource(parts, found, schema, prefix=resource_prefix(_gr(parts), source=source), origin=origin)


def resources_from_schema(schema: JSONObject, identity: str) -> Iterator[Resource]:
    """One resource per served version of an APIResourceSchema, bound under an export's identity."""
    for version in meta.nested(schema, "spec", "versions", default=()):
        if version.get("served"):
            yield resource_from_schema(schema, version["name"], identity)


def resource_from_schema(schema: JSONObject, version: str, identity: str, *, origin: Origin = Origin.BOUND) -> Resource:
    """Raises KeyError for a version that the schema does not have."""
    spec = schema["spec"]
    found = _version(spec["versions"], version)
    group = "" if spec.get("group") == "core" else spec.get("group", "")
    parts = _Parts(group, spec["names"], spec.get("scope") == "Namespaced", _stored(spec["versions"]), spec["names"])
    prefix = resource_prefix(_gr(parts), source=identity)
    if meta.annotations(schema).get(NATIVE) and (native := builtin_resource(GVK(group, version, spec["names"]["kind"]))) is not None:
        return replace(native, origin=origin, storage_prefix=prefix, identity=identity, subresources=frozenset())
    return _resource(parts, found, found.get("schema") or {}, prefix=prefix, origin=origin, identity=identity)


def _gr(parts: _Parts) -> GroupResource:
    return GroupResource(parts.group, parts.names["plural"])


def _version(versions: Iterable[JSONObject], name: str) -> JSONObject:
    for version in versions:
        if version.get("name") == name:
            return version
    raise KeyError(name)


def _stored(versions: Iterable[JSONObject]) -> str:
    return next((v["name"] for v in versions if v.get("storage")), "")


def _resource(parts: _Parts, version: JSONObject, openapi: JSONObject, *, prefix: bytes, origin: Origin, identity: str = "") -> Resource:
    names, accepted = parts.names, parts.accepted
    gvk = GVK(parts.group, version["name"], names["kind"])
    kubernetes = strategy_for(gvk) if origin is Origin.BOUND else None
    held = hold(openapi)
    subresources = version.get("subresources") or {}
    return Resource(
        gvr=GVR(parts.group, version["name"], names["plural"]),
        kind=names["kind"],
        list_kind=names.get("listKind") or f"{names['kind']}List",
        singular=names.get("singular") or names["kind"].lower(),
        namespaced=parts.namespaced,
        short_names=tuple(accepted.get("shortNames") or ()),
        categories=tuple(accepted.get("categories") or ()),
        origin=origin,
        storage_prefix=prefix,
        storage_version=parts.storage_version,
        stored_versions=parts.stored_versions,
        identity=identity,
        schema_source=held.compiled,
        rules_source=held.rules,
        openapi_source=held.openapi,
        strategy=kubernetes or strategy.CUSTOM,
        has_status=subresources.get("status") is not None,
        scale=_scale(subresources.get("scale")),
        columns=(builtin_columns(gvk) if kubernetes else ()) or columns_from_crd(version.get("additionalPrinterColumns") or ()),
        storage_hash=storage_hash(GVK(parts.group, parts.storage_version, names["kind"])),
        schema_id=held.digest,
        deprecation_warning=_deprecation(version, gvk, parts.undeprecated),
        selectable_fields=tuple(str(f.get("jsonPath") or "").removeprefix(".") for f in version.get("selectableFields") or ()),
    )


def _scale(paths: JSONObject | None) -> Scale | None:
    if paths is None:
        return None
    return Scale(paths.get("specReplicasPath") or "", paths.get("statusReplicasPath") or "", paths.get("labelSelectorPath") or "")


def _deprecation(version: JSONObject, gvk: GVK, others: Iterable[str]) -> str:
    """The version's own text, or one that names the newest served version of equal or greater stability."""
    if not version.get("deprecated"):
        return ""
    better = sorted((v for v in others if version_rank(v) < version_rank(gvk.version)), key=version_rank)
    text = f"{gvk.api_version} {gvk.kind} is deprecated" + (f"; use {gvk.group}/{better[0]} {gvk.kind}" if better else "")
    return version.get("deprecationWarning") or text


def _undeprecated(versions: Iterable[JSONObject]) -> tuple[str, ...]:
    return tuple(v["name"] for v in versions if v.get("served") and not v.get("deprecated"))


class LocalCRDSource:
    """The catalog's source of local CRDs: what the established CRDs of each cluster serve.

    Fed with every change of a CRD in any cluster (`changed`), in order; the caller reads the CRDs through their watch cache. An empty
    workspace costs nothing here, one with CRDs a dictionary entry per CRD, because equal schemas are held once.
    """

    def __init__(self) -> None:
        self._by_cluster: dict[ClusterName, dict[GVR, Resource]] = {}
        self._by_crd: dict[tuple[ClusterName, str], tuple[GVR, ...]] = {}
        self._served_from: dict[GVR, int] = {}
        self._wildcards: dict[GVR, Resource] = {}
        self._versions: dict[ClusterName, int] = {}
        self._changes = 0

    def changed(self, cluster: ClusterName, name: str, crd: JSONObject | None) -> None:
        """Take note of one CRD as it is now stored; None: it is gone. Idempotent."""
        served = self._by_cluster.setdefault(cluster, {})
        for gvr in self._by_crd.pop((cluster, name), ()):
            del served[gvr]
            self._served_from[gvr] -= 1
            if not self._served_from[gvr]:
                del self._served_from[gvr]
                self._wildcards.pop(gvr, None)
        if crd is not None:
            self._add(cluster, name, crd, served)
        if not served:
            del self._by_cluster[cluster]
        self._changes += 1
        self._versions[cluster] = self._changes

    def _add(self, cluster: ClusterName, name: str, crd: JSONObject, served: dict[GVR, Resource]) -> None:
        deleting = bool(meta.deletion_timestamp(crd))
        taken: list[GVR] = []
        for resource in resources_from_crd(crd):
            served[resource.gvr] = _without_create(resource) if deleting else resource
            self._served_from[resource.gvr] = self._served_from.get(resource.gvr, 0) + 1
            self._wildcards.setdefault(resource.gvr, _anywhere(resource))
            taken.append(resource.gvr)
        if taken:
            self._by_crd[cluster, name] = tuple(taken)

    def lookup(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        if cluster == WILDCARD:
            return self._wildcards.get(gvr)
        served = self._by_cluster.get(cluster)
        return served.get(gvr) if served is not None else None

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:
        if cluster == WILDCARD:
            return list(self._wildcards.values())
        return list(self._by_cluster.get(cluster, {}).values())

    def version(self, cluster: ClusterName) -> str:
        return str(self._changes if cluster == WILDCARD else self._versions.get(cluster, 0))


def _without_create(resource: Resource) -> Resource:
    return replace(resource, verbs=tuple(verb for verb in resource.verbs if verb != "create"))


def _anywhere(resource: Resource) -> Resource:
    """The resource of this name over all clusters: their schemas may differ, so it can be read only and promises no schema."""
    return Resource(
        gvr=resource.gvr,
        kind=resource.kind,
        list_kind=resource.list_kind,
        singular=resource.singular,
        namespaced=resource.namespaced,
        verbs=tuple(verb for verb in ALL_VERBS if verb in _READ_VERBS),
        origin=Origin.CRD,
        storage_prefix=resource.storage_prefix,
        storage_version=resource.storage_version,
        stored_versions=resource.stored_versions,
        strategy=strategy.CUSTOM,
        storage_hash=resource.storage_hash,
    )
