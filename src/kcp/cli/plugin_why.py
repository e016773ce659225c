"""`kubectl tmc why OBJECT`: which clusters run it, how many replicas on each, how fresh that is, and why these clusters.

Reads the object, the Placements that select its namespace and their PlacementDecisions; decides nothing itself.
Before: `kubectl_tmc`. After: `plugin_decisions`, the API.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from kcp.aio.clock import Clock, SystemClock
from kcp.cli.plugin_claims import table
from kcp.cli.plugin_decisions import Seen, Told, add_object_arguments, look_up
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, connection_parser
from kcp.cli.plugin_session import PluginError, Session, opened

_HEADER = ("CLUSTER", "DECISION", "REPLICAS", "READY", "OBSERVED", "REASON")
_EXAMPLES = """\
examples:
  kubectl tmc why deployment shop              every cluster of the fleet
  kubectl tmc why deploy/shop -n web           in another namespace
  kubectl tmc why deploy/shop --cluster eu-1   one cluster, with its scores
--cluster names a SyncTarget here, not an entry of the kubeconfig"""


def parser(prog: str) -> PluginParser:
    made = PluginParser(
        prog=prog, description="Say which clusters run an object, and why.", epilog=_EXAMPLES, parents=[connection_parser()]
    )
    add_object_arguments(made)
    made.set_defaults(run=_run)
    return made


async def _run(options: argparse.Namespace, flags: ConnectionFlags) -> None:
    """--cluster, which elsewhere means an entry of the kubeconfig, is the SyncTarget here."""
    async with opened(replace(flags, cluster="")) as session:
        await why(session, options.object, options.namespace, flags.cluster, SystemClock())


async def why(session: Session, words: Sequence[str], namespace: str, cluster: str, clock: Clock) -> None:
    """Raises PluginError where there is nothing to tell."""
    seen = await look_up(session, words, namespace, clock)
    shown = [told for told in seen.clusters if cluster in ("", told.cluster)]
    if cluster and not shown:
        known = ", ".join(told.cluster for told in seen.clusters) or "none"
        raise PluginError(f"no Placement of {seen.title} has considered a cluster {cluster}: it has considered {known}")
    session.say(_headline(seen))
    for sentence in filter(None, (seen.exclusive, seen.moving)):
        session.say(sentence)
    if shown:
        session.say("\n" + table([_HEADER, *(_row(told) for told in shown)]))
    for told in shown if cluster else ():
        session.say("".join(f"\n  score {name}: {points:g}" for name, points in told.scores.items()).lstrip("\n"))
    for placement, text in seen.tie_breaks.items():
        session.say(f"\nPlacement {placement}: {text}")


def _headline(seen: Seen) -> str:
    chosen = [told.cluster for told in seen.clusters if told.decision == "chosen"]
    if not seen.projected:
        return _decision(seen, chosen)
    copied = f"copied to {_listed(list(seen.projected))} by {' and '.join(sorted(set(seen.projected.values())))}"
    return f"{_decision(seen, chosen)} It is {copied}." if chosen else f"{seen.title} is {copied}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _decision(seen: Seen, chosen: Sequence[str]) -> str:
    if not seen.placements:
        return f"{seen.title} runs nowhere: no Placement selects its namespace. `kubectl kcp bind compute PATH` makes one."
    by = " and ".join(f"Placement {name}" for name in seen.placements)
    if not seen.clusters:
        return f"{seen.title} runs nowhere: {by} found no SyncTarget at all. `kubectl kcp workload sync NAME` makes one."
    if not chosen:
        return f"{seen.title} runs nowhere: {by} found no cluster that fits."
    return f"{seen.title} is placed on {_listed(chosen)} by {by}, decided {seen.decided}."


def _row(told: Told) -> Sequence[str]:
    return told.cluster, told.decision, told.replicas, told.ready, told.observed, told.reason
