"""Questions to the authorizer: `authorizer.group('apps').resource('deployments').check('get').allowed()`.

Only expressions of policies and webhooks have a variable of this type; who answers is given with the variable's value.
Before: `overloads.standard`. Source: k8s.io/apiserver/pkg/cel/library/authz.go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from kcp.apimachinery.cel.costs import AUTHORIZATION
from kcp.apimachinery.cel.overloads import Overload, declare
from kcp.apimachinery.cel.types import Type, opaque

AUTHORIZER = opaque("kubernetes.authorization.Authorizer")
_PATH = opaque("kubernetes.authorization.PathCheck")
_GROUP = opaque("kubernetes.authorization.GroupCheck")
RESOURCE_CHECK = opaque("kubernetes.authorization.ResourceCheck")
_DECISION = opaque("kubernetes.authorization.Decision")


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that somebody may or may not do."""

    verb: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    service_account: tuple[str, str] = ("", "")
    """(namespace, name) in place of the user of the request."""


@dataclass(frozen=True, slots=True)
class Decision:
    is_allowed: bool
    reason: str = ""
    error: str = ""

    @property
    def cel_type(self) -> Type:
        return _DECISION


Answer: TypeAlias = Callable[[Question], Decision]


@dataclass(frozen=True, slots=True)
class Check:
    """A question on its way: every step of the chain adds a part."""

    answer: Answer
    question: Question
    cel_type: Type


def authorizer(answer: Answer) -> Check:
    """The value of the variable `authorizer`."""
    return Check(answer, Question(), AUTHORIZER)


def resource_check(answer: Answer, question: Question) -> Check:
    """The value of the variable `authorizer.requestResource`."""
    return Check(answer, question, RESOURCE_CHECK)


def _with(check: Check, kind: Type, **parts: object) -> Check:
    return Check(check.answer, replace(check.question, **parts), kind)  # type: ignore[arg-type]


def _ask(check: Check, verb: str) -> Decision:
    return check.answer(replace(check.question, verb=verb))


_A, _R, _D = AUTHORIZER.name, RESOURCE_CHECK.name, _DECISION.name

OVERLOADS: tuple[Overload, ...] = (
    declare(f"{_A}.path(string) -> {_PATH.name}", lambda check, path: _with(check, _PATH, path=path)),
    declare(f"{_A}.group(string) -> {_GROUP.name}", lambda check, group: _with(check, _GROUP, group=group)),
    declare(
        f"{_A}.serviceAccount(string, string) -> {_A}",
        lambda check, namespace, name: _with(check, AUTHORIZER, service_account=(namespace, name)),
    ),
    declare(f"{_GROUP.name}.resource(string) -> {_R}", lambda check, resource: _with(check, RESOURCE_CHECK, resource=resource)),
    declare(f"{_R}.subresource(string) -> {_R}", lambda check, held: _with(check, RESOURCE_CHECK, subresource=held)),
    declare(f"{_R}.namespace(string) -> {_R}", lambda check, held: _with(check, RESOURCE_CHECK, namespace=held)),
    declare(f"{_R}.name(string) -> {_R}", lambda check, held: _with(check, RESOURCE_CHECK, name=held)),
    declare(f"{_R}.fieldSelector(string) -> {_R}", lambda check, held: check),
    declare(f"{_R}.labelSelector(string) -> {_R}", lambda check, held: check),
    declare(f"{_R}.check(string) -> {_D}", _ask, AUTHORIZATION),
    declare(f"{_PATH.name}.check(string) -> {_D}", _ask, AUTHORIZATION),
    declare(f"{_D}.allowed() -> bool", lambda decision: decision.is_allowed),
    declare(f"{_D}.reason() -> string", lambda decision: decision.reason),
    declare(f"{_D}.errored() -> bool", lambda decision: bool(decision.error)),
    declare(f"{_D}.error() -> string", lambda decision: decision.error),
)
