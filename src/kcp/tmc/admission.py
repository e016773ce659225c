"""What no schema can say about Placements and Locations: their selectors, and what `placement.spec` reads. And what of a cluster's is shown
in a workspace, its users may read only.

Part of the server's admission chain. A selector that got in all the same, while this was off, selects nothing: see `model.kinds`.
Before: `server.security`. After: the checks of Kubernetes' own selectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause, Forbidden, Invalid
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks
from kcp.apiserver.admission.chain import Plugin
from kcp.exports.spellings import SPELLINGS
from kcp.registry.backend import Attributes
from kcp.tmc.health.heartbeats import faults as heartbeat_faults
from kcp.tmc.model.exported import faults as exported_faults
from kcp.tmc.model.kinds import (
    LOCATIONS,
    OVERRIDE_POLICIES,
    PLACEMENT_POLICIES,
    PLACEMENTS,
    RESOURCE_EXPORTS,
    RESOURCE_PROJECTIONS,
    SYNC_TARGET_HEARTBEATS,
    SYNC_TARGETS,
)
from kcp.tmc.model.names import STATE_UPSYNC, upsyncing_key
from kcp.tmc.overrides import policy
from kcp.tmc.placement.placementpolicies import PlacementPolicy
from kcp.tmc.placement.quota import COUNTED, QuotaAdmission
from kcp.tmc.placement.spec import read
from kcp.tmc.projection.exporting import faults as export_faults
from kcp.tmc.projection.spec import faults as projection_faults

MASTERS = "system:masters"
_SELECTORS = {"Placement": ("locationSelectors", "namespaceSelector"), "Location": ("instanceSelector",)}
"""By kind: these are served in two groups."""


def spelled(*kept: GVR) -> frozenset[GroupResource]:
    """Resources in both their spellings."""
    named = {gvr.group_resource for gvr in kept}
    return frozenset(named | {other for other, one in SPELLINGS.items() if one in named})


def faults(obj: JSONObject, fields: tuple[str, ...]) -> Iterator[Cause]:
    """Faults of the selectors in these fields of `spec`; a field may hold one selector or a list."""
    spec = obj.get("spec") or {}
    for field in fields:
        held = spec.get(field)
        for index, selector in enumerate(held if isinstance(held, list) else ()):
            yield from checks.selector(selector, f"spec.{field}[{index}]")
        if isinstance(held, dict):
            yield from checks.selector(held, f"spec.{field}")


async def validate(attributes: Attributes) -> None:
    """Raises: Invalid with every fault."""
    resource, new = attributes.scope.resource, attributes.new
    if new is None:
        return
    causes = list(faults(new, _SELECTORS[resource.kind]))
    if resource.kind == "Placement":
        causes += read(new.get("spec") or {}).faults
    if causes:
        raise Invalid.of(resource.group_resource, resource.kind, meta.name(new), causes)


def _policy_faults(obj: JSONObject) -> Iterable[Cause]:
    return PlacementPolicy.of(obj).faults


_FAULTS: Mapping[GroupResource, Callable[[JSONObject], Iterable[Cause]]] = {
    PLACEMENT_POLICIES.group_resource: _policy_faults,
    SYNC_TARGET_HEARTBEATS.group_resource: heartbeat_faults,
    RESOURCE_EXPORTS.group_resource: export_faults,
}


async def validate_objects(attributes: Attributes) -> None:
    """Kinds whose faults are told by one function each. Raises: Invalid."""
    resource, new = attributes.scope.resource, attributes.new
    if new is not None and (causes := list(_FAULTS[resource.group_resource](new))):
        raise Invalid.of(resource.group_resource, resource.kind, meta.name(new), causes)


async def validate_targets(attributes: Attributes) -> None:
    """The same for SyncTargets: the exports they support, in either spelling, and selectors of workspaces. Raises: Invalid."""
    resource, new = attributes.scope.resource, attributes.new
    spec = (new or {}).get("spec") or {}
    causes = list(exported_faults(spec))
    for index, one in enumerate(spec.get("workspaces") or ()):
        at = f"spec.workspaces[{index}]"
        causes += checks.selector(one["selector"], f"{at}.selector") if one.get("selector") else ()
        if not (one.get("name") or one.get("path") or one.get("selector")):
            causes.append(Cause.required(f"{at}.name"))
    if new is not None and causes:
        raise Invalid.of(resource.group_resource, resource.kind, meta.name(new), causes)


async def validate_overrides(attributes: Attributes) -> None:
    """The same for OverridePolicies: selectors, expressions, and fields that are not theirs. Raises: Invalid."""
    resource, new = attributes.scope.resource, attributes.new
    if new is None:
        return
    causes = [cause for where, selector in policy.selectors(new) if selector for cause in checks.selector(selector, where)]
    causes += policy.faults(new)
    if causes:
        raise Invalid.of(resource.group_resource, resource.kind, meta.name(new), causes)


async def validate_projections(attributes: Attributes) -> None:
    """The same for ResourceProjections. Raises: Invalid."""
    resource, new = attributes.scope.resource, attributes.new
    if new is not None and (causes := list(projection_faults(new))):
        raise Invalid.of(resource.group_resource, resource.kind, meta.name(new), causes)


async def refuse_upsynced(name_of: Callable[[str], str], attributes: Attributes) -> None:
    """Raises: Forbidden to change an upsynced object: the next look at the cluster would undo it, or worse, not.

    Args: name_of: K → name of its SyncTarget, "" if there is none.
    """
    old = attributes.old
    if old is None or not (labels := meta.labels(old)) or MASTERS in attributes.user.groups:
        return
    key = upsyncing_key(old) if STATE_UPSYNC in labels.values() else ""
    if key:
        resource, name = attributes.scope.resource.group_resource, meta.name(old)
        raise Forbidden(
            f'{resource} "{name}" is forbidden: it shows what runs in cluster "{name_of(key) or key}": change what it belongs to, '
            "such as its Deployment",
            resource=resource,
            name=name,
        )


async def stamp_lease(clock: Clock, attributes: Attributes) -> JSONObject | None:
    """A lease is renewed when the server hears of it: what hour it is in the cluster says nothing about when it ends."""
    old, new = attributes.old, attributes.new
    lease = meta.nested(new or {}, "status", "syncerLease", default=None)
    if new is None or lease is None or lease == meta.nested(old or {}, "status", "syncerLease", default=None):
        return new
    return {**new, "status": {**new["status"], "syncerLease": {**lease, "renewTime": rfc3339(clock.now())}}}


def plugins(name_of: Callable[[str], str], clock: Clock, quota: QuotaAdmission) -> list[Plugin]:
    """Args: name_of: K → name of its SyncTarget, "" if there is none. quota: of PlacementPolicies."""
    targets = frozenset({SYNC_TARGETS.group_resource})
    return [
        Plugin(name="TMCLease", mutate=partial(stamp_lease, clock), resources=targets, subresources=frozenset(("status",))),
        Plugin(name="TMCUpsynced", validate=partial(refuse_upsynced, name_of), verbs=("UPDATE", "DELETE"), subresources=None),
        Plugin(name="TMCSelectors", validate=validate, resources=spelled(PLACEMENTS, LOCATIONS)),
        Plugin(name="TMCQuota", validate=quota.check, resources=frozenset(COUNTED), subresources=frozenset(("", "scale"))),
        Plugin(name="TMCObjects", validate=validate_objects, resources=frozenset(_FAULTS)),
        Plugin(name="TMCTargets", validate=validate_targets, resources=targets),
        Plugin(name="TMCProjections", validate=validate_projections, resources=spelled(RESOURCE_PROJECTIONS)),
        Plugin(name="TMCOverrides", validate=validate_overrides, resources=frozenset({OVERRIDE_POLICIES.group_resource})),
    ]
