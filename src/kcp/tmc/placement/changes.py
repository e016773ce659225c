"""What makes the copy on one target differ from the object: OverridePolicies, then ResourceProjections. And which projections want a copy.

Before: `resources`, which writes it on the object; `kubectl tmc render`. After: `overrides.policy`, `projection`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.patch import json_patch
from kcp.controller.informer import Informer
from kcp.tmc.errors import ErrorType, TMCError
from kcp.tmc.model.indexes import BY_KEY
from kcp.tmc.model.names import OVERRIDE_ANNOTATION, SPEC_DIFF_ANNOTATION, upsyncing_key
from kcp.tmc.model.views import Views
from kcp.tmc.overrides import policy
from kcp.tmc.overrides.policy import Cluster, OverrideError
from kcp.tmc.placement.observe import target_of
from kcp.tmc.projection import transform
from kcp.tmc.projection.expressions import facts_of
from kcp.tmc.projection.spec import Mark, Projection, marks
from kcp.tmc.projection.transform import Scene, TransformationError

_NO_TIME = datetime.min.replace(tzinfo=UTC)
_MOST_FAULTS = 3


@dataclass(frozen=True, slots=True)
class Overrides:
    """What they come to for one target."""

    patch: Sequence[JSONObject] = ()
    error: TMCError | None = None


def for_target(obj: JSONObject, key: str) -> JSONObject:
    """The object as target K gets it without changes: with its share. `obj` is not changed. Raises: ValueError."""
    diff = meta.annotations(obj).get(SPEC_DIFF_ANNOTATION + key)
    return {**obj, "spec": json_patch.apply(obj.get("spec") or {}, json.loads(diff))} if diff else obj


def told_of(target: JSONObject) -> object:
    """What policies and projections may read of a SyncTarget; a heartbeat changes none of it."""
    spec, status = target.get("spec") or {}, target.get("status") or {}
    return meta.labels(target), spec.get("cells"), spec.get("capabilities"), status.get("allocatable")


def changed(
    obj: JSONObject, key: str, target: JSONObject, policies: Sequence[JSONObject], projections: Sequence[Projection],
    validate: Callable[[JSONObject], Sequence[Cause]],
) -> Overrides:  # fmt: skip
    """Everything that changes the copy on one target, as one patch. Pure.

    Args: obj: with its share and its marks. target: the SyncTarget with this K. policies: of the object's namespace. projections: of its
    workspace. validate: by the schema of the object's kind.
    """
    name = meta.name(target)
    try:
        here = for_target(obj, key)
        patch = policy.patch_for(policies, here, Cluster(name, meta.labels(target))) if policies else []
    except (OverrideError, ValueError) as error:  # a spec diff may not fit either
        return Overrides(error=_error(str(error), name, "override", "mend the OverridePolicy or the object"))
    mark = Mark.of(obj, key)
    mine = {p.name: p for p in projections if mark is not None and p.name in mark.by and p.transformations}
    if mark is None or not mine:
        return Overrides(patch)
    here = json_patch.apply(here, patch) if patch else here
    facts = facts_of(target_of(target, _NO_TIME))
    by = ""
    try:
        for by, projection in sorted(mine.items()):
            step = transform.patch_for(by, projection.transformations, here, Scene(by, mark.origin, facts))
            here = json_patch.apply(here, step) if step else here
            patch = [*patch, *step]
            if step and (faults := validate(here)):
                told = "; ".join(map(str, faults[:_MOST_FAULTS]))
                raise TransformationError(f"ResourceProjection {by}: what it makes is invalid: {told}")
    except TransformationError as error:
        return Overrides(error=_error(str(error), name, "project", f"mend the ResourceProjection {by} or the object"))
    return Overrides(patch)


def _error(message: str, cluster: str, operation: str, advice: str) -> TMCError:
    told = f"{advice}; until then the copy stays as it is"
    return TMCError(ErrorType.PROJECTION_TRANSFORM, message, cluster, operation, advice=told)


@dataclass(frozen=True, slots=True)
class Changes:
    """Of the objects of one resource."""

    targets: Informer
    """With index BY_KEY."""
    policies: Informer
    projections: Views[Projection] | None
    """None with projections off: what was projected then stays as it is."""
    validate: Callable[[JSONObject], Sequence[Cause]]

    def concern(self, key: ObjectKey) -> bool:
        """Whether anything at all may change this object's copies."""
        is_projected = self.projections is not None and self.projections.informer.count(cluster=key.cluster)
        return bool(is_projected or self.policies.count(cluster=key.cluster, namespace=key.namespace))

    def wanted_by(self, obj: JSONObject, source: str) -> Mapping[str, Mark]:
        """K → the projections that want a copy of an object there.

        Args: source: name of the SyncTarget that shows the object, "" for one of the workspace's own.
        """
        cluster, shown_by = meta.cluster(obj), upsyncing_key(obj)
        if self.projections is None:
            return marks(obj)
        if not self.projections.informer.count(cluster=cluster):
            return {}
        by: dict[str, list[str]] = {}
        for projection in self.projections.of_cluster(cluster):
            if projection.chosen and projection.selects(obj, source):
                for key in (k for k in projection.chosen if k != shown_by):
                    by.setdefault(key, []).append(projection.name)
        return {key: Mark(tuple(names), source or str(cluster)) for key, names in by.items()}

    def of(self, obj: JSONObject, key: str) -> Overrides | None:
        """What target K gets of an object instead; None where nothing changes it."""
        if self.projections is None and Mark.of(obj, key) is not None:
            return Overrides(json.loads(meta.annotations(obj).get(OVERRIDE_ANNOTATION + key) or "[]"))
        if not self.concern(meta.key(obj)):
            return None
        target = next(iter(self.targets.by_index(BY_KEY, key)), None)
        if target is None:
            return None
        cluster, namespace = meta.cluster(obj), meta.namespace(obj)
        policies = self.policies.list(cluster=cluster, namespace=namespace)
        projections = self.projections.of_cluster(cluster) if self.projections is not None else ()
        return changed(obj, key, target, policies, projections, self.validate)
