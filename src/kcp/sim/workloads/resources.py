"""CPU, memory and pod-count arithmetic of scheduling.

Source: pkg/scheduler/framework/types.go (Resource), component-helpers resource.PodRequests. Before: `podview`, `scheduling`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kcp.apimachinery import quantity


@dataclass(frozen=True, slots=True)
class Requests:
    """What one or several pods ask for, or what a node offers."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    pods: int = 0

    def plus(self, other: Requests) -> Requests:
        return Requests(self.cpu_millis + other.cpu_millis, self.memory_bytes + other.memory_bytes, self.pods + other.pods)

    def minus(self, other: Requests) -> Requests:
        return Requests(self.cpu_millis - other.cpu_millis, self.memory_bytes - other.memory_bytes, self.pods - other.pods)

    def at_least(self, other: Requests) -> Requests:
        """Each amount the larger of the two."""
        return Requests(max(self.cpu_millis, other.cpu_millis), max(self.memory_bytes, other.memory_bytes), max(self.pods, other.pods))


NOTHING = Requests()


@lru_cache(maxsize=1024)
def _millis(text: str) -> int:
    return quantity.millis(text)


def amounts(resources: Mapping[str, Any], *, pods: int = 0) -> Requests:
    """A ResourceList as numbers; a malformed quantity raises ValueError, but the API server does not let one in."""
    memory = resources.get("memory")
    return Requests(_millis(str(resources.get("cpu") or 0)), -(-_millis(str(memory)) // 1000) if memory else 0, pods)


def pod_requests(spec: Mapping[str, Any]) -> Requests:
    """The larger of all containers together and of each init container; plus overhead."""
    total = Requests(pods=1)
    for container in spec.get("containers") or ():
        total = total.plus(_container(container))
    for container in spec.get("initContainers") or ():
        total = total.at_least(_container(container))
    return total.plus(amounts(spec.get("overhead") or {}))


def _container(container: Mapping[str, Any]) -> Requests:
    """Requests of a container; a limit stands in for a request that is not given, as API defaulting has it."""
    resources = container.get("resources")
    if not resources:
        return NOTHING
    return amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})
