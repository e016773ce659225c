"""CPU, memory, pod-count and other amounts of scheduling.

Source: pkg/scheduler/framework/types.go (Resource), component-helpers resource.PodRequests. Before: `podview`, `scheduling`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kcp.apimachinery import quantity

_WELL_KNOWN = frozenset(("cpu", "memory", "pods"))
Others = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Requests:
    """What one or several pods ask for, or what a node offers."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    pods: int = 0
    others: Others = ()
    """(name, amount) of every other resource, in order of name: ephemeral storage, huge pages, extended resources."""

    def plus(self, other: Requests) -> Requests:
        others = _joined(self.others, other.others, lambda a, b: a + b)
        return Requests(self.cpu_millis + other.cpu_millis, self.memory_bytes + other.memory_bytes, self.pods + other.pods, others)

    def minus(self, other: Requests) -> Requests:
        others = _joined(self.others, other.others, lambda a, b: a - b)
        return Requests(self.cpu_millis - other.cpu_millis, self.memory_bytes - other.memory_bytes, self.pods - other.pods, others)

    def at_least(self, other: Requests) -> Requests:
        """Each amount the larger of the two."""
        others = _joined(self.others, other.others, max)
        cpu, memory = max(self.cpu_millis, other.cpu_millis), max(self.memory_bytes, other.memory_bytes)
        return Requests(cpu, memory, max(self.pods, other.pods), others)


NOTHING = Requests()


def _joined(one: Others, other: Others, join: Callable[[int, int], int]) -> Others:
    if not other:
        return one
    here, there = dict(one), dict(other)
    return tuple((name, join(here.get(name, 0), there.get(name, 0))) for name in sorted(here.keys() | there.keys()))


@lru_cache(maxsize=1024)
def _millis(text: str) -> int:
    return quantity.millis(text)


def _units(text: object) -> int:
    return -(-_millis(str(text)) // 1000)


def amounts(resources: Mapping[str, Any], *, pods: int = 0) -> Requests:
    """A ResourceList as numbers; a malformed quantity raises ValueError, but the API server does not let one in."""
    memory = resources.get("memory")
    others: Others = ()
    if not resources.keys() <= _WELL_KNOWN:
        others = tuple((name, _units(value)) for name, value in sorted(resources.items()) if name not in _WELL_KNOWN)
    return Requests(_millis(str(resources.get("cpu") or 0)), _units(memory) if memory else 0, pods, others)


def pod_requests(spec: Mapping[str, Any]) -> Requests:
    """All containers and sidecars together, or an init container with the sidecars before it, whichever is more; plus overhead.

    What the pod as a whole asks for (KEP-2837) goes before the sum of its containers.
    """
    total, beside = Requests(pods=1), NOTHING
    for container in spec.get("containers") or ():
        total = total.plus(_container(container))
    most = NOTHING
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            beside = beside.plus(_container(container))
            most = most.at_least(beside)
        else:
            most = most.at_least(beside.plus(_container(container)))
    total = total.plus(beside).at_least(most)
    if whole := spec.get("resources"):
        wanted = amounts({**(whole.get("limits") or {}), **(whole.get("requests") or {})})
        total = Requests(wanted.cpu_millis or total.cpu_millis, wanted.memory_bytes or total.memory_bytes, 1, total.others)
    return total.plus(amounts(spec.get("overhead") or {}))


def _container(container: Mapping[str, Any]) -> Requests:
    """Requests of a container; a limit stands in for a request that is not given, as API defaulting has it."""
    resources = container.get("resources")
    if not resources:
        return NOTHING
    return amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})
