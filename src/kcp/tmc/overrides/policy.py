"""What the OverridePolicies of a namespace make of an object for one cluster: a JSON patch, or the reason why there is none. Pure.

Before: `placement.resources`, which writes it on the object, and admission. After: JSON patch, CEL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kcp.apimachinery import meta
from kcp.apimachinery.errors import BadRequest, Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.patch import json_patch, pointer
from kcp.apimachinery.patch.errors import PatchError
from kcp.apimachinery.selectors import LabelSelector

if TYPE_CHECKING:
    from kcp.apimachinery.cel.admission import Compiled

_ABSENT = object()
_OPEN_METADATA = ("labels", "annotations")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a policy may know of a SyncTarget."""

    name: str
    labels: Mapping[str, str]


class OverrideError(Exception):
    """A policy cannot be applied to an object; the message names policy and rule."""


def patch_for(policies: Sequence[JSONObject], obj: JSONObject, cluster: Cluster) -> list[JSONObject]:
    """The operations that make the object into what this cluster should get; [] for none. `obj` is not changed.

    Args: policies: of the object's namespace. obj: as the cluster would get it without them.
    Raises: OverrideError.
    """
    operations: list[JSONObject] = []
    here = obj
    for policy in sorted(policies, key=meta.name):
        spec = policy.get("spec") or {}
        wanted: Sequence[JSONObject] = spec.get("resourceSelectors") or ({},)
        if not any(_selects(selector, obj) for selector in wanted):
            continue
        for number, rule in enumerate(spec.get("overrideRules") or ()):
            try:
                step = _operations(rule, here, cluster)
                here = json_patch.apply(here, step) if step else here
            except (PatchError, OverrideError, LookupError, BadRequest) as error:
                raise OverrideError(f"OverridePolicy {meta.name(policy)}, rule {number}: {error}") from error
            operations += step
    return operations


def _selects(selector: Mapping[str, Any], obj: JSONObject) -> bool:
    wanted = (("apiVersion", obj.get("apiVersion")), ("kind", obj.get("kind")), ("name", meta.name(obj)))
    if any(selector.get(field) not in (None, "", value) for field, value in wanted):
        return False
    return LabelSelector.from_object(selector.get("labelSelector") or {}).matches(meta.labels(obj))


def _concerns(rule: Mapping[str, Any], cluster: Cluster) -> bool:
    where = rule.get("targetCluster") or {}
    names, excluded = where.get("clusterNames") or (), where.get("exclude") or ()
    if names and not any(fnmatchcase(cluster.name, pattern) for pattern in names):
        return False
    if any(fnmatchcase(cluster.name, pattern) for pattern in excluded):
        return False
    return LabelSelector.from_object(where.get("labelSelector") or {}).matches(cluster.labels)


def _operations(rule: Mapping[str, Any], obj: JSONObject, cluster: Cluster) -> list[JSONObject]:
    if not _concerns(rule, cluster) or (rule.get("when") and not _evaluate(rule["when"], obj, cluster, ("bool",))):
        return []
    found: list[JSONObject] = [dict(operation) for operation in rule.get("jsonPatch") or ()]
    here = json_patch.apply(obj, found) if found else obj
    for field in rule.get("set") or ():
        value = _evaluate(field["expression"], here, cluster, ())
        step = [*_parents(here, field["path"]), {"op": "add", "path": field["path"], "value": value}]
        here = json_patch.apply(here, step)
        found += step
    refused = [str(c) for operation in found for c in _path_faults(operation, "")]
    if refused:
        raise OverrideError("; ".join(refused))
    return found


def _parents(obj: JSONObject, path: str) -> Iterator[JSONObject]:
    """Operations that make the maps on the way to a field that are not there."""
    steps = pointer.parse(path)
    here: Any = obj
    for depth, step in enumerate(steps[:-1]):
        here = here.get(step, _ABSENT) if isinstance(here, dict) else here[int(step)] if isinstance(here, list) and step.isdigit() else None
        if here is _ABSENT or here is None:
            here = {}
            yield {"op": "add", "path": "".join(f"/{pointer.escape(s)}" for s in steps[: depth + 1]), "value": {}}


@lru_cache(maxsize=512)
def _compiled(text: str, result: tuple[str, ...]) -> Compiled:
    from kcp.apimachinery.cel.admission import compile_typed
    from kcp.apimachinery.cel.checker import Environment
    from kcp.apimachinery.cel.types import DYN

    return compile_typed(text, Environment({"object": DYN, "cluster": DYN}), result)


def _evaluate(text: str, obj: JSONObject, cluster: Cluster, result: tuple[str, ...]) -> Any:
    compiled = _compiled(text, result)
    if compiled.program is None:
        raise OverrideError(f"{text}: {compiled.error}")
    found = compiled.program.evaluate({"object": obj, "cluster": {"name": cluster.name, "labels": dict(cluster.labels)}})
    if found.error:
        raise OverrideError(f"{text}: {found.error}")
    return found.value


# --- what admission refuses ---


def faults(policy: JSONObject) -> Iterator[Cause]:
    """What is wrong with a policy whatever it is applied to; selectors are checked elsewhere."""
    for number, rule in enumerate((policy.get("spec") or {}).get("overrideRules") or ()):
        where = f"spec.overrideRules[{number}]"
        if rule.get("when"):
            yield from _text_faults(rule["when"], ("bool",), f"{where}.when")
        for index, operation in enumerate(rule.get("jsonPatch") or ()):
            yield from _path_faults(operation, f"{where}.jsonPatch[{index}]")
        for index, field in enumerate(rule.get("set") or ()):
            yield from _text_faults(field["expression"], (), f"{where}.set[{index}].expression")
            yield from _path_faults(field, f"{where}.set[{index}]")


def selectors(policy: JSONObject) -> Iterable[tuple[str, Any]]:
    """Every label selector of a policy and where it stands."""
    spec = policy.get("spec") or {}
    for index, selector in enumerate(spec.get("resourceSelectors") or ()):
        yield f"spec.resourceSelectors[{index}].labelSelector", selector.get("labelSelector")
    for index, rule in enumerate(spec.get("overrideRules") or ()):
        yield f"spec.overrideRules[{index}].targetCluster.labelSelector", (rule.get("targetCluster") or {}).get("labelSelector")


def _text_faults(text: str, result: tuple[str, ...], where: str) -> Iterator[Cause]:
    if error := _compiled(text, result).error:
        yield Cause.invalid(where, text, error)


def _path_faults(operation: Mapping[str, Any], where: str) -> Iterator[Cause]:
    """Identity, status, and what the control plane keeps on an object are nobody's to override."""
    for field in ("path", "from"):
        text = operation.get(field)
        if text is None:
            continue
        try:
            steps = pointer.parse(text)
        except PatchError as error:
            yield Cause.invalid(f"{where}.{field}".lstrip("."), text, str(error))
            continue
        if not is_open(steps):
            detail = "only spec, data and the like, and single labels and annotations outside kcp.io, may be overridden"
            yield Cause.invalid(f"{where}.{field}".lstrip("."), text, detail)


def is_open(steps: tuple[str, ...]) -> bool:
    """Whether a field is anybody's to change in a copy; what is below it is, then, too."""
    if not steps or steps[0] in ("apiVersion", "kind", "status"):
        return False
    if steps[0] != "metadata":
        return True
    return len(steps) == 3 and steps[1] in _OPEN_METADATA and not steps[2].partition("/")[0].endswith("kcp.io")
