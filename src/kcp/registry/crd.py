"""Resources made of CustomResourceDefinitions and APIResourceSchemas, and the source that serves each cluster's own CRDs.

Before: `catalog` (as a source), `exports.source` (bound schemas). After: `schemas`, `builtin` (behaviour of bound Kubernetes kinds).
Source: k8s.io/apiextensions-apiserver/pkg/apiserver/customresource_handler.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from kcp.apimachinery import conditions, meta, names
from kcp.apimachinery.gvk import GVK, GVR, GroupResource
from kcp.apimachinery.keys import WILDCARD, ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.schema.node import Schema
from kcp.apimachinery.table import columns_from_crd
from kcp.apimachinery.versions import version_rank
from kcp.apis.kubernetes.compute import NATIVE
from kcp.registry import strategy
from kcp.registry.builtin import builtin_columns, builtin_resource, storage_hash, strategy_for
from kcp.registry.resource import ALL_VERBS, Origin, Resource, Scale
from kcp.registry.schemas import HeldSchema, hold
from kcp.registry.versions import ConvertByRules, Versions, WebhookConversion
from kcp.storage.keyspace import family_prefix, resource_prefix

CUSTOM_RESOURCES = "customresources"
ALL = "*"
"""In place of an identity: all resources of one name, whoever defines them."""
_READ_VERBS = ("get", "list", "watch")
_FREELY_NAMED = replace(strategy.CUSTOM, name_faults=names.path_segment)
"""Of schemas whose nameValidation is PathSegmentName, as some of Kubernetes' own kinds are."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a CRD and an APIResourceSchema have in common."""

    group: str
    names: Mapping[str, Any]
    namespaced: bool
    versions: Mapping[str, JSONObject]
    """Every version, served or not, by name."""
    schemas: Mapping[str, HeldSchema]
    """Of the same."""
    accepted: Mapping[str, Any]
    """The names that may be used: a CRD's accepted ones."""
    source: str
    """Third part of the storage prefix, see `storage.keyspace.resource_prefix`."""
    stored_versions: int
    """How many versions objects may be stored in."""
    webhook: WebhookConversion | None
    is_changed: bool
    """Whether objects may have been stored under other schemas than these."""
    strategy: strategy.Strategy = strategy.CUSTOM
    rules: ConvertByRules | None = None

    @property
    def storage_version(self) -> str:
        return next((name for name, version in self.versions.items() if version.get("storage")), "")

    @property
    def prefix(self) -> bytes:
        return resource_prefix(GroupResource(self.group, self.names["plural"]), source=self.source)


def resources_from_crd(crd: JSONObject, cluster: ClusterName) -> Iterator[Resource]:
    """One resource per served version; none before the CRD is established. Args: cluster: the one that has the CRD."""
    if not conditions.is_true(crd, "Established"):
        return
    parts = _parts_of_crd(crd, CUSTOM_RESOURCES, cluster)
    for name, version in parts.versions.items():
        if version.get("served"):
            yield _resource(parts, name, origin=Origin.CRD)


def resource_from_crd(crd: JSONObject, version: str, *, origin: Origin = Origin.CRD, source: str = CUSTOM_RESOURCES) -> Resource:
    """The resource of one version, established or not. Raises KeyError for a version that the CRD does not have."""
    return _resource(_parts_of_crd(crd, source, meta.cluster(crd)), version, origin=origin)


def _parts_of_crd(crd: JSONObject, source: str, cluster: ClusterName) -> _Parts:
    spec = crd["spec"]
    versions = {version["name"]: version for version in spec["versions"]}
    schemas = {name: hold(meta.nested(v, "schema", "openAPIV3Schema", default={})) for name, v in versions.items()}
    accepted = meta.nested(crd, "status", "acceptedNames", default=spec["names"])
    held = len(meta.nested(crd, "status", "storedVersions", default=()))
    is_changed, is_namespaced = meta.generation(crd) > 1, spec.get("scope") == "Namespaced"
    return _Parts(
        spec["group"], spec["names"], is_namespaced, versions, schemas, accepted, source, held, _webhook(crd, cluster), is_changed
    )


MakeRules: TypeAlias = Callable[[Mapping[str, Callable[[], Schema | None]]], ConvertByRules]
"""Schemas of all versions by name → what converts objects between them."""


def resources_from_schema(schema: JSONObject, identity: str, make_rules: MakeRules | None = None) -> Iterator[Resource]:
    """One resource per served version of an APIResourceSchema, bound under an export's identity."""
    parts = _parts_of_schema(schema, identity)
    if make_rules is not None:
        parts = replace(parts, rules=make_rules({name: held.compiled for name, held in parts.schemas.items()}))
    for name, version in parts.versions.items():
        if version.get("served"):
            yield _bound(parts, schema, name, Origin.BOUND)


def resource_from_schema(schema: JSONObject, version: str, identity: str, *, origin: Origin = Origin.BOUND) -> Resource:
    """Raises KeyError for a version that the schema does not have."""
    return _bound(_parts_of_schema(schema, identity), schema, version, origin)


def _parts_of_schema(schema: JSONObject, identity: str) -> _Parts:
    """An export may move on to other schemas, so there may always be objects of an earlier one; kcp's own exports keep theirs."""
    spec = schema["spec"]
    group = "" if spec.get("group") == "core" else spec.get("group", "")
    versions = {version["name"]: version for version in spec["versions"]}
    schemas = {name: hold(version.get("schema") or {}) for name, version in versions.items()}
    is_changed, is_namespaced = not group.endswith("kcp.io"), spec.get("scope") == "Namespaced"
    return _Parts(
        group,
        spec["names"],
        is_namespaced,
        versions,
        schemas,
        spec["names"],
        identity,
        1 + is_changed,
        _webhook(schema, meta.cluster(schema)),
        is_changed,
        _FREELY_NAMED if spec.get("nameValidation") == "PathSegmentName" else strategy.CUSTOM,
    )


def _bound(parts: _Parts, schema: JSONObject, version: str, origin: Origin) -> Resource:
    kind = GVK(parts.group, version, parts.names["kind"])
    if meta.annotations(schema).get(NATIVE) and version in parts.versions and (native := builtin_resource(kind)) is not None:
        # The status is put together from those of several clusters, which no rule for one cluster's status fits.
        kept = replace(native.strategy, validate_status=strategy.CUSTOM.validate_status)
        return replace(native, origin=origin, storage_prefix=parts.prefix, identity=parts.source, subresources=frozenset(), strategy=kept)
    return _resource(parts, version, origin=origin, identity=parts.source)


def _webhook(defined: JSONObject, cluster: ClusterName) -> WebhookConversion | None:
    """Of a CRD or an APIResourceSchema. It is called on behalf of the cluster that has the definition."""
    conversion = defined["spec"].get("conversion") or {}
    if conversion.get("strategy") != "Webhook":
        return None
    webhook = conversion.get("webhook") or {}
    config, reviews = webhook.get("clientConfig") or {}, tuple(webhook.get("conversionReviewVersions") or ())
    return WebhookConversion(cluster, config, reviews)


def _behaviour(gvk: GVK) -> strategy.Strategy | None:
    """Of a bound Kubernetes kind whose schema somebody else wrote: what is valid is said by that alone, as in kcp.

    Source: kcp test/e2e/quota (a Service without ports, of a schema that requires none).
    """
    known = strategy_for(gvk)
    if known is None:
        return None
    return replace(known, validate=strategy.CUSTOM.validate, validate_status=strategy.CUSTOM.validate_status)


def _resource(parts: _Parts, name: str, *, origin: Origin, identity: str = "") -> Resource:
    """Raises KeyError for a version that is not there."""
    version, names, accepted, held = parts.versions[name], parts.names, parts.accepted, parts.schemas[name]
    gvk = GVK(parts.group, name, names["kind"])
    kubernetes = _behaviour(gvk) if origin is Origin.BOUND else None
    subresources = version.get("subresources") or {}
    every = _versions(parts, name) if origin is not Origin.SYSTEM else None  # whose conversions are functions
    return Resource(
        gvr=GVR(parts.group, name, names["plural"]),
        kind=names["kind"],
        list_kind=names.get("listKind") or f"{names['kind']}List",
        singular=names.get("singular") or names["kind"].lower(),
        namespaced=parts.namespaced,
        short_names=tuple(accepted.get("shortNames") or ()),
        categories=tuple(accepted.get("categories") or ()),
        origin=origin,
        storage_prefix=parts.prefix,
        storage_version=parts.storage_version,
        stored_versions=parts.stored_versions,
        identity=identity,
        schema_source=held.compiled,
        rules_source=held.rules,
        openapi_source=held.openapi,
        versions=every if _differs_from_stored(parts, name) else None,
        every_version=every,
        strategy=kubernetes or parts.strategy,
        has_status=subresources.get("status") is not None,
        scale=_scale(subresources.get("scale")),
        columns=(builtin_columns(gvk) if kubernetes else ()) or columns_from_crd(version.get("additionalPrinterColumns") or ()),
        storage_hash=storage_hash(GVK(parts.group, parts.storage_version, names["kind"])),
        schema_id=held.digest,
        deprecation_warning=_deprecation(version, gvk, _undeprecated(parts.versions.values())),
        selectable_fields=tuple(str(f.get("jsonPath") or "").removeprefix(".") for f in version.get("selectableFields") or ()),
    )


def _versions(parts: _Parts, version: str) -> Versions | None:
    """None where nothing but their apiVersion can ever have told objects in one version from those in another."""
    own = parts.schemas[version]
    if not parts.is_changed and parts.webhook is None and parts.rules is None and all(held is own for held in parts.schemas.values()):
        return None
    sources = {GVR(parts.group, name, "").api_version: held.compiled for name, held in parts.schemas.items()}
    return Versions(sources, parts.webhook, parts.is_changed, WeakKeyDictionary(), parts.rules)


def _differs_from_stored(parts: _Parts, version: str) -> bool:
    """Whether stored objects may have to be converted, pruned or defaulted to be shown in this version."""
    return parts.is_changed or version != parts.storage_version or parts.stored_versions > 1


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


Retired: TypeAlias = Callable[[ClusterName, Iterable[GVR]], None]
"""Told what a cluster does not serve any more as it did."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A CRD as it was last seen."""

    content: tuple[object, ...]
    """What its resources depend on."""
    served: tuple[GVR, ...]
    draining: GVR | None = None


class LocalCRDSource:
    """The catalog's source of local CRDs: what the established CRDs of each cluster serve.

    Fed with every change of a CRD in any cluster (`changed`), in order; the caller reads the CRDs through their watch cache. An empty
    workspace costs nothing here, one with CRDs a dictionary entry per CRD, because equal schemas are held once.
    """

    def __init__(self) -> None:
        self._by_cluster: dict[ClusterName, dict[GVR, Resource]] = {}
        self._by_crd: dict[tuple[ClusterName, str], _Known] = {}
        self._draining: dict[tuple[ClusterName, GVR], Resource] = {}
        """Not served, but still to be emptied: only what the deletion of a CRD without served versions needs."""
        self._served_from: dict[GVR, int] = {}
        self._wildcards: dict[GVR, Resource] = {}
        self._versions: dict[ClusterName, int] = {}
        self._changes = 0
        self._retired: list[Retired] = []

    def on_retired(self, told: Retired) -> None:
        """Call `told` within each change after which resources are gone or others."""
        self._retired.append(told)

    def changed(self, cluster: ClusterName, name: str, crd: JSONObject | None) -> None:
        """Take note of one CRD as it is now stored; None: it is gone. Idempotent; what does not matter here costs next to nothing."""
        known = self._by_crd.get((cluster, name))
        content = _content(crd) if crd is not None else ()
        if (known.content if known is not None else ()) == content:
            return
        served = self._by_cluster.setdefault(cluster, {})
        if known is not None:
            self._remove(cluster, name, known, served)
        if crd is not None:
            self._add(cluster, name, crd, content, served)
        if not served:
            del self._by_cluster[cluster]
        self._changes += 1
        self._versions[cluster] = self._changes
        if known is not None and known.served and known.content[:-1] != content[:-1]:  # to be deleted changes nothing for who watches
            for told in self._retired:
                told(cluster, known.served)

    def _remove(self, cluster: ClusterName, name: str, known: _Known, served: dict[GVR, Resource]) -> None:
        del self._by_crd[cluster, name]
        if known.draining is not None:
            del self._draining[cluster, known.draining]
        for gvr in known.served:
            del served[gvr]
            self._served_from[gvr] -= 1
            if not self._served_from[gvr]:
                del self._served_from[gvr]
                self._wildcards.pop(gvr, None)

    def _add(self, cluster: ClusterName, name: str, crd: JSONObject, content: tuple[object, ...], served: dict[GVR, Resource]) -> None:
        deleting = bool(meta.deletion_timestamp(crd))
        draining: GVR | None = None
        found = list(resources_from_crd(crd, cluster))
        for resource in found:
            served[resource.gvr] = _without_create(resource) if deleting else resource
            self._served_from[resource.gvr] = self._served_from.get(resource.gvr, 0) + 1
            self._wildcards.setdefault(resource.gvr, _anywhere(resource))
        if deleting and not found and conditions.is_true(crd, "Established"):
            parts = _parts_of_crd(crd, CUSTOM_RESOURCES, cluster)
            hidden = replace(_resource(parts, parts.storage_version, origin=Origin.CRD), verbs=("deletecollection", "list"))
            draining = hidden.gvr
            self._draining[cluster, draining] = hidden
        self._by_crd[cluster, name] = _Known(content, tuple(resource.gvr for resource in found), draining)

    def defines(self, cluster: ClusterName, resource: GroupResource) -> bool:
        """Whether a cluster has a CRD of this name, established or not."""
        return (cluster, f"{resource.resource}.{resource.group or 'core'}") in self._by_crd

    def lookup(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        if cluster == WILDCARD:
            name, _, source = gvr.resource.partition(":")
            found = self._wildcards.get(GVR(gvr.group, gvr.version, name)) if source in (CUSTOM_RESOURCES, ALL) else None
            return metadata_of(found) if found is not None and source == ALL else found
        served = self._by_cluster.get(cluster)
        found = served.get(gvr) if served is not None else None
        return self._draining.get((cluster, gvr)) if found is None and self._draining else found

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:
        if cluster == WILDCARD:
            return list(self._wildcards.values())
        return list(self._by_cluster.get(cluster, {}).values())

    def version(self, cluster: ClusterName) -> str:
        return str(self._changes if cluster == WILDCARD else self._versions.get(cluster, 0))


def _content(crd: JSONObject) -> tuple[object, ...]:
    """Equal for two states of a CRD that are served alike; the generation stands for its spec. Last: whether it is being deleted.

    Marking it for deletion counts as a generation too, but changes no spec.
    """
    status = crd.get("status") or {}
    accepted, stored = status.get("acceptedNames"), tuple(status.get("storedVersions") or ())
    deleting = bool(meta.deletion_timestamp(crd))
    generation = meta.generation(crd) - deleting
    return meta.uid(crd), generation, accepted, stored, conditions.is_true(crd, "Established"), deleting


def metadata_of(resource: Resource) -> Resource:
    """All resources of this one's name over all clusters, whoever defines them: to be read as metadata only.

    Source: kcp pkg/server/apiextensions.go (wildcard partial metadata requests).
    """
    family = family_prefix(resource.group_resource)
    return replace(_anywhere(resource), storage_prefix=family, storage_version="", stored_versions=1)


def whosever(resource: Resource) -> Resource:
    """The same to be read whole: objects as they were stored, under the apiVersion of this resource, whoever's schema they follow."""
    return replace(metadata_of(resource), storage_version=resource.gvr.version, stored_versions=2)


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
