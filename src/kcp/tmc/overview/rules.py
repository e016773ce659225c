"""StatusRules: health and the one status of any kind, as CEL of a workspace's users. Each evaluation has a budget.

Before: `instances`, `aggregate`, admission, `kubectl tmc test-rule`. After: CEL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.health.states import Status
from kcp.tmc.overview.knowledge import FINE, Finding

if TYPE_CHECKING:
    from kcp.apimachinery.cel.admission import Compiled

LIMIT = 50_000
"""What one evaluation may cost: some 15 ms at most. A hundred containers are looked at for less."""
_TOO_DEAR = 3
"""A rule that cost too much so often is not asked again until it changes: it would hold up everybody else."""
_ON_ONE, _ON_ALL = ("object", "cluster"), ("clusters",)


class RuleError(Exception):
    """An expression that fails on an object; the message names the expression."""


@dataclass(slots=True)
class StatusRule:
    """One rule; what it costs too much is remembered with it."""

    name: str
    group: str
    kind: str
    health: str = ""
    message: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Field of status → expression."""
    version: str = ""
    """Changes with the rule."""
    _dear: int = 0

    @classmethod
    def of(cls, obj: JSONObject) -> StatusRule:
        spec = obj.get("spec") or {}
        fields = {entry["name"]: entry["expression"] for entry in spec.get("fields") or ()}
        return cls(
            meta.name(obj), spec.get("group") or "", spec.get("kind") or "", spec.get("health") or "", spec.get("message") or "", fields,
            f"{meta.uid(obj)}/{meta.generation(obj)}",
        )  # fmt: skip

    def judge(self, obj: JSONObject, cluster: Mapping[str, Any]) -> Finding:
        """Args: obj: see `knowledge.object_of`. cluster: name and labels. Raises RuleError."""
        values = {"object": obj, "cluster": cluster}
        found = self._evaluate(self.health, _ON_ONE, values)
        if isinstance(found, bool):
            health = Status.HEALTHY if found else Status.UNHEALTHY
        elif isinstance(found, str) and found in Status.__members__.values():
            health = Status(found)
        else:
            raise RuleError(f"{self.health}: gives {found!r}, which is neither a bool nor one of {', '.join(Status)}")
        if health is Status.HEALTHY:
            return FINE
        words = self._evaluate(self.message, _ON_ONE, values) if self.message else f"StatusRule {self.name}"
        return Finding(health, str(words))

    def combine(self, clusters: Sequence[Mapping[str, Any]]) -> JSONObject:
        """The fields of the one status. Raises RuleError."""
        return {name: _as_json(text, self._evaluate(text, _ON_ALL, {"clusters": clusters})) for name, text in self.fields.items()}

    def _evaluate(self, text: str, variables: tuple[str, ...], values: Mapping[str, Any]) -> Any:
        compiled = _compiled(text, variables)
        if compiled.program is None:
            raise RuleError(f"{text}: {compiled.error}")
        if self._dear >= _TOO_DEAR:
            raise RuleError(f"{text}: cost too much on {_TOO_DEAR} objects and is not evaluated any more until the rule is changed")
        found = compiled.program.evaluate(values, limit=LIMIT)
        if found.error:
            self._dear += found.is_exceeded
            raise RuleError(f"{text}: {found.error}")
        return found.value


def _as_json(text: str, value: Any) -> Any:
    from kcp.apimachinery.cel.asjson import as_json
    from kcp.apimachinery.cel.errors import EvaluationError

    try:
        return as_json(value)
    except EvaluationError as error:
        raise RuleError(f"{text}: {error}") from error


@lru_cache(maxsize=512)
def _compiled(text: str, variables: tuple[str, ...]) -> Compiled:
    from kcp.apimachinery.cel.admission import compile_typed
    from kcp.apimachinery.cel.checker import Environment
    from kcp.apimachinery.cel.types import DYN, list_of

    return compile_typed(text, Environment({name: list_of(DYN) if name == "clusters" else DYN for name in variables}))


def faults(rule: JSONObject) -> Iterator[Cause]:
    """What is wrong with a StatusRule whatever it is applied to."""
    spec = rule.get("spec") or {}
    if not spec.get("health") and not spec.get("fields"):
        yield Cause.invalid("spec", "", "must say health, fields, or both")
    for name in ("health", "message"):
        if (text := spec.get(name)) and (error := _compiled(text, _ON_ONE).error):
            yield Cause.invalid(f"spec.{name}", text, error)
    if (text := spec.get("health")) and (found := _compiled(text, _ON_ONE)).program and found.type.kind not in ("bool", "string", "dyn"):
        yield Cause.invalid("spec.health", text, "must evaluate to bool or string")
    for index, entry in enumerate(spec.get("fields") or ()):
        if error := _compiled(entry["expression"], _ON_ALL).error:
            yield Cause.invalid(f"spec.fields[{index}].expression", entry["expression"], error)
