"""Circuit breakers: after failures that speak of a cluster, what is done there is not tried again for a while, but fails at once.

    Closed   --failures-->          Open       nothing is sent
    Open     --after a while-->     HalfOpen   one call is let through; the others fail as before
    HalfOpen --it works--> Closed,  --it fails--> Open

One for each cluster and operation. A breaker holds no lock and makes nobody wait: Closed, everything passes side by side; otherwise a call
is let through or refused in the moment it is made. Failures that speak of one object only (a validation, a conflict) count nothing.
Before: the syncer's writes to its cluster, in push mode too. After: nothing. Source for states and defaults: the TMC reference §6.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.meta import JSONObject
from kcp.client.transport import TransportError
from kcp.tmc.errors import ErrorType, TMCError, classify, speaks_of_cluster

HALF_OPEN_S = 5.0
"""Who is refused while one call is tried need not come back sooner: they are told when it works."""


class State(IntEnum):
    """Values are those of the metric."""

    CLOSED = 0
    OPEN = 1
    HALF_OPEN = 2

    def __str__(self) -> str:
        return self.name.title().replace("_", "")


@dataclass(frozen=True, kw_only=True, slots=True)
class BreakerConfig:
    failures: int = 5
    """In a row, after which it opens; 0: never."""
    reset_s: float = 60.0
    """Seconds until one call is let through again."""


@dataclass(slots=True)
class CircuitBreaker:
    """Of one operation on one cluster."""

    cluster: str
    operation: str
    clock: Clock
    config: BreakerConfig
    changed: Callable[[CircuitBreaker], None] = lambda _breaker: None
    state: State = State.CLOSED
    failures: int = 0
    """In a row."""
    since: datetime | None = None
    """When it became what it is; None: it never changed."""
    reason: str = ""
    """Of the failure that opened it."""
    refused: int = 0
    """Calls that failed at once."""
    _subjects: set[str] = field(default_factory=set)
    _speaks_of_cluster: bool = False
    _due_s: float = 0.0
    _trying: bool = False

    @asynccontextmanager
    async def guard(self, subject: str) -> AsyncIterator[None]:
        """Around one call. Args: subject: the object that it is about.

        Raises: TMCError ClusterUnavailable instead of calling, while it is open.
        """
        is_trial = self._admit()
        try:
            yield
        except (StatusError, TransportError, TMCError, TimeoutError) as raised:
            self._failed(classify(raised, cluster=self.cluster, operation=self.operation), subject, is_trial=is_trial)
            raise
        except BaseException:
            self._trying = self._trying and not is_trial  # given up, which says nothing
            raise
        self._worked()

    def retry_in_s(self) -> float:
        """Seconds until a call may be let through."""
        return max(self._due_s - self.clock.monotonic(), 0.0) if self.state is State.OPEN else HALF_OPEN_S

    def half_open(self) -> None:
        """Let the next call through: there is reason to think that it works again."""
        if self.state is State.OPEN:
            self._move(State.HALF_OPEN)

    def answered(self) -> None:
        """The cluster answers again: ends the wait, if it was opened because it did not."""
        if self._speaks_of_cluster:
            self.half_open()

    def _admit(self) -> bool:
        """Whether this call decides about the breaker. Raises TMCError."""
        if self.state is State.OPEN and self.clock.monotonic() >= self._due_s:
            self._move(State.HALF_OPEN)
        if self.state is State.CLOSED:
            return False
        if self.state is State.HALF_OPEN and not self._trying:
            self._trying = True
            return True
        self.refused += 1
        raise TMCError(
            ErrorType.CLUSTER_UNAVAILABLE, f"the circuit breaker for {self.operation} is open",
            self.cluster, self.operation, cause=self.reason, retry_after_s=self.retry_in_s(),
            advice=f"nothing is sent to the cluster for {self.config.reset_s:g} s, then one try decides; `kubectl tmc recover` tries now",
        )  # fmt: skip

    def _failed(self, error: TMCError, subject: str, *, is_trial: bool) -> None:
        verdict = speaks_of_cluster(error)
        if verdict is False:
            self._worked()  # it was refused for what it was: the cluster does its work
            return
        self.failures += 1
        self._subjects.add(subject)
        self._speaks_of_cluster = bool(verdict)
        if is_trial:
            self._trying = False
        is_enough = self.config.failures and self.failures >= self.config.failures and (verdict or len(self._subjects) > 1)
        if self.state is not State.OPEN and (is_trial or is_enough):
            self.reason = f"{error.type}: {error.message}"
            self._due_s = self.clock.monotonic() + self.config.reset_s
            self._move(State.OPEN)

    def _worked(self) -> None:
        self.failures, self._trying = 0, False
        self._subjects.clear()
        if self.state is State.HALF_OPEN:
            self.reason = ""
            self._move(State.CLOSED)

    def _move(self, state: State) -> None:
        self.state, self.since = state, self.clock.now()
        self._trying = False
        self.changed(self)

    def to_object(self) -> JSONObject:
        """For `status.circuitBreakers` of a SyncTarget."""
        shown: JSONObject = {"operation": self.operation, "state": str(self.state), "failures": self.failures}
        if self.since is not None:
            shown["since"] = rfc3339(self.since)
        return shown | ({"message": self.reason} if self.reason else {})


@dataclass(slots=True)
class Breakers:
    """Of one cluster."""

    cluster: str
    clock: Clock
    config: BreakerConfig = field(default_factory=BreakerConfig)
    changed: Callable[[CircuitBreaker], None] = lambda _breaker: None
    _held: dict[str, CircuitBreaker] = field(default_factory=dict)

    def of(self, operation: str) -> CircuitBreaker:
        held = self._held.get(operation)
        if held is None:
            held = self._held[operation] = CircuitBreaker(self.cluster, operation, self.clock, self.config, self.changed)
        return held

    def not_closed(self) -> list[CircuitBreaker]:
        """In the order of operations."""
        return [self._held[name] for name in sorted(self._held) if self._held[name].state is not State.CLOSED]

    def answered(self) -> None:
        """The cluster answers."""
        for breaker in self.not_closed():
            breaker.answered()

    def half_open(self) -> None:
        """Somebody wants it to be tried now."""
        for breaker in self.not_closed():
            breaker.half_open()
