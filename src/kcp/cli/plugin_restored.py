"""`kubectl tmc restored`: after a control plane was restored from a backup, what runs in the clusters that it does not know of; and, once
somebody has looked at that, the word that lets it be deleted.

Before: `kubectl_tmc`. After: SyncTargets, whose syncers report what they hold.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_claims import table
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, connection_parser
from kcp.cli.plugin_session import PluginError, Session, opened
from kcp.tmc.model.kinds import SYNC_TARGETS
from kcp.tmc.model.names import RESTORE_ACKNOWLEDGED_ANNOTATION

_EXAMPLES = """\
examples:
  kubectl tmc restored                       what clusters run that the restored control plane does not know
  kubectl tmc restored --acknowledge east    let the syncer of east delete that
  kubectl tmc restored --acknowledge --all   of all clusters of this workspace
exit code: 0 nothing waits; 2 deletions wait"""
_WAIT = 2


def parser(prog: str) -> PluginParser:
    made = PluginParser(
        prog=prog, description="Show what waits because the control plane was restored from a backup.", epilog=_EXAMPLES,
        parents=[connection_parser()],
    )  # fmt: skip
    made.add_argument("targets", nargs="*", metavar="SYNCTARGET", help="Only these.")
    made.add_argument("--acknowledge", action="store_true", help="Let what is shown be deleted in the clusters.")
    made.add_argument("--all", action="store_true", help="With --acknowledge: every SyncTarget of the workspace.")
    made.set_defaults(run=_run)
    return made


async def _run(options: argparse.Namespace, flags: ConnectionFlags) -> int:
    async with opened(flags) as session:
        if options.acknowledge and not options.targets and not options.all:
            raise PluginError("say whose deletions may be done: --acknowledge NAME…, or --acknowledge --all")
        waiting = await _waiting(session, options.targets)
        if options.acknowledge:
            await _acknowledge(session, waiting)
            return 0
        session.say(text(waiting))
        return _WAIT if waiting else 0


async def _waiting(session: Session, names: Sequence[str]) -> list[JSONObject]:
    """SyncTargets that hold deletions. Raises PluginError for a name that is none."""
    found = (await session.workspace.resource(SYNC_TARGETS).list()).items
    if unknown := sorted(set(names) - {meta.name(target) for target in found}):
        raise PluginError(f"no SyncTarget {', '.join(unknown)} in {session.path}")
    return [target for target in found if (not names or meta.name(target) in names) and _held(target)]


def _held(target: JSONObject) -> JSONObject:
    """`status.heldDeletions`, unless it has been acknowledged and is about to be done."""
    held: JSONObject = meta.nested(target, "status", "heldDeletions", default={})
    return {} if meta.annotations(target).get(RESTORE_ACKNOWLEDGED_ANNOTATION) == held.get("restore") else held


async def _acknowledge(session: Session, waiting: Sequence[JSONObject]) -> None:
    for target in waiting:
        held = _held(target)
        patch = {"metadata": {"annotations": {RESTORE_ACKNOWLEDGED_ANNOTATION: held["restore"]}}}
        await session.workspace.resource(SYNC_TARGETS).patch(meta.name(target), patch)
        session.say(f"{meta.name(target)}: {held['count']} object{'s' * (held['count'] != 1)} may be deleted")
    if not waiting:
        session.say("Nothing waits.")


def text(waiting: Sequence[JSONObject]) -> str:
    if not waiting:
        return "No syncer holds deletions."
    rows = [("SYNCTARGET", "HELD", "OBJECT")]
    for target in waiting:
        held = _held(target)
        shown = held["objects"]
        rows += [(meta.name(target), str(held["count"]), shown[0]), *(("", "", name) for name in shown[1:])]
        if held["count"] > len(shown):
            rows.append(("", "", f"… and {held['count'] - len(shown)} more"))
    return (
        "This control plane was restored from a backup. Its clusters run what it does not know of:\n\n"
        f"{table(rows)}\n\n"
        "Make these objects again in their workspaces to keep them, then: kubectl tmc restored --acknowledge NAME\n"
        "which deletes in the cluster what is still unknown."
    )
