"""`kubectl tmc why-not OBJECT CLUSTER`: the one reason for which a cluster does not run it, and what would change that.

Before: `kubectl_tmc`. After: `plugin_decisions`, the API.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from kcp.aio.clock import Clock, SystemClock
from kcp.cli.plugin_decisions import add_object_arguments, look_up
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, connection_parser
from kcp.cli.plugin_session import PluginError, Session, opened

_REMEDIES: Mapping[str, str] = {
    "LocationNotMatched": "change the Placement's locationSelectors or locationSelector, or the SyncTarget's labels",
    "WorkspaceNotServed": "name this workspace in the SyncTarget's spec.workspaces",
    "Evicted": "take spec.evictAfter out of the SyncTarget: `kubectl kcp workload uncordon NAME`",
    "TaintNotTolerated": "tolerate the taint in the Placement's constraints.tolerations, or take it off the SyncTarget",
    "APINotSupported": "serve the API in the cluster, or bind it from the export that the cluster supports",
    "InNoClusterGroup": "add the cluster to one of the Placement's clusterGroups",
    "ConstraintNotMet": "relax the rule, make it soft (required: false), or change what the SyncTarget says of itself",
    "InsufficientResources": "ask for less, or make room in the cluster",
    "Unschedulable": "`kubectl kcp workload uncordon NAME`",
    "NotReady": "`kubectl kcp diagnose synctarget NAME` says what is wrong with it",
    "EnoughClustersChosen": "raise the Placement's numberOfClusters",
}
_EXAMPLES = """\
examples:
  kubectl tmc why-not deployment shop us-2
  kubectl tmc why-not deploy/shop us-2 -n web
exit code: 0 the cluster does not run it, and why is said; 1 it does, or nothing is known of it"""


def parser(prog: str) -> PluginParser:
    made = PluginParser(prog=prog, description="Say why a cluster does not run an object.", epilog=_EXAMPLES, parents=[connection_parser()])
    add_object_arguments(made, more=("CLUSTER", "name of the SyncTarget"))
    made.set_defaults(run=_run)
    return made


async def _run(options: argparse.Namespace, flags: ConnectionFlags) -> int:
    async with opened(flags) as session:
        if len(options.object) < 2:
            raise PluginError("say which object, and which cluster: kubectl tmc why-not deployment shop us-2")
        return await why_not(session, options.object[:-1], options.namespace, options.object[-1], SystemClock())


async def why_not(session: Session, words: Sequence[str], namespace: str, cluster: str, clock: Clock) -> int:
    """Returns the exit code. Raises PluginError."""
    seen = await look_up(session, words, namespace, clock)
    if not seen.placements and not seen.clusters:
        raise PluginError(f"{seen.title} runs nowhere: no Placement selects its namespace")
    told = [found for found in seen.clusters if found.cluster == cluster]
    if not told:
        known = ", ".join(sorted({found.cluster for found in seen.clusters})) or "none"
        raise PluginError(f"no SyncTarget {cluster} is known to the Placements of {seen.title}; they know {known}")
    if any(found.decision == "chosen" for found in told):
        session.say(f"{cluster} is chosen for {seen.title}: {told[0].reason}.")
        return 1
    if cluster in seen.projected:
        session.say(f"{cluster} has a copy of {seen.title}: {seen.projected[cluster]} wants it.")
        return 1
    for found in told:
        session.say(f"{cluster} does not run {seen.title}: {found.reason}.")
        if remedy := _REMEDIES.get(found.code):
            session.say(f"What would change it: {remedy.replace('NAME', cluster)}.")
    return 0
