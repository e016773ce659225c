"""`kubectl tmc migrate KIND/NAME --from CLUSTER --to CLUSTER`: move a workload, and tell how far it is; `--rollback NAME` undoes it.

Makes a Migration object and follows it; everything is done by the control plane.
Before: `kubectl_tmc`. After: the API. Exit code 0 if it is complete (or undone, where that was asked for), 1 otherwise.
"""

from __future__ import annotations

import argparse

from kcp.aio.clock import SystemClock
from kcp.aio.durations import parse_duration
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, connection_parser
from kcp.cli.plugin_render import resource_named
from kcp.cli.plugin_session import PluginError, Session, opened
from kcp.cli.plugin_waiting import wait_until
from kcp.cli.plugin_workloads import namespace_of
from kcp.tmc.errors import told
from kcp.tmc.migration.kinds import Kind
from kcp.tmc.migration.model import FINISHED, MIGRATIONS, Mode, Phase

_EXAMPLES = """\
examples:
  kubectl tmc migrate deploy/shop --from east --to west                      the new copy runs before the old one goes
  kubectl tmc migrate deploy/shop --from east --to west --mode halt-resume   the old one stops first: never both
  kubectl tmc migrate job/report --from east --to west                       suspended in east, then begun anew in west
  kubectl tmc migrate --rollback shop-x7k2p                                  back to where it was"""


def parser(prog: str) -> PluginParser:
    made = PluginParser(prog=prog, description="Move a workload between clusters.", epilog=_EXAMPLES, parents=[connection_parser()])
    made.add_argument("object", nargs="*", metavar="KIND/NAME", help="Deployment, StatefulSet, Job, CronJob, or a kind with a StatusRule")
    made.add_argument("-n", "--namespace", default="", metavar="NAMESPACE", help="of the object; the context's if not given")
    made.add_argument("--from", dest="source", default="", metavar="CLUSTER", help="SyncTarget that runs it")
    made.add_argument("--to", dest="target", default="", metavar="CLUSTER", help="SyncTarget that is to run it")
    made.add_argument(
        "--mode", choices=[str(mode) for mode in Mode], default="", help="how; live if not given, of Jobs and CronJobs halt-resume"
    )
    made.add_argument("--timeout", default="30m", metavar="DURATION", help="after so long it is undone")
    made.add_argument("--no-wait", action="store_true", help="Do not follow it.")
    made.add_argument("--rollback", default="", metavar="NAME", help="undo the migration of this name instead")
    made.set_defaults(run=_run)
    return made


async def _run(options: argparse.Namespace, flags: ConnectionFlags) -> int:
    async with opened(flags) as session:
        try:
            if options.rollback:
                return await undo(session, options.rollback, options.namespace)
            spec = {"from": options.source, "to": options.target, "strategy": options.mode, "timeout": options.timeout}
            return await migrate(session, options.object, options.namespace, spec, is_followed=not options.no_wait)
        except NotFound as error:
            if error.name:
                raise
            raise PluginError(f"{session.path} knows no migrations: is the server started with --enable-tmc?") from None
        except Forbidden as error:
            raise PluginError(
                f"{error}; ask whoever administers {session.path} for verbs create and watch on migrations.tmc.kcp.io"
            ) from None


async def migrate(session: Session, words: list[str], namespace: str, spec: JSONObject, *, is_followed: bool) -> int:
    if not words:
        raise PluginError("name a workload: kubectl tmc migrate KIND/NAME --from CLUSTER --to CLUSTER")
    if not spec["from"] or not spec["to"]:
        raise PluginError(f"--from and --to: name the two clusters; `kubectl tmc why {words[0]}` shows where it runs")
    try:
        timeout_s = parse_duration(spec["timeout"])
    except ValueError as error:
        raise PluginError(f"--timeout: {error}") from None
    found, name = await resource_named(session, words)
    kind = Kind(found.gvr, found.kind)
    mode = spec["strategy"] or str(Mode.HALT_RESUME if kind.runs_once else Mode.LIVE)
    where = namespace_of(session, namespace)
    resource = session.workspace.resource(MIGRATIONS)
    made = await resource.create(
        {
            "apiVersion": MIGRATIONS.api_version, "kind": "Migration", "metadata": {"generateName": f"{name[:50]}-"},
            "spec": {**spec, "strategy": mode, "workload": {"apiVersion": found.gvr.api_version, "kind": found.kind, "name": name}},
        },
        namespace=where,
    )  # fmt: skip
    session.say(f"migration {meta.name(made)} begins")
    return await _follow(session, made, where, timeout_s + 660.0, Phase.COMPLETED) if is_followed else 0


async def undo(session: Session, name: str, namespace: str) -> int:
    where = namespace_of(session, namespace)
    held = await session.workspace.resource(MIGRATIONS).patch(name, {"spec": {"rollback": True}}, namespace=where)
    session.say(f"migration {name} goes back")
    return await _follow(session, held, where, 660.0, Phase.ROLLED_BACK)


async def _follow(session: Session, obj: JSONObject, namespace: str, timeout_s: float, wanted: Phase) -> int:
    shown = ""

    def look(found: JSONObject) -> bool:
        nonlocal shown
        status = found.get("status") or {}
        line = f"  {status.get('progress', 0):3}%  {status.get('phase', Phase.PENDING)}: {status.get('message') or 'begins'}"
        if line != shown:
            session.say(line)
        shown = line
        phase = status.get("phase")
        return phase in FINISHED and not (wanted is Phase.ROLLED_BACK and phase == Phase.COMPLETED)

    waited = await wait_until(session.workspace.resource(MIGRATIONS), obj, look, SystemClock(), timeout_s, namespace=namespace)
    status = waited.obj.get("status") or {}
    if status.get("error") and status.get("phase") != wanted:
        session.say(f"  {told(status['error'])}")
    return 0 if status.get("phase") == wanted else 1
