"""Looks at every component again and again, and says how they are; what flaps is shown only once it stays.

A component's state changes in what is shown when `settle_checks` checks in a row have found the same other state; the first finding counts
at once. So a failure is shown within two intervals, and one late answer is not.
Before: `report`, `endpoint`. After: `providers`. Source for intervals and thresholds: the TMC reference §7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from kcp.aio.clock import Clock
from kcp.aio.deadline import within
from kcp.aio.metrics import Histogram
from kcp.apimachinery.errors import StatusError
from kcp.client.transport import TransportError
from kcp.storage.interface import StoreError
from kcp.tmc.health.states import Check, Component, Status

Look = Callable[[], Awaitable[Sequence[Check]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthConfig:
    """How often, and what is slow; what each means says `server.options.TMCOptions`."""

    interval_s: float = 5.0
    timeout_s: float = 10.0
    degraded_s: float = 120.0
    unhealthy_s: float = 300.0
    settle_checks: int = 2
    """So many times in a row another state must be found to be shown."""


@dataclass(frozen=True, slots=True)
class Provider:
    """Whoever knows how some components are. `look` measures: it never answers from what it hopes."""

    component: Component
    """Who is Unhealthy if `look` fails or does not answer."""
    look: Look


@dataclass(slots=True)
class _Shown:
    check: Check
    since_s: float
    candidate: Status | None = None
    seen: int = 0
    up_since_s: float = 0.0


@dataclass(slots=True)
class Monitor:
    """The present state of all components: `checks`."""

    clock: Clock
    config: HealthConfig
    changed: Callable[[Sequence[Check]], Awaitable[None]] | None = None
    """Called after each round."""
    providers: list[Provider] = field(default_factory=list)
    rounds: int = 0
    looks: int = 0
    """Of providers at what they know."""
    failed_looks: dict[str, int] = field(default_factory=dict)
    """By component type: looks that failed, or were not answered."""
    durations: Histogram = field(default_factory=Histogram)
    """Of looks, in seconds."""
    _shown: dict[Component, _Shown] = field(default_factory=dict)

    def add(self, *providers: Provider) -> None:
        self.providers.extend(providers)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.step()
            await self.clock.sleep(self.config.interval_s)

    async def step(self) -> None:
        """One round: all providers side by side."""
        found = [check for checks in await asyncio.gather(*map(self._ask, list(self.providers))) for check in checks]
        present = {check.component for check in found}
        for gone in [component for component in self._shown if component not in present]:
            del self._shown[gone]
        for check in found:
            self._take(check)
        self.rounds += 1
        if self.changed is not None:
            await self.changed(self.checks())

    def checks(self) -> list[Check]:
        """Each component as it is shown, in the order of their names."""
        held = sorted(self._shown.items(), key=lambda entry: (entry[0].type, entry[0].id))
        return [shown.check for _, shown in held]

    def since_s(self, component: Component) -> float:
        """Seconds since it is in the state that is shown."""
        return self.clock.monotonic() - self._shown[component].since_s

    def up_s(self, component: Component) -> float:
        """Seconds since it was last shown as Unhealthy or Unknown, or first seen."""
        return self.clock.monotonic() - self._shown[component].up_since_s

    async def _ask(self, provider: Provider) -> Sequence[Check]:
        started = self.clock.monotonic()
        self.looks += 1

        async def look() -> Sequence[Check]:
            return await provider.look()

        try:
            found = await within(self.clock, self.config.timeout_s, look())
        except TimeoutError:
            fault = f"did not answer within {self.config.timeout_s:g} s"
        except (StatusError, TransportError, StoreError, OSError) as error:
            fault = f"{type(error).__name__}: {error}"
        else:
            took_s = self.clock.monotonic() - started
            self.durations.observe(took_s)
            return [replace(check, duration_s=took_s) for check in found]
        kind, took_s = provider.component.type, self.clock.monotonic() - started
        self.failed_looks[kind] = self.failed_looks.get(kind, 0) + 1
        self.durations.observe(took_s)
        return [Check(provider.component, Status.UNHEALTHY, fault, duration_s=took_s)]

    def _take(self, check: Check) -> None:
        shown = self._shown.get(check.component)
        if shown is None:
            now = self.clock.monotonic()
            self._shown[check.component] = _Shown(check, now, up_since_s=now)
        elif check.status is shown.check.status:
            shown.check, shown.candidate, shown.seen = check, None, 0
        else:
            shown.seen = shown.seen + 1 if shown.candidate is check.status else 1
            shown.candidate = check.status
            if shown.seen >= self.config.settle_checks:
                self._shown[check.component] = self._turned(check, shown)

    def _turned(self, check: Check, before: _Shown) -> _Shown:
        now = self.clock.monotonic()
        was_up = before.check.status in (Status.HEALTHY, Status.DEGRADED)
        return _Shown(check, now, up_since_s=before.up_since_s if was_up else now)
