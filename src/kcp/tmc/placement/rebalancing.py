"""Whether a Placement's work is to be placed anew, and how much of it may move now.

What was done stands in the Placement's status: the request that was carried out last, and the moves of the last minute.
Before: `controller`, previews. After: `schedule`, which finds the moves; `status`, which remembers them. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from kcp.aio.clock import parse_rfc3339, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.placement.policy import Policy, RebalanceMode
from kcp.tmc.placement.schedule import Decision
from kcp.tmc.placement.status import Progress

REBALANCE_ANNOTATION = "tmc.kcp.io/rebalance"
"""On Placements: any new value asks for the work to be placed as it would be today."""
REBALANCE_PERIOD_S = 300.0
"""Time between looks of movement.rebalance Always. TMC reference: rebalanceInterval."""
MOVES_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Rebalancing:
    """Whether a Placement is to be rebalanced, and how many moves its bound allows at this time."""

    wanted: bool
    always: bool
    request: str
    done: str
    """The request that was carried out last."""
    moved_at: tuple[datetime, ...]
    """Within the last minute."""
    allowed: int

    @classmethod
    def of(cls, obj: JSONObject, policy: Policy, now: datetime) -> Rebalancing:
        request = meta.annotations(obj).get(REBALANCE_ANNOTATION, "")
        done = meta.nested(obj, "status", "rebalanceRequest", default="")
        always = policy.movement.rebalance is RebalanceMode.ALWAYS
        wanted = always or (bool(request) and request != done)
        since = now - timedelta(seconds=MOVES_WINDOW_S)
        moved_at = tuple(t for text in meta.nested(obj, "status", "recentMoves", default=()) if (t := parse_rfc3339(text)) > since)
        allowed = max(policy.movement.moves_per_minute - len(moved_at), 0) if wanted else 0
        return cls(wanted, always, request, done, moved_at, allowed)

    def after(self, decision: Decision, now: datetime) -> Progress:
        """What to remember once the decision is carried out. A request is done when there was nothing more to move."""
        done = self.request if self.wanted and self._is_settled(decision) else self.done
        return Progress(done, tuple(map(rfc3339, (*self.moved_at, *[now] * len(decision.moves)))))

    def _is_settled(self, decision: Decision) -> bool:
        return len(decision.moves) < self.allowed and decision.is_complete

    def next_look(self, decision: Decision) -> float | None:
        if not self.wanted or (self._is_settled(decision) and not self.always):
            return None
        return REBALANCE_PERIOD_S if self._is_settled(decision) else MOVES_WINDOW_S
