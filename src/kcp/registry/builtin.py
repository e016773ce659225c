"""Kubernetes' own kinds as resources, and their behaviour for whoever else serves them.

Before: `server/compose` (workspaces), `sim` (physical clusters), `crd` (bound Kubernetes kinds). After: `apis.kubernetes`, `strategy`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from types import MappingProxyType

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.gvk import GVK, GroupResource
from kcp.apimachinery.meta import JSONObject, deletion_timestamp
from kcp.apimachinery.schema.structural import Schema, compile_schema
from kcp.apimachinery.table import Column, Getter
from kcp.apis.kubernetes import autoscaling, definitions, events, selectable
from kcp.apis.kubernetes.columns import builtin_columns as builtin_columns
from kcp.apis.kubernetes.firststatus import first_status
from kcp.apis.kubernetes.kinds import CLUSTER_KINDS, WORKSPACE_KINDS, KindInfo, ScalePaths, by_gvk, select
from kcp.apis.kubernetes.rules import BUILTIN as RULES
from kcp.apis.kubernetes.rules import KindRules, rules_of
from kcp.registry import crdstatus, daemonsets, strategy
from kcp.registry.resource import Conversion, Origin, Resource, Scale
from kcp.registry.strategy import FieldPath, Strategy
from kcp.storage.keyspace import resource_prefix

__all__ = ["CLUSTER_KINDS", "WORKSPACE_KINDS", "builtin_columns", "builtin_resource", "builtin_resources", "builtin_schema", "strategy_for"]

_RBAC = "rbac.authorization.k8s.io"
_VIEWS: Mapping[GVK, Conversion] = {
    GVK("events.k8s.io", "v1", "Event"): Conversion("v1", events.to_core, events.from_core),
    GVK("autoscaling", "v1", "HorizontalPodAutoscaler"): Conversion("autoscaling/v2", autoscaling.to_v2, autoscaling.to_v1),
}


_WARNED = frozenset(
    (group, kind)
    for group, kinds in {
        "": ("Pod", "PodTemplate", "ReplicationController", "Service", "PersistentVolume", "PersistentVolumeClaim"),
        "apps": ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"),
        "batch": ("Job", "CronJob"),
        "networking.k8s.io": ("Ingress",),
    }.items()
    for kind in kinds
)
"""Kinds that have warnings of their own."""
_SPECIAL: Mapping[tuple[str, str], Strategy] = {
    ("", "Namespace"): strategy.NAMESPACE,
    ("", "Node"): Strategy(is_born_with_status=True),
    ("", "Pod"): strategy.POD,
    ("", "ReplicationController"): strategy.ORPHANING,
    ("batch", "Job"): strategy.ORPHANING,
    ("apps", "DaemonSet"): Strategy(prepare_create=daemonsets.count_first, prepare_update=daemonsets.count_next),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): Strategy(
        prepare_delete=crdstatus.await_cleanup, held_by_spec=lambda crd: not deletion_timestamp(crd)
    ),
    ("certificates.k8s.io", "CertificateSigningRequest"): strategy.CERTIFICATE_REQUEST,
    ("apiregistration.k8s.io", "APIService"): Strategy(name_faults=names.path_segment),  # `v1.` is the core group's
    (_RBAC, "Role"): strategy.RBAC,
    (_RBAC, "RoleBinding"): strategy.RBAC,
    (_RBAC, "ClusterRole"): strategy.RBAC,
    (_RBAC, "ClusterRoleBinding"): strategy.RBAC,
}


_OF_OTHERS = ("CustomResourceDefinition", "ValidatingAdmissionPolicy")
"""Kinds whose first status is worked out elsewhere: by a default, or by admission, which knows what kinds there are."""


def builtin_resources(which: Iterable[GroupResource]) -> list[Resource]:
    """Resources of these kinds; schemas are compiled when first used and shared by all callers."""
    return [_resource(kind) for kind in select(which)]


def builtin_resource(gvk: GVK) -> Resource | None:
    """The resource of a Kubernetes kind as a physical cluster serves it; None for any other kind."""
    kind = by_gvk(gvk)
    return _resource(kind) if kind is not None else None


@cache
def _resource(kind: KindInfo) -> Resource:
    stored = kind.view_of or kind.gvk
    return Resource(
        gvr=kind.gvr,
        kind=kind.kind,
        list_kind=f"{kind.kind}List",
        singular=kind.singular or kind.kind.lower(),
        namespaced=kind.namespaced,
        short_names=kind.short,
        categories=kind.categories,
        verbs=kind.verbs,
        origin=Origin.BUILTIN,
        storage_prefix=resource_prefix(GroupResource(stored.group, kind.plural)),
        storage_version=kind.storage_version,
        conversion=_VIEWS.get(kind.gvk),
        alternatives=partial(_alternatives, kind.gvk),
        schema_source=partial(builtin_schema, kind.gvk),
        openapi_source=partial(_openapi, kind.gvk),
        strategy=_of_own_kind(kind.gvk),
        has_status=kind.has_status,
        scale=_scale(kind.scale),
        columns=_columns(kind.gvk),
        storage_hash=storage_hash(stored) if "watch" in kind.verbs else "",
        schema_id=f"kubernetes-1.{definitions.MINOR}",
        deprecation_warning=kind.deprecation,
        selectable_fields=kind.fields,
        field_values=selectable.readers(kind.group_resource),
        subresources=frozenset(kind.subresources),
    )


@cache
def _alternatives(gvk: GVK) -> Mapping[str, Resource]:
    stored = _VIEWS[gvk].api_version if gvk in _VIEWS else gvk.api_version
    views = [view for view, conversion in _VIEWS.items() if (conversion.api_version, view.kind) == (stored, gvk.kind)]
    kinds = [GVK.of(stored, gvk.kind), *views]
    found = (builtin_resource(kind) for kind in kinds if kind != gvk)
    return MappingProxyType({resource.gvr.api_version: resource for resource in found if resource is not None})


def _of_own_kind(gvk: GVK) -> Strategy:
    """The behaviour of a kind that is served here with its controllers; of a bound one the status is put together from several clusters."""

    def validate_status(new: JSONObject, old: JSONObject) -> Sequence[Cause]:
        from kcp.apis.kubernetes.status_validation import status_faults

        return status_faults(gvk, new, old)

    def warnings(new: JSONObject, old: JSONObject | None) -> Sequence[str]:
        from kcp.apis.kubernetes.warnings import warnings_of

        return warnings_of(gvk, new, old)

    found = replace(strategy_for(gvk) or strategy.BUILTIN, validate_status=validate_status)
    return replace(found, warnings=warnings) if (gvk.group, gvk.kind) in _WARNED else found


def _columns(gvk: GVK) -> tuple[Column, ...]:
    """Columns read v2 of an autoscaler, and either view of an event."""
    conversion = _VIEWS.get(gvk)
    if conversion is None or gvk.kind == "Event":
        return builtin_columns(gvk)
    return tuple(
        replace(column, getter=_of_stored(conversion, column.getter)) if column.getter else column for column in builtin_columns(gvk)
    )


def _of_stored(conversion: Conversion, read: Getter) -> Getter:
    return lambda obj, now: read(conversion.to_stored(obj), now)


def _scale(paths: ScalePaths | None) -> Scale | None:
    return None if paths is None else Scale(paths.spec_replicas, paths.status_replicas, paths.selector)


@cache
def builtin_schema(gvk: GVK) -> Schema | None:
    """The compiled schema of a Kubernetes kind, with its merge keys; None for a kind that this server does not know."""
    held = definitions.load()
    name = held.of_kind(gvk)
    return None if name is None else compile_schema(held.raw(name), resolve=held.raw)


def _openapi(gvk: GVK) -> JSONObject:
    held = definitions.load()
    name = held.of_kind(gvk)
    return {"$ref": f"{definitions.COMPONENT_PREFIX}{name}"} if name else {}


@cache
def strategy_for(gvk: GVK) -> Strategy | None:
    """The behaviour of a Kubernetes kind, defaults and validation included; None for any other kind."""
    special = _SPECIAL.get((gvk.group, gvk.kind))
    if gvk not in RULES and special is None and by_gvk(gvk) is None:
        return None
    rules, base, known = rules_of(gvk), special or strategy.BUILTIN, by_gvk(gvk)
    shows_status = known is not None and known.has_status and gvk.kind not in _OF_OTHERS
    prepare = base.prepare_create
    if shows_status:
        prepare = _with_status(gvk, prepare, says_status=base.is_born_with_status)
    return replace(
        base,
        default=rules.default,
        prepare_create=_before_create(rules, prepare),
        prepare_update=_before_update(rules, base.prepare_update),
        prepare_status=rules.default if rules.completes_status else base.prepare_status,
        validate=rules.validate if gvk in RULES else base.validate,
        name_faults=base.name_faults if special is not None else rules.name_faults,
        returns_deleted=known is not None and strategy.returns_deleted(known.group_resource),
        subresource_parts=_parts(base, known),
    )


def _parts(base: Strategy, known: KindInfo | None) -> Mapping[str, tuple[FieldPath, ...]]:
    if known is None or not known.has_status:
        return base.subresource_parts
    return MappingProxyType({**base.subresource_parts, "status": strategy.status_parts(known.group_resource)})


def _before_create(rules: KindRules, then: Callable[[JSONObject, str], None]) -> Callable[[JSONObject, str], None]:
    def prepare(new: JSONObject, now: str) -> None:
        then(new, now)
        rules.default(new)

    return prepare


def _with_status(gvk: GVK, then: Callable[[JSONObject, str], None], *, says_status: bool) -> Callable[[JSONObject, str], None]:
    def prepare(new: JSONObject, now: str) -> None:
        given = new.get("status") if says_status else None
        new["status"] = {**first_status(gvk.group, gvk.kind), **(given or {})}
        then(new, now)

    return prepare


def _before_update(rules: KindRules, then: Callable[[JSONObject, JSONObject], None]) -> Callable[[JSONObject, JSONObject], None]:
    def prepare(new: JSONObject, old: JSONObject) -> None:
        then(new, old)
        rules.default(new)

    return prepare


def storage_hash(gvk: GVK, *, owner: str | None = None) -> str:
    """`storageVersionHash` of discovery.

    Args: owner: in virtual workspaces, the logical cluster that the definition is of: kcp puts it before the kind, "" for its own.
    Source: k8s.io/apiserver/pkg/endpoints/discovery/storageversionhash.go; kcp pkg/virtual/framework/dynamic/apiserver/discovery.go.

    >>> storage_hash(GVK("apps", "v1", "Deployment"))
    '8aSe+NMegvE='
    """
    kind = f"{gvk.group}/{gvk.version}/{gvk.kind}"
    digest = hashlib.sha256((kind if owner is None else f"{owner}/{kind}").encode()).digest()
    return base64.b64encode(digest[:8]).decode()
