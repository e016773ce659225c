"""Which clusters a ResourceProjection goes to, and why not to the others; and projections that would go round in circles. Pure.

Before: `controller`. After: `spec`, what placement knows of SyncTargets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kcp.tmc.placement.observe import tolerations_of
from kcp.tmc.placement.snapshot import Target
from kcp.tmc.projection.expressions import ExpressionError, facts_of, holds
from kcp.tmc.projection.spec import ObjectSelector, Projection, matches_any


@dataclass(frozen=True, slots=True)
class Choice:
    chosen: tuple[Target, ...] = ()
    """In order of names."""
    passed: Mapping[str, str] = field(default_factory=dict)
    """Name → why it was not taken, of targets that were named or match the selector."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Name → what is wrong with the expression there; such a target keeps what it has."""
    missing: tuple[str, ...] = ()
    """Names in `targetClusters` that no SyncTarget has."""

    @property
    def outline(self) -> object:
        """What differs when another status is to be told."""
        return [(t.key, t.ready, t.not_ready_reason) for t in self.chosen], self.passed, self.failed, self.missing


def choose(
    projection: Projection, fleet: Iterable[Target], workspace: str, labels: Mapping[str, str] | None = None
) -> Choice:  # fmt: skip
    """Args: fleet: in order of names. workspace: path of the projection's workspace. labels: of its Workspace; None: not known."""
    chosen: list[Target] = []
    passed: dict[str, str] = {}
    failed: dict[str, str] = {}
    known: set[str] = set()
    for target in fleet:
        known.add(target.name)
        if projection.target_names and not matches_any(target.name, projection.target_names):
            continue
        if not projection.targets.matches(target.labels):
            continue
        is_held = target.key in projection.chosen
        try:
            why = _against(projection, target, workspace, labels, is_held=is_held)
        except ExpressionError as error:
            failed[target.name] = str(error)
            why = "" if is_held else str(error)
        if why:
            passed[target.name] = why
        else:
            chosen.append(target)
    missing = tuple(name for name in projection.target_names if not set(name) & set("*?[") and name not in known)
    return Choice(tuple(chosen), passed, failed, missing)


def _against(
    projection: Projection, target: Target, workspace: str, labels: Mapping[str, str] | None, *, is_held: bool
) -> str:  # fmt: skip
    """Why not there; "". Raises: ExpressionError."""
    if (target.name,) == projection.sources:
        return "it is the source"
    if target.evicting or (target.unschedulable and not is_held):
        return "it is being drained" if target.evicting else "it is cordoned"
    if workspace and not target.serves(workspace, labels):
        return "it serves other workspaces only"
    tolerations = tolerations_of(projection.tolerations)
    for taint in target.taints:
        counts = taint.effect == "NoExecute" or (taint.effect == "NoSchedule" and not is_held)
        if counts and not any(t.tolerates(taint) for t in tolerations):
            return f"taint {taint} is not tolerated"
    if projection.conditional and not holds(projection.conditional, {"cluster": facts_of(target)}):
        return f"{projection.conditional} is false"
    return ""


def circle(mine: Projection, others: Sequence[Projection], names: Mapping[str, str]) -> str:
    """The way round, such as `east → west (a) → east (b)`, that this projection would close; "" if it closes none.

    Of the projections of a circle the youngest is refused, so that those that were there before go on. What could not carry the same
    object all the way is no circle.
    Args: mine: with the targets that it would choose. others: of the workspace. names: K → name of all SyncTargets.
    """
    for name in mine.target_names:
        if (name,) == mine.sources:
            return f"{name} → {name} ({mine.name})"
    older = [p for p in others if p.name != mine.name and p.sources and not p.problems and (p.created, p.name) < (mine.created, mine.name)]
    usable = [p for p in older if _overlap(p, mine)] if mine.sources else []
    for target in (names[key] for key in mine.chosen if key in names) if usable else ():
        if way := _way(target, mine, usable, names):
            return " → ".join([way[-1][0], f"{target} ({mine.name})", *(f"{name} ({by})" for name, by in way)])
    return ""


def _way(start: str, mine: Projection, usable: Sequence[Projection], names: Mapping[str, str]) -> list[tuple[str, str]]:
    """From a cluster back to a source of `mine`, by other projections: the clusters on the way, and by which projection."""
    ways: dict[str, list[tuple[str, str]]] = {start: []}
    queue = [start]
    for here in queue:
        for projection in (p for p in usable if matches_any(here, p.sources)):
            for there in (names[key] for key in projection.chosen if key in names):
                if there in ways:
                    continue
                ways[there] = [*ways[here], (there, projection.name)]
                if matches_any(there, mine.sources):
                    return ways[there]
                queue.append(there)
    return []


def _overlap(one: Projection, other: Projection) -> bool:
    """Whether some object could be selected by both."""
    if one.namespaces and other.namespaces and not _share(one.namespaces, other.namespaces):
        return False
    if not one.selectors or not other.selectors:
        return True
    return any(_could_both(a, b) for a in one.selectors for b in other.selectors)


def _could_both(a: ObjectSelector, b: ObjectSelector) -> bool:
    if a.kind and b.kind and a.kind != b.kind:
        return False
    if a.group is not None and b.group is not None and a.group != b.group:
        return False
    if a.pattern and b.pattern and not _share((a.pattern,), (b.pattern,)):
        return False
    wanted, unwanted = a.labels.exact_values(), b.labels.exact_values()
    return all(unwanted.get(key, value) == value for key, value in wanted.items())


def _share(some: Sequence[str], others: Sequence[str]) -> bool:
    """Whether a name could match both; of two patterns that is taken for granted."""
    return any(a == b or matches_any(a, (b,)) or matches_any(b, (a,)) or ("*" in a and "*" in b) for a in some for b in others)
