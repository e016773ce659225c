"""The strategy for whatever has none of its own: end every wait of the component's controllers, and see whether it gets well.

Before: `controller`. After: the controllers of this process, the health monitor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kcp.tmc.errors import ErrorType, TMCError
from kcp.tmc.health.states import Check, Status
from kcp.tmc.recovery.model import Done, NeedsPerson, Recovery, Step, Waiting


class Hurried(Protocol):
    """A controller, as far as this goes."""

    name: str

    def hurry(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Generic:
    running: Callable[[], Iterable[Hurried]]
    checks: Callable[[], Sequence[Check]]
    """How components are now."""

    async def step(self, recovery: Recovery) -> Step:
        component = recovery.subject.component
        found = next((check for check in self.checks() if component and component == check.component.id), None)
        if found is None:
            error = TMCError(ErrorType.CONFIGURATION, f"there is no component {component!r}", operation="recover")
            return NeedsPerson(error, ["`kubectl tmc status --all` lists the components; name a cluster, an object or one of these"])
        if found.status is Status.HEALTHY:
            return Done(f"{component} is Healthy")
        hurried = [controller for controller in self.running() if controller.name == component]
        for controller in hurried:
            controller.hurry()
        error = TMCError(ErrorType.INTERNAL, found.message or f"{component} is {found.status}", operation="recover", retryable=True)
        return Waiting(error, [f"ended the waits of controller {controller.name}" for controller in hurried])

    def next_steps(self, recovery: Recovery, error: TMCError) -> list[str]:
        return [
            f"the log of the server says why {recovery.subject.component} fails",
            "GET /healthz/tmc?verbose shows what was measured of it",
        ]
