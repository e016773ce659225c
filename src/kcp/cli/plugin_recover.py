"""`kubectl tmc recover CLUSTER|KIND/NAME`: mend a cluster or an object now, and tell what is done; `--cancel NAME` ends a recovery.

Makes a Recovery object and follows it; everything is done by the control plane.
Before: `kubectl_tmc`. After: the API. Exit code 0 if it helped, 1 otherwise.
"""

from __future__ import annotations

import argparse

from kcp.aio.clock import SystemClock
from kcp.aio.durations import parse_duration
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_diagnose import named
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, connection_parser
from kcp.cli.plugin_session import PluginError, Session, opened
from kcp.cli.plugin_waiting import wait_until
from kcp.cli.plugin_workloads import KINDS, PLACEMENTS, namespace_of
from kcp.tmc.errors import ErrorType, told
from kcp.tmc.migration.model import MIGRATIONS
from kcp.tmc.model.kinds import SYNC_TARGETS
from kcp.tmc.recovery.model import RECOVERIES, TERMS, StrategyName

_EXAMPLES = """\
examples:
  kubectl tmc recover east                                     reconnect and probe
  kubectl tmc recover east --strategy ClusterAuth              credentials read anew, permissions verified
  kubectl tmc recover east --strategy Sync                     every object of the cluster looked at
  kubectl tmc recover deploy/shop -n web                       what workspace and clusters disagree on, merged
  kubectl tmc recover placement/all                            decided anew
  kubectl tmc recover --cancel clusterunreachable-east-1767225600"""


def parser(prog: str) -> PluginParser:
    made = PluginParser(prog=prog, description="Mend a cluster or an object.", epilog=_EXAMPLES, parents=[connection_parser()])
    made.add_argument("object", nargs="*", metavar="CLUSTER | KIND/NAME", help="name of a SyncTarget, or an object of this workspace")
    made.add_argument("-n", "--namespace", default="", metavar="NAMESPACE", help="of the object; the context's if not given")
    made.add_argument("--strategy", choices=[str(name) for name in StrategyName], help="how; by default as suits what is named")
    made.add_argument("--timeout", default="2m", metavar="DURATION", help="how long to follow it; it goes on without us")
    made.add_argument("--cancel", default="", metavar="NAME", help="end the recovery of this name instead")
    made.set_defaults(run=_run)
    return made


async def _run(options: argparse.Namespace, flags: ConnectionFlags) -> int:
    async with opened(flags) as session:
        try:
            if options.cancel:
                return await _cancel(session, options.cancel)
            return await recover(session, options.object, options.namespace, options.strategy or "", _seconds(options.timeout))
        except NotFound as error:
            if error.name:
                raise
            raise PluginError(f"{session.path} knows no recoveries: is the server started with --enable-tmc?") from None
        except Forbidden as error:
            raise PluginError(
                f"{error}; ask whoever administers {session.path} for verbs create and watch on recoveries.tmc.kcp.io"
            ) from None


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise PluginError(f"--timeout: {error}") from None


async def _cancel(session: Session, name: str) -> int:
    await session.workspace.resource(RECOVERIES).patch(name, {"spec": {"cancel": True}})
    session.say(f"recovery {name} ends before its next step")
    return 0


async def recover(session: Session, words: list[str], namespace: str, strategy: str, timeout_s: float) -> int:
    spec = await _spec(session, words, namespace, strategy)
    resource = session.workspace.resource(RECOVERIES)
    name = words[-1].rpartition("/")[2].lower()
    made = await resource.create(
        {"apiVersion": RECOVERIES.api_version, "kind": "Recovery", "metadata": {"generateName": f"{name[:50]}-"}, "spec": spec}
    )
    session.say(f"recovery {meta.name(made)} begins")
    shown = 0

    def follow(obj: JSONObject) -> bool:
        nonlocal shown
        actions = meta.nested(obj, "status", "actions", default=[])
        for entry in actions[shown:]:
            session.say(f"  {entry['action']}")
        shown = len(actions)
        return bool(meta.nested(obj, "status", "completionTime", default=""))

    waited = await wait_until(resource, made, follow, SystemClock(), timeout_s)
    return _conclude(session, waited.obj, is_done=waited.is_done)


def _conclude(session: Session, obj: JSONObject, *, is_done: bool) -> int:
    status, name = obj.get("status") or {}, meta.name(obj)
    if not is_done:
        session.say(f"{status.get('state', 'Pending')}: it goes on; `kubectl get recovery {name} -o yaml` shows how far it is")
        return 1
    session.say(f"{status['state']}: {status.get('message', '')}")
    if status["state"] != "Completed" and status.get("error"):
        session.say(f"  {told(status['error'])}")
    for step in status.get("nextSteps") or ():
        session.say(f"  to do: {step}")
    return 0 if status["state"] == "Completed" else 1


async def _spec(session: Session, words: list[str], namespace: str, strategy: str) -> JSONObject:
    """Raises PluginError for what is not there."""
    if not words:
        raise PluginError("name a cluster or an object: kubectl tmc recover CLUSTER | KIND/NAME")
    if len(words) == 1 and "/" not in words[0]:
        await _require_target(session, words[0])
        chosen = StrategyName(strategy) if strategy else StrategyName.CONNECTIVITY
        return {"clusterName": words[0], "strategy": str(chosen), "errorType": str(_error_of(chosen))}
    kind, name = named(words)
    if kind in ("placement", "placements"):
        chosen = StrategyName(strategy) if strategy else StrategyName.PLACEMENT
        resource = {"group": PLACEMENTS.group, "version": PLACEMENTS.version, "resource": PLACEMENTS.resource, "name": name}
    elif kind in ("migration", "migrations"):
        chosen = StrategyName.MIGRATION
        where = namespace_of(session, namespace)
        resource = {
            "group": MIGRATIONS.group,
            "version": MIGRATIONS.version,
            "resource": MIGRATIONS.resource,
            "namespace": where,
            "name": name,
        }
    elif kind in KINDS:
        chosen = StrategyName(strategy) if strategy else StrategyName.CONFLICT
        gvr = KINDS[kind]
        where = namespace_of(session, namespace)
        await session.workspace.resource(gvr).get(name, namespace=where)
        resource = {"group": gvr.group, "version": gvr.version, "resource": gvr.resource, "namespace": where, "name": name}
    else:
        raise PluginError(
            f'"{" ".join(words)}" is neither a cluster nor something that clusters run: {", ".join(KINDS)}, placement, migration'
        )
    return {"resource": resource, "strategy": str(chosen), "errorType": str(_error_of(chosen))}


async def _require_target(session: Session, name: str) -> None:
    try:
        await session.workspace.resource(SYNC_TARGETS).get(name)
    except NotFound as error:
        if not error.name:
            raise
        listed = (await session.workspace.resource(SYNC_TARGETS).list()).items
        known = ", ".join(meta.name(obj) for obj in listed) or "none"
        raise PluginError(f"{session.path} has no SyncTarget {name}; there is {known}") from None


def _error_of(strategy: StrategyName) -> ErrorType:
    return next(iter(TERMS[strategy].errors), ErrorType.INTERNAL)
