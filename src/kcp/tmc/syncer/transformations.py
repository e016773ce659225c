"""Transformations: what the ConfigMap `syncer-transformations` of a SyncTarget's workspace changes in copies on its cluster.

Before: `rendering`; the engine follows the ConfigMap. After: CEL, for the conditions.
Source: tmc reference §2.2 (syncer-transformations) and §5.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.errors import ErrorType, TMCError

if TYPE_CHECKING:
    from kcp.apimachinery.cel.admission import Compiled

DEFAULT_PLACE = "kcp-system/syncer-transformations"
_VARIABLES = ("metadata", "spec", "data", "kind", "apiVersion")
"""What an `if` may read; `object` is the whole."""
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_CLOSED = ("apiVersion", "kind", "metadata.name", "metadata.namespace", "status")


@dataclass(slots=True)
class Transformations:
    """What is in force now."""

    cluster: str
    """Name of the SyncTarget, for errors."""
    _held: Sequence[Mapping[str, Any]] = ()
    _problem: str = field(default="")

    def read(self, config_map: JSONObject | None) -> None:
        """Take over the ConfigMap's content. A fault in it is told on every object, until it is mended."""
        import yaml

        found: list[Mapping[str, Any]] = []
        problems: list[str] = []
        for key, text in sorted(((config_map or {}).get("data") or {}).items()):
            try:
                document = yaml.safe_load(text) or {}
                listed = document["transformations"] if isinstance(document, dict) else None
                if not isinstance(listed, list):
                    raise ValueError("has no list transformations")
                for entry in listed:
                    problems += [f"{key}: {fault}" for fault in faults(entry)]
                    found.append(entry)
            except (yaml.YAMLError, KeyError, ValueError) as error:
                problems.append(f"{key}: {error}")
        self._held, self._problem = found, "; ".join(problems)

    def apply(self, obj: JSONObject) -> JSONObject:
        """The object transformed; `obj` is not changed. Raises: TMCError."""
        if self._problem:
            raise self._error(self._problem)
        concerned = [entry for entry in self._held if _matches(entry.get("match") or {}, obj)]
        if not concerned:
            return obj
        wanted: JSONObject = meta.copy_json(obj)
        for transform in (t for entry in concerned for t in entry.get("transforms") or ()):
            for rule in transform.get("rules") or ():
                if not rule.get("if") or self._holds(rule["if"], obj):
                    try:
                        _put(wanted, str(transform["target"]), rule["set"])
                    except (LookupError, TypeError) as error:
                        raise self._error(f"{transform['target']}: {error}") from error
                    break
        return wanted

    def _holds(self, text: str, obj: JSONObject) -> bool:
        """A condition on a field that is not there does not hold."""
        program = _compiled(text).program
        values = {name: obj[name] for name in _VARIABLES if name in obj}
        found = program.evaluate({"object": obj, "spec": {}, "data": {}, **values}) if program is not None else None
        if found is not None and found.error and "no such key" not in found.error:
            raise self._error(f"{text}: {found.error}")
        return found is not None and found.value is True

    def _error(self, message: str) -> TMCError:
        advice = "mend the ConfigMap syncer-transformations, or annotate the object with syncer.kcp.io/transform=none"
        return TMCError(ErrorType.PROJECTION_TRANSFORM, message, self.cluster, "transform", advice=advice)


@lru_cache(maxsize=256)
def _compiled(text: str) -> Compiled:
    from kcp.apimachinery.cel.admission import compile_typed
    from kcp.apimachinery.cel.checker import Environment
    from kcp.apimachinery.cel.types import DYN

    return compile_typed(text, Environment(dict.fromkeys(("object", *_VARIABLES), DYN)), ("bool",))


def faults(entry: Any) -> Iterator[str]:
    """What is wrong with one transformation, whatever it is applied to."""
    if not isinstance(entry, dict):
        yield "a transformation must hold match and transforms"
        return
    for transform in entry.get("transforms") or ():
        target = str(transform.get("target") or "") if isinstance(transform, dict) else ""
        if not target or target.startswith(_CLOSED):
            yield f'target "{target}" cannot be set'
            continue
        for rule in transform.get("rules") or ():
            if not isinstance(rule, dict) or "set" not in rule:
                yield f"{target}: a rule needs set"
            elif rule.get("if") and (error := _compiled(str(rule["if"])).error):
                yield f"{rule['if']}: {error}"


def _matches(match: Mapping[str, Any], obj: JSONObject) -> bool:
    return all(match.get(field) in (None, "", obj.get(field)) for field in ("apiVersion", "kind"))


def _put(obj: JSONObject, path: str, value: Any) -> None:
    """Set a field such as `spec.template.spec.containers[0].image`; missing parents are made, list items are not.

    >>> obj = {"spec": {}}; _put(obj, "spec.storage.class", "standard"); obj
    {'spec': {'storage': {'class': 'standard'}}}
    """
    steps: list[Any] = [name or int(index) for name, index in _STEP.findall(path)]
    here: Any = obj
    for step in steps[:-1]:
        here = here.setdefault(step, {}) if isinstance(here, dict) else here[step]
    here[steps[-1]] = value
