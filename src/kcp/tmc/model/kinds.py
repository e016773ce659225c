"""The resources TMC works with, and frozen views of the kinds it owns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kcp.aio.clock import parse_rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import BadRequest
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.tmc.model.exported import COMPUTE_EXPORT, Exported, exported, offers
from kcp.tmc.model.names import DEFAULT_HANDOVER_S, SHARES_ANNOTATION
from kcp.tmc.model.sources import Source, id_of

SYNC_TARGETS = GVR("workload.kcp.io", "v1alpha1", "synctargets")
LOCATIONS = GVR("scheduling.kcp.io", "v1alpha1", "locations")
PLACEMENTS = GVR("scheduling.kcp.io", "v1alpha1", "placements")
PLACEMENT_POLICIES = GVR("scheduling.kcp.io", "v1alpha1", "placementpolicies")
RESOURCE_EXPORTS = GVR("workload.kcp.io", "v1alpha1", "resourceexports")
RESOURCE_IMPORTS = GVR("workload.kcp.io", "v1alpha1", "resourceimports")
SYNC_TARGET_HEARTBEATS = GVR("workload.kcp.io", "v1alpha1", "synctargetheartbeats")
PLACEMENT_DECISIONS = GVR("tmc.kcp.io", "v1alpha1", "placementdecisions")
AGGREGATED_VIEWS = GVR("tmc.kcp.io", "v1alpha1", "aggregatedviews")
STATUS_RULES = GVR("tmc.kcp.io", "v1alpha1", "statusrules")
OVERRIDE_POLICIES = GVR("tmc.kcp.io", "v1alpha1", "overridepolicies")
RESOURCE_PROJECTIONS = GVR("tmc.kcp.io", "v1alpha1", "resourceprojections")
NAMESPACES = GVR("", "v1", "namespaces")

CORE_SYNCED = (GVR("", "v1", "configmaps"), GVR("", "v1", "secrets"), GVR("", "v1", "serviceaccounts"))
"""Built-in resources that always follow their namespace."""
NOT_SYNCED_DOWN = frozenset(
    {GroupResource("", "pods"), GroupResource("", "endpoints"), GroupResource("discovery.k8s.io", "endpointslices")}
)
"""Bound resources that belong to the physical side. Source: kcp 0.11 pkg/virtual/syncer."""
DIVIDED = frozenset({GroupResource("apps", "deployments")})
"""Resources whose `spec.replicas` is divided over the chosen targets; all others are duplicated."""
_NO_NODE: JSONObject = {"template": {"spec": {"nodeSelector": {"tmc.kcp.io/fenced": "true"}}}}
STOPPABLE: Mapping[GVR, JSONObject] = {
    GVR("apps", "v1", "deployments"): {"replicas": 0},
    GVR("apps", "v1", "statefulsets"): {"replicas": 0},
    GVR("apps", "v1", "replicasets"): {"replicas": 0},
    GVR("apps", "v1", "daemonsets"): _NO_NODE,
    GVR("batch", "v1", "jobs"): {"suspend": True},
    GVR("batch", "v1", "cronjobs"): {"suspend": True},
}
"""What a syncer can stop without deleting it, with the part of `spec` that does so."""

READY = "Ready"
SYNCER_READY = "SyncerReady"
HEARTBEAT_HEALTHY = "HeartbeatHealthy"
CLOCK_SYNCHRONIZED = "ClockSynchronized"
"""Is the clock of the cluster's syncer about right? Ours."""
SCHEDULED = "Scheduled"
NAMESPACE_SCHEDULED = "NamespaceScheduled"
SYNCED = "Synced"
"""Condition on the user's object: does every chosen cluster run the present state? Ours."""
DRIFTED = "Drifted"
"""Condition on the user's object: was a copy of it changed in its cluster? Ours."""

DEFAULT_HEARTBEAT_THRESHOLD_S = 60.0
"""kcp 0.11 --sync-target-heartbeat-threshold."""
DEFAULT_HEARTBEAT_PERIOD_S = 20.0


@dataclass(frozen=True, slots=True)
class SyncTarget:
    """A physical cluster as its workspace knows it."""

    cluster: ClusterName
    name: str
    uid: str
    labels: Mapping[str, str]
    unschedulable: bool
    evict_after: datetime | None
    taints: tuple[Mapping[str, Any], ...]
    supported: tuple[Exported, ...]
    ready: bool
    not_ready_reason: str
    ready_since: datetime | None
    """Last transition of condition Ready."""
    heartbeat: datetime | None
    incompatible: frozenset[GroupResource]
    backlog: int
    """Objects that wait for its syncer, while they are too many; else 0."""

    @classmethod
    def of(cls, obj: JSONObject) -> SyncTarget:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        ready = conditions.get(obj, READY)
        return cls(
            cluster=meta.cluster(obj),
            name=meta.name(obj),
            uid=meta.uid(obj),
            labels=meta.labels(obj),
            unschedulable=bool(spec.get("unschedulable")),
            evict_after=_instant(spec.get("evictAfter")),
            taints=tuple(spec.get("taints") or ()),
            supported=exported(spec) or (Exported("", COMPUTE_EXPORT),),
            ready=conditions.is_true(obj, READY),
            not_ready_reason=_reason(ready),
            ready_since=_instant((ready or {}).get("lastTransitionTime")),
            heartbeat=_instant(status.get("lastSyncerHeartbeatTime")),
            incompatible=frozenset(
                GroupResource(r.get("group", ""), r["resource"])
                for r in status.get("syncedResources") or ()
                if r.get("state") == "Incompatible"
            ),
            backlog=int(status.get("syncBacklog") or 0),
        )

    @property
    def supported_exports(self) -> tuple[tuple[str, str], ...]:
        """(workspace path or "", export name), each once."""
        return tuple(dict.fromkeys((one.path, one.name) for one in self.supported))

    def supports(self, path: str, name: str, resource: GroupResource) -> bool:
        """Whether it takes a resource of one of these exports."""
        return offers(self.supported, path, name, resource)


def _reason(condition: Mapping[str, Any] | None) -> str:
    if condition is None:
        return "its syncer has not reported yet"
    return ": ".join(part for part in (condition.get("reason"), condition.get("message")) if part)


def _instant(text: object) -> datetime | None:
    """An RFC 3339 time, or None for what is absent or not one (a duration in `evictAfter`, for example)."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError:
        return None


def selector_of(obj: Mapping[str, Any], problems: list[str]) -> LabelSelector:
    """The selector; one that is malformed selects nothing and adds to `problems`, so that it harms its own object only."""
    try:
        return LabelSelector.from_object(obj)
    except BadRequest as error:
        problems.append(str(error))
        return LabelSelector.NOTHING


@dataclass(frozen=True, slots=True)
class Placement:
    """scheduling.kcp.io Placement: which namespaces of its workspace go to which locations."""

    cluster: ClusterName
    name: str
    location_selectors: tuple[LabelSelector, ...]
    number_of_clusters: int | None
    """None: as many as the strategy says."""
    location_workspace: str
    namespaces: LabelSelector
    namespace_names: frozenset[str]
    """From `namespaceSelector.matchNames`; empty: any name."""
    tolerations: tuple[Mapping[str, Any], ...]
    chosen: tuple[str, ...]
    """K of the targets chosen last."""
    shares: str = ""
    """How replicas are divided, as the annotation says it."""
    hand_over_s: float = DEFAULT_HANDOVER_S
    """How long old copies wait for healthy new ones."""
    problems: tuple[str, ...] = ()
    """Selectors that mean nothing: they select nothing, and the Placement's conditions say why."""
    refusal: str = ""
    """Why it has too few clusters, as its condition says it."""
    source: Source | None = None
    """The one object that it places; None: everything in its namespaces."""

    @classmethod
    def of(cls, obj: JSONObject, chosen: tuple[str, ...]) -> Placement:
        """The fork's `locationSelector` and `constraints.tolerations` are other spellings of fields that kcp 0.11 has."""
        spec = obj.get("spec") or {}
        selector = spec.get("namespaceSelector")
        problems: list[str] = []
        single = spec.get("locationSelector") or {}
        selectors = [*(spec.get("locationSelectors") or ()), *([single["labelSelector"]] if single.get("labelSelector") else ())]
        return cls(
            cluster=meta.cluster(obj),
            name=meta.name(obj),
            location_selectors=tuple(selector_of(s, problems) for s in selectors),
            number_of_clusters=spec.get("numberOfClusters"),
            location_workspace=spec.get("locationWorkspace") or single.get("path") or "",
            namespaces=selector_of({k: v for k, v in (selector or {}).items() if k != "matchNames"}, problems),
            namespace_names=frozenset((selector or {}).get("matchNames") or ()),
            tolerations=(*(spec.get("tolerations") or ()), *((spec.get("constraints") or {}).get("tolerations") or ())),
            chosen=chosen,
            hand_over_s=float(meta.nested(spec, "movement", "handOverSeconds", default=DEFAULT_HANDOVER_S)),
            shares=meta.annotations(obj).get(SHARES_ANNOTATION, ""),
            problems=tuple(problems),
            refusal=str((conditions.get(obj, SCHEDULED) or {}).get("message") or "") if not chosen else "",
            source=Source.of(spec),
        )

    def places(self, obj: JSONObject, namespace: JSONObject) -> bool:
        """Whether an object of this namespace is its to place."""
        return self.selects(namespace) and (self.source is None or self.source.id == id_of(obj))

    def selects(self, namespace: JSONObject) -> bool:
        """An absent or empty namespaceSelector selects every namespace of the workspace; of one object it is the one that it is in."""
        if self.source is not None:
            return meta.name(namespace) == self.source.namespace
        if self.namespace_names and meta.name(namespace) not in self.namespace_names:
            return False
        return self.namespaces.matches(meta.labels(namespace))
