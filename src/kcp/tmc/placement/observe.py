"""From SyncTarget and Location objects to the values of a Snapshot.

Time enters here and nowhere below: `not_ready_for_s` and its like are ages as of `now`. A SyncTarget whose view does not depend on time,
which is nearly every one, is read once for each of its versions: `Observed` holds the views of all SyncTargets that are asked for.
Before: `controller`, previews. After: `snapshot`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kcp.aio.clock import parse_rfc3339
from kcp.apimachinery import meta, quantity
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.kinds import SyncTarget, selector_of
from kcp.tmc.model.names import sync_target_key
from kcp.tmc.placement.snapshot import Fleet, LabelledWorkspaces, Location, Taint, Target, Toleration

_EVER = datetime.min.replace(tzinfo=UTC)


def target_of(obj: JSONObject, now: datetime, watched_since: datetime = _EVER) -> Target:
    """One SyncTarget.

    Args: watched_since: a target is unready for no longer than somebody was there who would have heard of it again.
    """
    target = SyncTarget.of(obj)
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    unready_for_s = 0.0 if target.ready or target.ready_since is None else (now - max(target.ready_since, watched_since)).total_seconds()
    left_s = (target.evict_after - now).total_seconds() if target.evict_after is not None else 0.0
    return Target(
        key=sync_target_key(target.cluster, target.name),
        name=target.name,
        labels=target.labels,
        ready=target.ready,
        not_ready_reason=target.not_ready_reason,
        not_ready_for_s=unready_for_s,
        unschedulable=target.unschedulable,
        evicting=target.evict_after is not None and target.evict_after <= now,
        evicts_in_s=left_s if left_s > 0 else None,
        taints=tuple(_taint(t, now) for t in target.taints),
        missing_apis=tuple(sorted(str(gr) for gr in target.incompatible)),
        api_faults=_api_faults(status.get("syncedResources") or ()),
        identities=_identities(status.get("syncedResources") or ()),
        cells=spec.get("cells") or {},
        capabilities=_capabilities(spec.get("capabilities") or ()),
        workspaces=tuple(_named(w) for w in spec.get("workspaces") or () if not w.get("selector")),
        labelled_workspaces=tuple(_labelled(w) for w in spec.get("workspaces") or () if w.get("selector")),
        allocatable=_amounts(status.get("allocatable")),
        used=_amounts(status.get("usage")),
        latency_ms=spec.get("latencies") or {},
        prices=_amounts(spec.get("prices")),
        priority=int(spec.get("priority") or 0),
    )


def _named(told: Mapping[str, Any]) -> str:
    return str(told.get("path") or told.get("name") or "")


def _labelled(told: Mapping[str, Any]) -> LabelledWorkspaces:
    selector, name = selector_of(told["selector"], []), _named(told)
    return LabelledWorkspaces(selector, name, f"{name or '*'} with labels {selector}")


def _taint(taint: Mapping[str, Any], now: datetime) -> Taint:
    return Taint(taint.get("key", ""), taint.get("value", ""), taint.get("effect", "NoSchedule"), _age_s(taint.get("timeAdded"), now))


def _age_s(stamp: object, now: datetime) -> float:
    try:
        return max((now - parse_rfc3339(stamp)).total_seconds(), 0.0) if isinstance(stamp, str) else 0.0
    except ValueError:
        return 0.0


def _identities(resources: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    return {
        str(GroupResource(r.get("group", ""), r["resource"])): identity for r in resources if (identity := r.get("identityHash"))
    } or _NO_IDENTITIES


_NO_IDENTITIES: Mapping[str, str] = {}


def _api_faults(resources: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    """What the comparison of identities and structural schemas found, as `tmc.apis` tells it."""
    refused = (r for r in resources if r.get("state") == "Incompatible" and r.get("message"))
    return {str(GroupResource(r.get("group", ""), r["resource"])): r["message"] for r in refused} or _NO_IDENTITIES


def _capabilities(told: Sequence[JSONObject]) -> dict[str, Mapping[str, str]]:
    """Type → details, of those that are there. `resource` with its `capacity` is the reference's other spelling of a detail."""
    found: dict[str, Mapping[str, str]] = {}
    for entry in told:
        if entry.get("available", True):
            detail = {entry["resource"]: str(entry.get("capacity", ""))} if entry.get("resource") else {}
            found[entry["type"]] = {**found.get(entry["type"], {}), **detail, **(entry.get("metadata") or {})}
    return found


def _amounts(held: Mapping[str, Any] | None) -> dict[str, float]:
    """Quantities in base units; what is none is left out, as if it had not been reported."""
    found: dict[str, float] = {}
    for name, text in (held or {}).items():
        try:
            found[name] = float(quantity.parse(text))
        except (quantity.QuantityError, TypeError):
            continue
    return found


def depends_on_time(obj: JSONObject) -> bool:
    """Whether the same object may be another Target later."""
    spec = obj.get("spec") or {}
    return bool(spec.get("evictAfter")) or any(t.get("timeAdded") for t in spec.get("taints") or ()) or not SyncTarget.of(obj).ready


def tolerations_of(listed: Sequence[Mapping[str, Any]]) -> list[Toleration]:
    return [
        Toleration(
            t.get("key", ""), t.get("operator", "Equal"), t.get("value", ""), t.get("effect", ""),
            None if t.get("tolerationSeconds") is None else float(t["tolerationSeconds"]),
        )
        for t in listed
    ]  # fmt: skip


def location_of(obj: JSONObject) -> Location:
    return Location(meta.name(obj), meta.labels(obj), selector_of(meta.nested(obj, "spec", "instanceSelector", default={}), []))


@dataclass(slots=True)
class Observed:
    """The Targets of many looks, read anew only when a SyncTarget changed. At most one value for each SyncTarget that exists."""

    get: Callable[[ObjectKey], JSONObject | None]
    version_of: Callable[[ObjectKey], str | None]
    watched_since: datetime = _EVER
    """When this process began to watch."""
    _held: dict[ObjectKey, tuple[str, Target]] = field(default_factory=dict)

    def fleet(self, keys: Sequence[ObjectKey], now: datetime) -> Fleet:
        """Args: keys: in name order, as informers give them."""
        return Fleet(t for key in keys if (t := self._target(key, now)) is not None)

    def _target(self, key: ObjectKey, now: datetime) -> Target | None:
        version = self.version_of(key)
        held = self._held.get(key)
        if held is not None and held[0] == version:
            return held[1]
        obj = self.get(key)
        if obj is None or version is None:
            self.forget(key)
            return None
        target = target_of(obj, now, self.watched_since)
        if depends_on_time(obj):
            self.forget(key)
        else:
            self._held[key] = (version, target)
        return target

    def forget(self, key: ObjectKey) -> None:
        self._held.pop(key, None)
