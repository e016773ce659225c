"""What one placement decision costs: run `python benchmarks/schedule.py`.

Prints milliseconds of CPU per `schedule()` for fleets of 100 and 1,000 clusters, the best of several rounds: with a fleet that is held
ready, as the controller does, and from a bare list. Words are left out, as they are in a decision that changes nothing; the last column
adds them for every cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from kcp.apimachinery.selectors import LabelSelector
from kcp.tmc.placement.policy import (
    ClusterGroup,
    ClusterTerm,
    Constraint,
    ConstraintType,
    Operator,
    Policy,
    SpreadConstraint,
    Strategy,
)
from kcp.tmc.placement.schedule import Fleet, Snapshot, Target, Toleration, schedule

GIB = float(1 << 30)
ROUNDS = 30
SOME = [LabelSelector.parse("region in (r0,r1,r2,r3,r4)")]


def fleet_of(size: int) -> Fleet:
    return Fleet.of(
        Target(
            key=f"K{i:05}",
            name=f"cluster-{i:05}",
            labels={"region": f"r{i % 10}", "zone": f"z{i % 30}", "tier": "gold" if i % 3 else "base"},
            ready=i % 50 != 0,
            cells={"rack": f"rack-{i % 100}"},
            capabilities={"gpu": {"model": "a"}} if i % 4 == 0 else {},
            allocatable={"cpu": 64.0, "memory": 256 * GIB, "pods": 110.0},
            used={"cpu": float(i * 7 % 60), "memory": (i * 11 % 250) * GIB, "pods": float(i * 13 % 110)},
            latency_ms={"eu": float(i % 200)},
            prices={"cpu": 0.03 + (i % 5) / 100, "memory": 0.004},
        )
        for i in range(size)
    )


FULL = Policy(
    strategy=Strategy.BALANCED,
    requests={"cpu": 4.0, "memory": 8 * GIB},
    constraints=(
        Constraint(ConstraintType.REGION, Operator.IN, values=("r0", "r1", "r2", "r3")),
        Constraint(ConstraintType.LATENCY, Operator.AT_MOST, "eu", ("150",), 150.0),
        Constraint(ConstraintType.COST, Operator.AT_MOST, "cpu", ("0.05",), 0.05, required=False, weight=40, tolerance=0.2),
    ),
    required_terms=(ClusterTerm(LabelSelector.parse("tier")),),
    preferred_terms=(ClusterTerm(LabelSelector.parse("tier=gold"), weight=30),),
    spread=(SpreadConstraint("zone"),),
    groups=(ClusterGroup("first", LabelSelector.parse("region in (r0,r1)")), ClusterGroup("then")),
)

CASES: dict[str, Callable[[Fleet], Snapshot]] = {
    "kcp 0.11's fields": lambda fleet: Snapshot(SOME, 5, fleet),
    "the same, decided before": lambda fleet: Snapshot(
        SOME, 5, fleet, current=frozenset(t.key for t in fleet if t.labels["region"] == "r1")
    ),
    "Spread": lambda fleet: Snapshot(SOME, 5, fleet, policy=Policy(strategy=Strategy.SPREAD)),
    "Balanced": lambda fleet: Snapshot(SOME, 5, fleet, policy=Policy(strategy=Strategy.BALANCED)),
    "Capacity with requests": lambda fleet: Snapshot(
        SOME, 5, fleet, policy=Policy(strategy=Strategy.CAPACITY, requests={"cpu": 4.0, "memory": 8 * GIB})
    ),
    "topology spread": lambda fleet: Snapshot(SOME, 10, fleet, policy=Policy(spread=(SpreadConstraint("zone"),))),
    "everything at once": lambda fleet: Snapshot(SOME, 10, fleet, tolerations=[Toleration("a", "Exists")], policy=FULL),
}


def cost_ms(work: Callable[[], object]) -> float:
    """Best of many: the machine does other things too."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time_ns()
        work()
        best = min(best, (time.process_time_ns() - started) / 1e6)
    return best


def main() -> None:
    print(f"{'case':28} {'clusters':>8} {'ms':>8} {'from a list':>12} {'with words':>11}")
    for size in (100, 1_000):
        fleet = fleet_of(size)
        for name, snapshot_of in CASES.items():
            snapshot = snapshot_of(fleet)
            bare = replace(snapshot, targets=list(fleet))
            held, listed = cost_ms(lambda s=snapshot: schedule(s).chosen), cost_ms(lambda s=bare: schedule(s).chosen)  # type: ignore[misc]
            told = cost_ms(lambda s=snapshot: schedule(s).verdicts)  # type: ignore[misc]
            print(f"{name:28} {size:8} {held:8.3f} {listed:12.3f} {told:11.3f}")


if __name__ == "__main__":
    main()
