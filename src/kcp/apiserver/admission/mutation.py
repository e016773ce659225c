"""The mutating phase: policies, then webhooks, and once more those that want to see what came after them.

One plugin for both, because reinvocation goes over all of them. What they give is defaulted and pruned before the next one sees it.
Before: `engine`. After: `policies.mutating`, `webhooks.mutating`.
Source: k8s.io/apiserver/pkg/admission/reinvocation.go, pkg/admission/plugin/webhook/mutating/dispatcher.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from kcp.apimachinery.errors import Invalid
from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apis.kubernetes.rules import rules_of
from kcp.apiserver.admission.occasion import Occasion
from kcp.registry.backend import Attributes
from kcp.registry.objectmeta import checked_metadata
from kcp.registry.scale import apply_scale
from kcp.registry.separation import confine


@dataclass(frozen=True, slots=True)
class Mutated:
    """What one step gives; None: the object as it was."""

    obj: JSONObject | None


class Step(Protocol):
    """One policy or webhook, about one write."""

    is_reinvoked: bool
    """reinvocationPolicy IfNeeded."""

    def occasion(self, occasion: Occasion) -> Occasion:
        """The write in the version that this step asked for."""

    async def run(self, occasion: Occasion) -> Mutated:
        """Raises StatusError to refuse."""


class Source(Protocol):
    """Where steps come from: the mutating policies, the mutating webhooks."""

    def has_any(self, occasion: Occasion) -> bool:
        """Whether a cluster has any at all; asked on every write."""

    def steps(self, occasion: Occasion) -> AsyncIterator[Step]: ...


class Mutation:
    """Implements the mutating half of an admission step."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = tuple(sources)

    async def mutate(self, attributes: Attributes) -> JSONObject | None:
        occasion = Occasion.of(attributes)
        sources = [source for source in self._sources if source.has_any(occasion)]
        if not sources:
            return attributes.new
        if occasion.new is not None:
            occasion = occasion.with_new(_defaulted(occasion.new, occasion))
        original = occasion.new
        occasion = await self._run_all(sources, occasion)
        if occasion.new is None or occasion.new == original:
            return attributes.new
        return _as_stored(occasion, attributes)

    async def _run_all(self, sources: Sequence[Source], occasion: Occasion) -> Occasion:
        again: list[tuple[Step, JSONObject | None]] = []
        for source in sources:
            async for step in source.steps(occasion):
                occasion = await _run(step, occasion)
                if step.is_reinvoked:
                    again.append((step, occasion.new))
        for step, left in again:
            if occasion.new != left:
                occasion = await _run(step, occasion)
        return occasion


async def _run(step: Step, occasion: Occasion) -> Occasion:
    shown = step.occasion(occasion)
    mutated = (await step.run(shown)).obj
    if mutated is None:
        return occasion
    return occasion.with_new({**mutated, "apiVersion": (occasion.new or {}).get("apiVersion", "")})


def settled(obj: JSONObject, occasion: Occasion) -> JSONObject:
    """A patched object as the next one may see it: without unknown fields, with defaults."""
    resource = occasion.attributes.scope.resource
    if occasion.subresource == "scale":
        return obj
    if resource.schema is not None:
        resource.schema.prune(obj)
        resource.schema.default(obj)
    return _defaulted(obj, occasion)


def _defaulted(obj: JSONObject, occasion: Occasion) -> JSONObject:
    """With the defaults that Kubernetes' own kinds have beyond their schema, as upstream fills them in while decoding."""
    if occasion.subresource:
        return obj
    filled: JSONObject = copy_json(obj)
    rules_of(occasion.kind).default(filled)
    return filled


def _as_stored(occasion: Occasion, attributes: Attributes) -> JSONObject:
    """The whole object behind what was mutated, with only what this endpoint may change changed.

    Raises: Invalid for values of the wrong type, BadRequest for metadata that is none.
    """
    new, before, scope = occasion.new, attributes.new, attributes.scope
    assert new is not None
    assert before is not None
    if scope.subresource == "scale":
        scaled: JSONObject = copy_json(before)
        apply_scale(scaled, new, scope.resource)
        return scaled
    metadata = checked_metadata(new)
    for part in _SYSTEM:
        metadata.pop(part, None)
        if part in before["metadata"]:
            metadata[part] = before["metadata"][part]
    causes = scope.resource.schema.validate(new) if scope.resource.schema is not None else []
    if any(cause.reason in _WRONG_TYPE for cause in causes):
        raise Invalid.of(scope.resource.group_resource, scope.resource.kind, scope.name, causes)
    old = attributes.old
    return confine(new, None if old is None else lambda: copy_json(old), scope)


_SYSTEM = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
)  # fmt: skip
"""Metadata that nobody but the server decides."""
_WRONG_TYPE = frozenset(("FieldValueTypeInvalid", "FieldValueInvalidType"))
