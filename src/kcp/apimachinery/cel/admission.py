"""The environment of expressions in policies and webhooks: `object`, `oldObject`, `request`, `params`, `namespaceObject`, `authorizer`,
`variables`; and their compilation, shared by all clusters.

Objects are dyn: one expression may see objects of many kinds. (What is known of them is told as warnings, see `policycheck`.)
Before: `apiserver.admission` (evaluates), `apis.kubernetes.policies` (checks what is written). After: `program`.
Source: k8s.io/apiserver/pkg/admission/plugin/cel/{compile,composition,activation}.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kcp.apimachinery.cel.checker import Environment
from kcp.apimachinery.cel.costs import PER_CALL
from kcp.apimachinery.cel.errors import CompileError, CostExceeded, EvaluationError, no_such_key
from kcp.apimachinery.cel.library.authorization import AUTHORIZER, RESOURCE_CHECK
from kcp.apimachinery.cel.program import Evaluated, Program
from kcp.apimachinery.cel.types import BOOL, DYN, STRING, TIMESTAMP, Field, Type, list_of, map_of

_COMPILED = 2048
"""Expressions kept compiled, over all clusters."""


def object_type(**fields: Type) -> Type:
    """An object with these fields."""
    held = {name: Field(name, declared) for name, declared in fields.items()}
    return Type("object", fields=lambda: held)


class AnyFields(Mapping[str, Field]):
    """The fields of an object of which nothing is known: all there may be."""

    def __getitem__(self, key: str) -> Field:
        return Field(key, DYN)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


_GVK = object_type(group=STRING, version=STRING, kind=STRING)
_GVR = object_type(group=STRING, version=STRING, resource=STRING)
_USER = object_type(username=STRING, uid=STRING, groups=list_of(STRING), extra=map_of(STRING, list_of(STRING)))
REQUEST = Type(
    "object",
    fields=lambda: {
        name: Field(name.strip("_"), declared)
        for name, declared in {
            "kind": _GVK, "resource": _GVR, "subResource": STRING, "requestKind": _GVK, "requestResource": _GVR,
            "requestSubResource": STRING, "name": STRING, "__namespace__": STRING, "operation": STRING, "userInfo": _USER,
            "dryRun": BOOL, "options": DYN,
        }.items()
    },
)  # fmt: skip
_OBJECT_META = Type(
    "object",
    fields=lambda: {
        name: Field(name.strip("_"), declared)
        for name, declared in {
            "name": STRING, "generateName": STRING, "__namespace__": STRING, "labels": map_of(STRING, STRING),
            "annotations": map_of(STRING, STRING), "UID": STRING, "creationTimestamp": TIMESTAMP, "deletionGracePeriodSeconds": DYN,
            "deletionTimestamp": TIMESTAMP, "generation": DYN, "resourceVersion": STRING, "finalizers": list_of(STRING),
        }.items()
    },
)  # fmt: skip
NAMESPACE = object_type(metadata=_OBJECT_META, spec=object_type(finalizers=list_of(STRING)), status=object_type(phase=STRING))


@dataclass(frozen=True, slots=True)
class Compiled:
    """An expression and what compiling it came to: a program, or the reason why there is none."""

    text: str
    program: Program | None
    error: str = ""

    @property
    def type(self) -> Type:
        return self.program.type if self.program is not None else DYN


@dataclass(frozen=True, slots=True)
class Kind:
    """What distinguishes the environments in which an expression may be compiled; equal ones share their programs."""

    has_params: bool = False
    has_authorizer: bool = True
    makes_objects: bool = False
    """`Object{…}` and `JSONPatch{…}` may be written."""


def compile_in(kind: Kind, variables: Sequence[tuple[str, str]], text: str, result: Sequence[str]) -> Compiled:
    """One expression of a policy.

    Args: variables: (name, expression) of spec.variables, each of which may use those before it.
          result: kinds of type that the expression may have; none: any.
    """
    return _compile(kind, tuple(variables) if "variables" in text else (), text, tuple(result))


@lru_cache(maxsize=_COMPILED)
def _compile(kind: Kind, variables: tuple[tuple[str, str], ...], text: str, result: tuple[str, ...]) -> Compiled:
    fields = {name: Field(name, _compile(kind, variables[:index], held, ()).type) for index, (name, held) in enumerate(variables)}
    return compile_typed(text, environment(kind, Type("object", "variables", fields=lambda: fields)), result)


def compile_typed(text: str, held: Environment, result: Sequence[str] = ()) -> Compiled:
    try:
        program = Program(text, held)
    except CompileError as error:
        return Compiled(text, None, f"compilation failed: {error}")
    if result and program.type.kind not in (*result, "dyn"):
        return Compiled(text, None, f"must evaluate to {' or '.join(result)}")
    if "object" in result and program.type.kind == "object" and program.type.name != "Object":
        return Compiled(text, None, "must evaluate to Object")
    return Compiled(text, program)


def environment(kind: Kind, variables: Type, *, objects: Type = DYN, params: Type = DYN) -> Environment:
    declared = {"object": objects, "oldObject": objects, "request": REQUEST, "namespaceObject": NAMESPACE, "variables": variables}
    if kind.has_params:
        declared["params"] = params
    if kind.has_authorizer:
        declared |= {"authorizer": AUTHORIZER, "authorizer.requestResource": RESOURCE_CHECK}
    return Environment(declared, _made) if kind.makes_objects else Environment(declared)


# --- objects that expressions make ---

_JSON_PATCH = Type("object", "JSONPatch", fields=lambda: {
    "op": Field("op", STRING), "path": Field("path", STRING), "from": Field("from", STRING), "value": Field("value", DYN),
})  # fmt: skip


@lru_cache(maxsize=1024)
def _made(name: str) -> Type | None:
    """`Object`, `Object.spec`, `Object.spec.template` …, whose fields are checked when the result is used; `JSONPatch`."""
    if name == "JSONPatch":
        return _JSON_PATCH
    if name == "Object" or name.startswith("Object."):
        return Type("object", name, fields=AnyFields)
    return None


# --- evaluation ---


class Budget:
    """What the expressions of one policy may still cost together."""

    __slots__ = ("left",)

    def __init__(self, total: int) -> None:
        self.left = total

    def evaluate(self, compiled: Compiled, values: Mapping[str, Any]) -> Evaluated:
        """An error where it does not compile or the budget is used up."""
        if compiled.program is None:
            return Evaluated(None, 0, compiled.error)
        if self.left <= 0:
            return Evaluated(None, 0, OUT_OF_BUDGET, is_exceeded=True)
        found = compiled.program.evaluate(values, limit=min(PER_CALL, self.left))
        self.left -= found.cost
        return found


OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


class Variables(Mapping[str, Any]):
    """The values of spec.variables: each worked out when it is first read, then kept for this request."""

    def __init__(self, expressions: Mapping[str, Compiled], values: dict[str, Any], budget: Budget) -> None:
        self._expressions = expressions
        self._values = values
        self._budget = budget
        self._known: dict[str, Evaluated] = {}

    def __getitem__(self, name: str) -> Any:
        found = self._known.get(name)
        if found is None:
            if name not in self._expressions:
                raise no_such_key(name)
            found = self._known[name] = self._budget.evaluate(self._expressions[name], {**self._values, "variables": self})
        if found.is_exceeded:
            raise CostExceeded
        if found.error:
            raise EvaluationError(f'composited variable "{name}" fails to evaluate: {found.error}')
        return found.value

    def __contains__(self, name: object) -> bool:
        return name in self._expressions

    def __iter__(self) -> Iterator[str]:
        return iter(self._expressions)

    def __len__(self) -> int:
        return len(self._expressions)
