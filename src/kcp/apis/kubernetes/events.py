"""Events: `v1` and `events.k8s.io/v1` are two views of one object, which is stored as `v1`; and what is legal in each.

Before: `registry.builtin` (conversion), `rules` (validation), `selectable` (fields).
Source: k8s.io/kubernetes/pkg/apis/events/v1/conversion.go, pkg/apis/core/validation/events.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject, nested
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import obj_at

_NAMES: Mapping[str, str] = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
"""Fields of events.k8s.io/v1 by their names in v1; all others are called the same."""
_BACK = {core: new for new, core in _NAMES.items()}
_CORE, _NEW = "v1", "events.k8s.io/v1"


def to_core(event: JSONObject) -> JSONObject:
    """An events.k8s.io/v1 Event as v1. Shares its parts with the argument."""
    return {_NAMES.get(part, part): value for part, value in event.items()} | {"apiVersion": _CORE}


def from_core(event: JSONObject) -> JSONObject:
    return {_BACK.get(part, part): value for part, value in event.items()} | {"apiVersion": _NEW}


_LONGEST_WORD = 128
_LONGEST_NOTE = 1024


def core_event(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    return list(_lasting(new, "reportingComponent"))


def new_event(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    """Stricter than v1: what deprecated clients sent must be unset; that there is an eventTime is the schema's to ask for.

    Source: events.go, ValidateEventCreate, ValidateEventUpdate.
    """
    core = to_core(new)
    causes = list(_lasting(core, "reportingController"))
    if old is not None:
        held = to_core(old)
        return [*causes, *(_series(core) if core.get("series") != held.get("series") else ()), *_unchanged(core, held)]
    if core.get("type") not in ("Normal", "Warning"):
        causes.append(Cause.invalid("type", "", f"has invalid value: {core.get('type') or ''}"))
    causes += [
        Cause.invalid(part, "", "needs to be unset") for part in ("firstTimestamp", "lastTimestamp", "count", "source") if core.get(part)
    ]
    return [*causes, *_series(core)]


def _lasting(event: Mapping[str, Any], controller: str) -> Iterator[Cause]:
    """Source: events.go, legacyValidateEvent: an event with an eventTime must say who reports it, and why."""
    namespace, about = nested(event, "metadata", "namespace", default=""), obj_at(event, "involvedObject").get("namespace") or ""
    fault = Cause.invalid("involvedObject.namespace", about, "does not match event.namespace")
    if not event.get("eventTime"):
        if about != namespace and (about or namespace != "default"):
            yield fault
        return
    if not about and namespace not in ("default", "kube-system"):
        yield fault
    reporter = event.get("reportingComponent") or ""
    if not reporter:
        yield Cause.required(controller)
    yield from (Cause.invalid(controller, reporter, text) for text in names.qualified_name(str(reporter)))
    for part in ("reportingInstance", "action", "reason"):
        text = str(event.get(part) or "")
        if not text:
            yield Cause.required(part)
        if len(text) > _LONGEST_WORD:
            yield Cause.invalid(part, "", f"can have at most {_LONGEST_WORD} characters")
    if len(str(event.get("message") or "")) > _LONGEST_NOTE:
        yield Cause.invalid("message", "", f"can have at most {_LONGEST_NOTE} characters")


_FIXED = (
    "involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "type", "eventTime", "action", "related",
    "reportingComponent", "reportingInstance",
)  # fmt: skip


def _unchanged(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    for part in _FIXED:
        if (new.get(part) or None) != (old.get(part) or None):
            yield Cause.invalid("reportingController" if part == "reportingComponent" else part, new.get(part) or "", checks.IMMUTABLE)


def _series(event: Mapping[str, Any]) -> Iterator[Cause]:
    series = event.get("series")
    if not isinstance(series, Mapping):
        return
    if (series.get("count") or 0) < 2:
        yield Cause.invalid("series.count", "", "should be at least 2")
    if not series.get("lastObservedTime"):
        yield Cause.required("series.lastObservedTime")
