"""The admission chain: plugins in one visible list, each for certain verbs and resources.

The composition root writes the list; features (tenancy, exports, TMC) supply their steps as values in it, nothing registers itself.
Before: `registry.writes` and `registry.deletion`, through `registry.backend.Admission`. After: the plugins.
Source: k8s.io/apiserver/pkg/admission/chain.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import Admission, Attributes, Verb

Mutator: TypeAlias = Callable[[Attributes], Awaitable[JSONObject | None]]
Validator: TypeAlias = Callable[[Attributes], Awaitable[None]]

WRITES: tuple[Verb, ...] = ("CREATE", "UPDATE")
ALL_VERBS: tuple[Verb, ...] = ("CREATE", "UPDATE", "DELETE", "CONNECT")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plugin:
    """One step of the chain and what it is asked about."""

    name: str
    mutate: Mutator | None = None
    validate: Validator | None = None
    verbs: tuple[Verb, ...] = WRITES
    resources: frozenset[GroupResource] | None = None
    """None: every resource."""
    subresources: frozenset[str] | None = frozenset(("",))
    """"" is the object itself. None: every subresource."""

    @classmethod
    def of(
        cls,
        name: str,
        step: Admission,
        *,
        verbs: Iterable[Verb] = ALL_VERBS,
        resources: Iterable[GroupResource] | None = None,
    ) -> Self:
        """A whole `Admission` as one plugin; it is asked about all subresources."""
        only = None if resources is None else frozenset(resources)
        return cls(name=name, mutate=step.mutate, validate=step.validate, verbs=tuple(verbs), resources=only, subresources=None)

    def handles(self, verb: Verb, resource: GroupResource, subresource: str) -> bool:
        return (
            verb in self.verbs
            and (self.resources is None or resource in self.resources)
            and (self.subresources is None or subresource in self.subresources)
        )


_Kind: TypeAlias = tuple[Verb, GroupResource, str]


class AdmissionChain:
    """Implements `registry.backend.Admission`: all mutating steps in order, later all validating ones."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self.plugins = tuple(plugins)
        self._mutators: dict[_Kind, tuple[Mutator, ...]] = {}
        self._validators: dict[_Kind, tuple[Validator, ...]] = {}

    async def mutate(self, attributes: Attributes) -> JSONObject | None:
        kind = _kind(attributes)
        mutators = self._mutators.get(kind)
        if mutators is None:
            mutators = self._mutators[kind] = tuple(p.mutate for p in self._for(kind) if p.mutate is not None)
        for mutate in mutators:
            changed = await mutate(attributes)
            if changed is not attributes.new:
                attributes = _with_object(attributes, changed)
        return attributes.new

    async def validate(self, attributes: Attributes) -> None:
        kind = _kind(attributes)
        validators = self._validators.get(kind)
        if validators is None:
            validators = self._validators[kind] = tuple(p.validate for p in self._for(kind) if p.validate is not None)
        for validate in validators:
            await validate(attributes)

    def _for(self, kind: _Kind) -> Iterable[Plugin]:
        """Asked once per kind of write; how many kinds there are is bounded by the served resources."""
        return [plugin for plugin in self.plugins if plugin.handles(*kind)]


def _kind(attributes: Attributes) -> _Kind:
    return attributes.verb, attributes.scope.resource.group_resource, attributes.scope.subresource


def _with_object(attributes: Attributes, new: JSONObject | None) -> Attributes:
    return Attributes(
        attributes.verb, attributes.scope, attributes.user, new, attributes.old, attributes.dry_run, attributes.warnings,
        notes=attributes.notes,
    )  # fmt: skip
