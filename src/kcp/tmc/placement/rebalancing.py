"""Whether a Placement's work is to be placed anew, and how much of it may move now: first clusters, then replicas among those that stay.

What was done stands in the Placement's status: the request that was carried out last, and the moves of the last minute.
Before: `controller`, previews. After: `schedule`, `levelling`, which find the moves; `status`, which remembers them. Pure.
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
class Levelled:
    """What came of a look at the replicas of the clusters that stay."""

    is_looked: bool = False
    moves: int = 0
    """That begin now."""
    is_settled: bool = True
    """Nothing is left to move, and nothing is under way."""


NOTHING_LEVELLED = Levelled()


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
    levelled_at: datetime | None = None
    """When the policy last found no replicas to move."""

    @classmethod
    def of(cls, obj: JSONObject, policy: Policy, now: datetime) -> Rebalancing:
        request = meta.annotations(obj).get(REBALANCE_ANNOTATION, "")
        done = meta.nested(obj, "status", "rebalanceRequest", default="")
        always = policy.movement.rebalance is RebalanceMode.ALWAYS
        wanted = always or (bool(request) and request != done)
        since = now - timedelta(seconds=MOVES_WINDOW_S)
        moved_at = tuple(t for text in meta.nested(obj, "status", "recentMoves", default=()) if (t := parse_rfc3339(text)) > since)
        allowed = max(policy.movement.moves_per_minute - len(moved_at), 0) if wanted else 0
        levelled = meta.nested(obj, "status", "replicasLevelledAt")
        return cls(wanted, always, request, done, moved_at, allowed, parse_rfc3339(levelled) if levelled and always else None)

    def levels(self, decision: Decision, now: datetime) -> bool:
        """Whether to look now for replicas to move: clusters move first, and a policy looks once in a period."""
        is_asked = self.wanted and self.request != self.done
        is_due = self.levelled_at is None or (now - self.levelled_at).total_seconds() >= REBALANCE_PERIOD_S
        return self.wanted and self.allowed > 0 and not decision.moves and decision.is_complete and (is_asked or is_due)

    def after(self, decision: Decision, now: datetime, levelled: Levelled) -> Progress:
        """What to remember once the decision is carried out. A request is done when there was nothing more to move."""
        done = self.request if self.wanted and self._is_settled(decision, levelled) else self.done
        moved = [now] * (len(decision.moves) + levelled.moves)
        at = now if levelled.is_looked and levelled.is_settled and self.always else self.levelled_at
        return Progress(done, tuple(map(rfc3339, (*self.moved_at, *moved))), rfc3339(at) if at else "", is_anew=levelled.is_looked)

    def _is_settled(self, decision: Decision, levelled: Levelled) -> bool:
        return len(decision.moves) < self.allowed and decision.is_complete and levelled.is_settled

    def next_look(self, decision: Decision, levelled: Levelled) -> float | None:
        is_settled = self._is_settled(decision, levelled)
        if not self.wanted or (is_settled and not self.always):
            return None
        return REBALANCE_PERIOD_S if is_settled else MOVES_WINDOW_S
