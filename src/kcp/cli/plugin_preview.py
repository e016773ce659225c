"""`kubectl tmc preview -f policy.yaml --what-if lose=eu-1`: what would move, from where to where, and what would no longer fit.

Decides with the function that the server decides with, on what it would decide on; writes nothing.
Before: `kubectl_tmc`. After: `plugin_scene`, `tmc.placement.preview`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from kcp.aio.clock import Clock, SystemClock
from kcp.aio.durations import parse_duration
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_claims import table
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, Switch, connection_parser
from kcp.cli.plugin_scene import documents, lay_over, look_around
from kcp.cli.plugin_session import PluginError, Session, opened
from kcp.tmc.placement.comparison import Comparison, PlacementChange, Problem, WorkloadChange, compare
from kcp.tmc.placement.preview import settle
from kcp.tmc.placement.whatif import WhatIfError, parse, suppose

DOES_NOT_FIT = 2
_EXAMPLES = """\
examples:
  kubectl tmc preview -f policy.yaml                      what these edits would move
  kubectl tmc preview --what-if lose=eu-1                 what happens if a cluster is lost
  kubectl tmc preview --what-if lose=zone=a --what-if add=3xlarge:region=eu
  kubectl tmc preview -f policy.yaml -A -o json           the workspaces below, too; for programs
suppositions:
  lose=NAME,PATTERN…        SyncTargets that are silent for longer than any eviction time
  lose=LABEL=VALUE          all with that label or cell
  add=[N x]SHAPE[:LABELS]   N more like the SyncTarget SHAPE, or of size small, medium or large: add=3xlarge
exit code: 0 all fits; 2 something no longer fits; 1 there is no answer"""


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked."""

    files: Sequence[str] = ()
    what_if: Sequence[str] = ()
    namespace: str = ""
    everywhere: bool = False
    output: str = "table"
    eviction_grace_s: float = 300.0

    @property
    def title(self) -> str:
        return " and ".join([*(name if name != "-" else "stdin" for name in self.files), *self.what_if])


def parser(prog: str) -> PluginParser:
    made = PluginParser(
        prog=prog, description="Say what an edit, or a loss, would do. Nothing is written.", epilog=_EXAMPLES, parents=[connection_parser()]
    )
    made.add_argument("-f", "--filename", action="append", default=[], metavar="FILE",
                      help="Placement, Location, SyncTarget, OverridePolicy, Deployment; - for stdin; repeatable")  # fmt: skip
    made.add_argument("--what-if", action="append", default=[], metavar="SUPPOSITION", help="see below; repeatable, all hold at once")
    made.add_argument("-n", "--namespace", default="", metavar="NAMESPACE", help="of what has none in its file; the context's if not given")
    made.add_argument("-A", "--all-workspaces", action=Switch, help="also the Placements of all workspaces below this one")
    made.add_argument("-o", "--output", default="table", metavar="FORMAT", help="table (default), json or yaml")
    made.add_argument("--eviction-grace", default="5m", metavar="DURATION", help="the server's --tmc-eviction-grace; 5m")
    made.set_defaults(run=_run)
    return made


async def _run(options: argparse.Namespace, flags: ConnectionFlags) -> int:
    if options.output not in ("table", "json", "yaml"):
        raise PluginError(f'invalid value "{options.output}" for --output; valid values are table, json, yaml')
    try:
        grace_s = parse_duration(options.eviction_grace)
    except ValueError as error:
        raise PluginError(f"--eviction-grace: {error}") from None
    asked = Question(options.filename, options.what_if, options.namespace, options.all_workspaces, options.output, grace_s)
    async with opened(flags) as session:
        return await preview(session, asked, SystemClock())


async def preview(session: Session, asked: Question, clock: Clock) -> int:
    """Returns the exit code. Raises PluginError, StatusError: what the server would refuse."""
    if not asked.files and not asked.what_if:
        raise PluginError("nothing to preview: give -f FILE, --what-if SUPPOSITION, or both")
    edits = documents(asked.files)
    try:
        suppositions = [parse(text) for text in asked.what_if]
        sight = await look_around(session, below=asked.everywhere, edits=edits)
        now = clock.now()
        edited = await lay_over(session, sight, edits, asked.namespace)
        before, after = sight.scene(now, asked.eviction_grace_s), edited.scene(now, asked.eviction_grace_s)
        found = compare(settle(before), settle(suppose(after, suppositions)))
    except WhatIfError as error:
        raise PluginError(str(error)) from None
    for note in edited.notes:
        session.note(f"note: {note}")
    session.say(_shown(found, asked, edited.notes))
    return 0 if found.fits else DOES_NOT_FIT


def _shown(found: Comparison, asked: Question, notes: Sequence[str]) -> str:
    if asked.output == "table":
        return "\n".join(_lines(found, asked))
    document = {"apiVersion": "tmc.kcp.io/v1alpha1", "kind": "Preview", **_as_object(found), "notes": list(notes)}
    if asked.output == "json":
        return json.dumps(document, indent=2)
    import yaml

    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return text.rstrip()


def _as_object(found: Comparison) -> JSONObject:
    """What changes, in the words of the API."""
    return {
        "fits": found.fits,
        "placements": [
            {"workspace": p.workspace, "name": p.name, "before": list(p.before), "after": list(p.after), "reasons": dict(p.reasons)}
            for p in found.placements
            if p.is_change
        ],
        "workloads": [
            {
                "workspace": w.workspace, "namespace": w.namespace, "kind": "Deployment", "name": w.name, "before": dict(w.before),
                "after": dict(w.after),
                "moves": [{"from": s.source, "to": s.destination, "replicas": s.replicas} for s in w.steps],
            }
            for w in found.workloads
            if w.is_change
        ],
        "copies": [asdict(c) for c in found.copies],
        "problems": [asdict(p) for p in found.problems],
        "standing": [asdict(p) for p in found.standing],
    }  # fmt: skip


def _lines(found: Comparison, asked: Question) -> Iterator[str]:
    yield f"If {asked.title}: (nothing is written)"
    placements = [p for p in found.placements if p.is_change]
    workloads = [w for w in found.workloads if w.is_change]
    if placements:
        yield "\n" + table([("PLACEMENT", "CLUSTERS NOW", "CLUSTERS THEN"), *(_placement_row(p, asked) for p in placements)])
        for p in placements:
            moved = sorted(set(p.before) ^ set(p.after))
            yield from (f"  {cluster}: {p.reasons[cluster]}" for cluster in moved if cluster in p.reasons)
    if workloads:
        yield "\n" + table([("DEPLOYMENT", "REPLICAS NOW", "REPLICAS THEN", "MOVES"), *(_workload_row(w, asked) for w in workloads)])
    if found.copies:
        fields = [(c.workload, c.cluster, path, json.dumps(value)) for c in found.copies for path, value in c.fields.items()]
        yield "\n" + table([("COPY OF", "CLUSTER", "FIELD", "VALUE"), *fields])
    if not (placements or workloads or found.copies):
        yield "\nNothing moves."
    yield from _told("No longer fits", found.problems)
    yield from _told("Does not fit now either", found.standing)


def _placement_row(change: PlacementChange, asked: Question) -> Sequence[str]:
    return _titled(change.workspace, change.name, asked), _listed(change.before), _listed(change.after)


def _workload_row(change: WorkloadChange, asked: Question) -> Sequence[str]:
    title = _titled(change.workspace, f"{change.namespace}/{change.name}", asked)
    return title, _divided(change.before), _divided(change.after), _moves(change)


def _told(title: str, problems: Sequence[Problem]) -> Iterator[str]:
    if problems:
        yield f"\n{title}:"
        yield from (f"  {p.subject}: {p.message}" for p in problems)


def _titled(workspace: str, name: str, asked: Question) -> str:
    return f"{workspace} {name}" if asked.everywhere else name


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _divided(copies: Mapping[str, int]) -> str:
    return ", ".join(f"{cluster} {number}" for cluster, number in copies.items()) or "none"


def _moves(change: WorkloadChange) -> str:
    told = []
    for step in change.steps:
        if step.source and step.destination:
            told.append(f"{step.replicas} from {step.source} to {step.destination}")
        elif step.source:
            told.append(f"{step.replicas} gone from {step.source}")
        else:
            told.append(f"{step.replicas} new on {step.destination}")
    return ", ".join(told)
