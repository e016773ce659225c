"""`kubectl kcp bind apiexport`: take an API into the current workspace, with an answer to what its provider asks for.

Before: `kubectl_kcp`. After: the API; `plugin_bind_compute` for `bind compute`.
Source: kcp staging cli/pkg/bind/plugin/bind.go.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kcp.aio.clock import Clock, SystemClock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterPath
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_command import subcommands
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, Switch, connection_parser, duration
from kcp.cli.plugin_lookup import conditions_text
from kcp.cli.plugin_session import PluginError, Session, opened
from kcp.cli.plugin_waiting import wait_until

BINDINGS = GVR("apis.kcp.io", "v1alpha2", "apibindings")
EXPORTS = GVR("apis.kcp.io", "v1alpha2", "apiexports")
ACCEPTED, REJECTED = "Accepted", "Rejected"

_EXAMPLES = """\
examples:
  kubectl kcp bind apiexport root:provider:widgets                                     bind under the export's name
  kubectl kcp bind apiexport root:provider:widgets --name w                            bind under another name
  kubectl kcp bind apiexport root:provider:widgets --accept-permission-claim secrets.core
  kubectl kcp bind compute root:clusters                                               run workloads on the clusters of root:clusters
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class BindOptions:
    path: str
    export: str
    name: str = ""
    accept: tuple[str, ...] = ()
    reject: tuple[str, ...] = ()
    accept_all: bool = False
    reject_all: bool = False
    timeout_s: float = 30.0


def parser(prog: str) -> PluginParser:
    shared = connection_parser()
    made = PluginParser(prog=prog, description="Bind APIs into the current workspace.", epilog=_EXAMPLES, parents=[shared])
    commands = subcommands(made)
    export = commands.add_parser("apiexport", help="bind an APIExport", epilog=_EXAMPLES, parents=[shared])
    export.add_argument("export", metavar="PATH:EXPORT", help="the APIExport, with the path of its workspace")
    export.add_argument("--name", default="", help="name of the APIBinding; the export's if not given")
    export.add_argument(
        "--timeout", type=duration, default=30.0, metavar="DURATION", help="longest wait until it is bound; 30s if not given"
    )
    for flag, dest, verb in (("--accept", "accept", "grant"), ("--reject", "reject", "refuse")):
        text = f"claim to {verb}; repeatable, or separated by commas"
        export.add_argument(f"{flag}-permission-claim", dest=dest, action="append", default=[], metavar="RESOURCE.GROUP", help=text)
        export.add_argument(f"{flag}-all-permission-claims", dest=f"{dest}_all", action=Switch, help=f"{verb} every claim of the export")
    export.set_defaults(run=_bind)
    from kcp.cli import plugin_bind_compute

    plugin_bind_compute.add(commands, shared)
    return made


async def _bind(options: argparse.Namespace, flags: ConnectionFlags) -> None:
    path, export = reference(options.export)
    chosen = BindOptions(
        path=path, export=export, name=options.name, timeout_s=options.timeout,
        accept=words(options.accept), reject=words(options.reject), accept_all=options.accept_all, reject_all=options.reject_all,
    )  # fmt: skip
    check(chosen)
    async with opened(flags) as session:
        await bind(session, chosen, SystemClock())


def reference(text: str) -> tuple[str, str]:
    """Path and name of an export. Raises PluginError.

    >>> reference("root:provider:widgets.example.com")
    ('root:provider', 'widgets.example.com')
    """
    path, _, name = text.lstrip(":").rpartition(":")
    if not path or not name or not ClusterPath(path).is_valid:
        raise PluginError(
            f'"{text}" is no reference to an APIExport: the format is `<logical-cluster-name>:<apiexport>`'
            " or `<full>:<path>:<to>:<apiexport>`"
        )
    return path, name


def words(values: Iterable[str]) -> tuple[str, ...]:
    """Values of a flag that may be repeated, and hold several separated by commas."""
    return tuple(word for value in values for word in value.split(",") if word)


def check(options: BindOptions) -> None:
    """Flags that contradict each other. Raises PluginError."""
    if options.accept_all and options.reject_all:
        raise PluginError("cannot use both --accept-all-permission-claims and --reject-all-permission-claims")
    for name, used in (("accept", options.accept_all), ("reject", options.reject_all)):
        for other, given in (("accept", options.accept), ("reject", options.reject)):
            if used and given:
                raise PluginError(f"cannot use --{name}-all-permission-claims with --{other}-permission-claim")
    accepted = {claimed(word) for word in options.accept}
    for word in options.reject:
        if claimed(word) in accepted:
            raise PluginError(f'claim "{word}" cannot be both accepted and rejected')


def claimed(word: str) -> tuple[str, str]:
    """Group and resource of `resource.group`; `core` is the group without a name.

    >>> claimed("secrets.core"), claimed("widgets.example.com")
    (('', 'secrets'), ('example.com', 'widgets'))
    """
    resource, dot, group = word.partition(".")
    if not resource or not dot or not group:
        raise PluginError(f'invalid permission claim "{word}": write resource.group, such as configmaps.core or widgets.example.com')
    return ("" if group == "core" else group), resource


async def bind(session: Session, options: BindOptions, clock: Clock) -> None:
    asked = await _claims_of_export(session, options)
    answers = _answers(options, asked or ())
    name = options.name or options.export
    spec: JSONObject = {"reference": {"export": {"path": options.path, "name": options.export}}}
    if answers:
        spec["permissionClaims"] = answers
    bindings = session.workspace.resource(BINDINGS)
    wanted: JSONObject = {"apiVersion": BINDINGS.api_version, "kind": "APIBinding", "metadata": {"name": name}, "spec": spec}
    try:
        binding = await bindings.create(wanted)
    except AlreadyExists:
        raise PluginError(
            f'apibinding "{name}" already exists in {session.path}; choose another name with --name, change its claims with'
            f" `kubectl kcp claims accept apibinding {name}`, or see what is wrong with `kubectl kcp diagnose apibinding {name}`"
        ) from None
    session.say(f"apibinding {name} created. Waiting to successfully bind ...")
    binding = await wait_bound(session, binding, clock, options.timeout_s)
    if asked is None and (options.accept_all or options.reject_all):
        await _answer_late(session, binding, options)
    session.say(f"{name} created and bound.")
    _tell_open_claims(session, binding, answers, everything=options.accept_all or options.reject_all)


async def _claims_of_export(session: Session, options: BindOptions) -> list[JSONObject] | None:
    """What the export asks for; None where the user may not read it: the binding's status tells it later."""
    if not (options.accept or options.reject or options.accept_all or options.reject_all):
        return []
    try:
        export = await session.client.cluster(options.path).resource(EXPORTS).get(options.export)
    except (Forbidden, NotFound):
        return None
    return list(meta.nested(export, "spec", "permissionClaims", default=()))


def _answers(options: BindOptions, asked: Sequence[JSONObject]) -> list[JSONObject]:
    if options.accept_all or options.reject_all:
        return [answer(claim, ACCEPTED if options.accept_all else REJECTED) for claim in asked]
    found: list[JSONObject] = []
    for state, chosen in ((ACCEPTED, options.accept), (REJECTED, options.reject)):
        for word in chosen:
            group, resource = claimed(word)
            same = [c for c in asked if ((c.get("group") or ""), c.get("resource")) == (group, resource)]
            if asked and not same:
                offered = ", ".join(claim_name(c) for c in asked)
                raise PluginError(f'APIExport "{options.path}:{options.export}" has no permission claim "{word}"; it has: {offered}')
            found += [answer(c, state) for c in same or [{"group": group, "resource": resource}]]
    return found


def answer(claim: JSONObject, state: str) -> JSONObject:
    """An acceptable claim for one of an export's claims: its verbs, its identity, and what it selects unless told otherwise."""
    said: JSONObject = {"group": claim.get("group") or "", "resource": claim["resource"], "verbs": list(claim.get("verbs") or ["*"])}
    if claim.get("identityHash"):
        said["identityHash"] = claim["identityHash"]
    return {**said, "selector": claim.get("defaultSelector") or {"matchAll": True}, "state": state}


def claim_name(claim: JSONObject) -> str:
    """`resource.group`, as the flags take it back."""
    return f"{claim.get('resource')}.{claim.get('group') or 'core'}"


async def wait_bound(session: Session, binding: JSONObject, clock: Clock, timeout_s: float) -> JSONObject:
    """The binding once it is Bound. Raises PluginError with its conditions."""
    name = meta.name(binding)
    waited = await wait_until(
        session.workspace.resource(BINDINGS), binding, lambda seen: is_bound(seen) or _is_hopeless(seen), clock, timeout_s
    )
    if waited.is_gone:
        raise PluginError(f"could not bind {name}: it was deleted")
    if not is_bound(waited.obj):
        late = "" if waited.is_done else f" after {timeout_s:g} s"
        raise PluginError(
            f"could not bind {name}: it is not bound{late}{conditions_text(waited.obj)}\n"
            f"`kubectl kcp diagnose apibinding {name}` says what to do; `kubectl delete apibinding {name}` gives up."
        )
    return waited.obj


def is_bound(binding: JSONObject) -> bool:
    return bool(meta.nested(binding, "status", "phase") == "Bound")


def _is_hopeless(binding: JSONObject) -> bool:
    """Something else serves the same resources here: that does not pass by waiting."""
    conditions = meta.nested(binding, "status", "conditions", default=())
    return any(c.get("type") == "InitialBindingCompleted" and c.get("reason") == "NamingConflicts" for c in conditions)


async def _answer_late(session: Session, binding: JSONObject, options: BindOptions) -> None:
    """Answer the claims that only the bound binding shows."""
    asked = meta.nested(binding, "status", "exportPermissionClaims", default=())
    if answers := _answers(options, asked):
        await session.workspace.resource(BINDINGS).patch(meta.name(binding), {"spec": {"permissionClaims": answers}})


def _tell_open_claims(session: Session, binding: JSONObject, answers: Sequence[JSONObject], *, everything: bool) -> None:
    asked = meta.nested(binding, "status", "exportPermissionClaims", default=())
    answered = {(c["group"], c["resource"]) for c in answers}
    still = [claim_name(c) for c in asked if ((c.get("group") or ""), c.get("resource")) not in answered]
    if still and not everything:
        name = meta.name(binding)
        session.note(
            f"Its provider asks for {', '.join(still)}, which it does not have yet: `kubectl kcp claims accept apibinding {name}"
            f" --resource {still[0]}` grants, `claims reject` refuses."
        )
