"""Replicas on their way between clusters that all stay chosen, as the workload's own annotation says it. Pure.

    Moving    clusters that are to get more have it already, the others still have what they had
    Done      all have what they should
    GivenUp   who was to get more was not ready in time: all have what they had; of rebalancing only, what is needed is done all the same

Before: `placement.resources`, which begins them where a division changes, and carries them out; `placement.rebalancer`, which begins some
more; `kubectl tmc why`. After: nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from kcp.aio.clock import parse_rfc3339, rfc3339
from kcp.apimachinery import meta

SHIFT_ANNOTATION = "tmc.kcp.io/replica-move"
"""On workloads whose replicas are divided: `Shift` as JSON; the last one stays to be read."""


class Stage(StrEnum):
    MOVING = "Moving"
    DONE = "Done"
    GIVEN_UP = "GivenUp"


@dataclass(frozen=True, slots=True)
class Shift:
    before: Mapping[str, int]
    """K → replicas."""
    after: Mapping[str, int]
    """The same K."""
    total: int
    """Replicas that the user wants."""
    stage: Stage
    since: datetime
    """When this stage was reached."""
    until: datetime
    """When nobody waits any longer."""
    is_optional: bool = True
    """Then it is given up, because all may as well stay as it was."""
    request: str = ""
    """The request to rebalance that it belongs to; "" by policy."""

    @property
    def during(self) -> Mapping[str, int]:
        return {key: max(number, self.before[key]) for key, number in self.after.items()}

    @property
    def rising(self) -> Mapping[str, int]:
        """K → replicas that must be ready there before the others give theirs."""
        return {key: number for key, number in self.after.items() if number > self.before[key]}

    @property
    def falling(self) -> Collection[str]:
        return [key for key, number in self.after.items() if number < self.before[key]]

    @property
    def moved(self) -> int:
        return sum(number - self.before[key] for key, number in self.rising.items())

    def is_about(self, keys: Collection[str], total: int) -> bool:
        """Whether the workload is still as it was when this began."""
        return set(keys) == set(self.after) and total == self.total

    def stepped(self, ready: Mapping[str, int], now: datetime) -> Shift:
        """Args: ready: K → replicas that are ready there."""
        if self.stage is not Stage.MOVING:
            return self
        if all(ready.get(key, 0) >= number for key, number in self.rising.items()):
            return replace(self, stage=Stage.DONE, since=now)
        ended = replace(self, stage=Stage.GIVEN_UP if self.is_optional else Stage.DONE, since=now)
        return ended if now >= self.until else self

    def to_json(self) -> str:
        shown = {
            "stage": self.stage, "since": rfc3339(self.since), "until": rfc3339(self.until), "replicas": self.total,
            "from": dict(sorted(self.before.items())), "to": dict(sorted(self.after.items())),
        } | ({"request": self.request} if self.request else {}) | ({} if self.is_optional else {"needed": True})  # fmt: skip
        return json.dumps(shown, separators=(",", ":"))

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Shift | None:
        """None for what is absent or not ours."""
        try:
            held = json.loads(meta.annotations(obj).get(SHIFT_ANNOTATION, "null"))
            before, after = ({str(k): int(n) for k, n in held[name].items()} for name in ("from", "to"))
            since, until = parse_rfc3339(held["since"]), parse_rfc3339(held["until"])
            if set(before) != set(after):
                return None
            is_optional, request = held.get("needed") is not True, str(held.get("request", ""))
            return cls(before, after, int(held["replicas"]), Stage(held["stage"]), since, until, is_optional, request)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
