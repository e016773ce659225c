"""`kubectl kcp diagnose OBJECT`: why is this workspace, binding, claim or workload not ready, and what to do. Ours, not kcp's.

Reads the object and what it depends on; says in sentences what stands in its way. Exit code 0: nothing, 1: something, 2: cannot look.
Before: `kubectl_kcp`. After: `plugin_findings` for the sentences, the API.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator

import orjson

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden, NotFound, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.cli import plugin_workloads
from kcp.cli.plugin_bind import BINDINGS, EXPORTS
from kcp.cli.plugin_findings import (
    Finding,
    claim_findings,
    condition_findings,
    deletion_findings,
    export_findings,
    initializer_findings,
    phase_finding,
)
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, connection_parser
from kcp.cli.plugin_lookup import LOGICAL_CLUSTERS, WORKSPACES, canonical_path, type_of
from kcp.cli.plugin_session import PluginError, Session, opened
from kcp.tenancy.kinds import is_inactive

SYNC_TARGETS = GVR("workload.kcp.io", "v1alpha1", "synctargets")
PLACEMENTS = GVR("scheduling.kcp.io", "v1alpha1", "placements")
WORKSPACE_TYPES = GVR("tenancy.kcp.io", "v1alpha1", "workspacetypes")
SHARDS = GVR("core.kcp.io", "v1alpha1", "shards")
SCHEMAS = GVR("apis.kcp.io", "v1alpha1", "apiresourceschemas")
SLICES = GVR("apis.kcp.io", "v1alpha1", "apiexportendpointslices")

KINDS = {
    "workspace": WORKSPACES, "apibinding": BINDINGS, "apiexport": EXPORTS, "apiexportendpointslice": SLICES, "claim": BINDINGS,
    "synctarget": SYNC_TARGETS, "placement": PLACEMENTS, "workspacetype": WORKSPACE_TYPES, "logicalcluster": LOGICAL_CLUSTERS,
    **plugin_workloads.KINDS,
}  # fmt: skip
_ALIASES = {"ws": "workspace", "claims": "claim", "ae": "apiexport", "ab": "apibinding", ".": ".", **plugin_workloads.ALIASES}
CANNOT_LOOK = 2

_EXAMPLES = """\
examples:
  kubectl kcp diagnose workspace web        why is the child workspace `web` not ready
  kubectl kcp diagnose apibinding/widgets   why is the binding not bound, and which claims are open
  kubectl kcp diagnose apiexport widgets    does the export have what it needs
  kubectl kcp diagnose claim/widgets        the permission claims of one binding only
  kubectl kcp diagnose deployment web -n x  why does no cluster run it, or which one fails
  kubectl kcp diagnose placements           each of a kind
  kubectl kcp diagnose .                    the current workspace, with every binding in it
exit code: 0 nothing is wrong, 1 something is, 2 it cannot be looked at"""


def parser(prog: str) -> PluginParser:
    made = PluginParser(
        prog=prog, description="Say why an object is not ready, and what to do.", epilog=_EXAMPLES, parents=[connection_parser()]
    )
    made.add_argument("object", nargs="+", metavar="OBJECT", help="KIND/NAME, KIND NAME, KIND for each, or . for the current workspace")
    made.add_argument("-n", "--namespace", default="", metavar="NAMESPACE", help="of deployments and the like; the context's if not given")
    made.set_defaults(run=_diagnose)
    return made


async def _diagnose(options: argparse.Namespace, flags: ConnectionFlags) -> int:
    try:
        async with opened(flags) as session:
            return await diagnose(session, *named(options.object), namespace=options.namespace)
    except PluginError as error:
        raise PluginError(str(error), exit_code=CANNOT_LOOK) from error
    except StatusError as error:
        raise PluginError(str(error), exit_code=CANNOT_LOOK) from error


def named(words: list[str]) -> tuple[str, str]:
    """Kind and name, "" for each of a kind. Raises PluginError.

    >>> named(["apibinding/widgets"]), named(["workspaces", "web"]), named(["deploy"]), named(["."])
    (('apibinding', 'widgets'), ('workspace', 'web'), ('deployment', ''), ('.', ''))
    """
    kind, _, name = words[0].partition("/")
    name = name or (words[1] if len(words) > 1 else "")
    short = kind.lower().split(".")[0]
    short = _ALIASES.get(short, short)
    if words == ["."] or (short == "workspace" and name == "."):
        return ".", ""
    singular = short if short in KINDS else short.removesuffix("s")
    if singular == "logicalcluster":
        name = name or "cluster"
    if singular not in KINDS or len(words) > 2:
        kinds = ", ".join(KINDS)
        raise PluginError(f'"{" ".join(words)}" is no object to diagnose: write KIND/NAME, KIND NAME or KIND, with a kind of {kinds}; or .')
    return singular, name


async def diagnose(session: Session, kind: str, name: str, *, namespace: str = "") -> int:
    """Returns 1 if something is wrong, else 0."""
    if kind == ".":
        return await _diagnose_here(session)
    where = plugin_workloads.namespace_of(session, namespace) if kind in plugin_workloads.KINDS else ""
    if not name:
        return await _diagnose_each(session, kind, where)
    try:
        obj = await session.workspace.resource(KINDS[kind]).get(name, namespace=where)
    except NotFound as error:
        raise PluginError(
            f"{kind} {name} not found in {session.path}: {error}; `kubectl get {KINDS[kind].resource}` shows what is there"
        ) from None
    except Forbidden as error:
        raise PluginError(f"{error}; you may not read it: ask whoever administers {session.path} for verb get on it") from None
    return _show(session, kind, name, [finding async for finding in _findings(session, kind, obj)])


def _show(session: Session, kind: str, name: str, findings: list[Finding]) -> int:
    faults = [f for f in findings if f.is_fault]
    verdict = "is not in order" if faults else "is in order"
    session.say(f"{kind} {name} {verdict}{':' if findings else '.'}")
    for finding in faults + [f for f in findings if not f.is_fault]:
        session.say("\n".join(finding.lines()))
    return 1 if faults else 0


async def _diagnose_each(session: Session, kind: str, namespace: str) -> int:
    try:
        found = (await session.workspace.resource(KINDS[kind]).list(namespace=namespace)).items
    except (NotFound, Forbidden) as error:
        raise PluginError(f"{KINDS[kind].resource} of {session.path} cannot be read: {error}") from None
    if not found:
        session.say(f"There are no {KINDS[kind].resource} in {f'namespace {namespace} of ' if namespace else ''}{session.path}.")
    worst = 0
    for obj in found:
        worst = max(worst, _show(session, kind, meta.name(obj), [finding async for finding in _findings(session, kind, obj)]))
    return worst


async def _diagnose_here(session: Session) -> int:
    """The current workspace, from inside and from its parent, and every binding in it."""
    path = await canonical_path(session)
    parent, _, name = path.rpartition(":")
    worst = 0
    try:
        cluster = await session.workspace.resource(LOGICAL_CLUSTERS).get("cluster")
        worst = _show(session, "workspace", path, [f async for f in _findings(session, "logicalcluster", cluster)])
    except (NotFound, Forbidden) as error:
        if not parent:
            raise PluginError(str(error)) from None
        try:
            workspace = await session.client.cluster(parent).resource(WORKSPACES).get(name)
        except (NotFound, Forbidden):
            raise PluginError(
                f'workspace "{path}" is not there, or closed to you: you need verb "access" on "/" in it; ask an administrator of {parent}'
            ) from None
        return _show(session, "workspace", path, [f async for f in _workspace(session, workspace, parent)])
    for binding in (await session.workspace.resource(BINDINGS).list()).items:
        worst = max(worst, _show(session, "apibinding", meta.name(binding), [f async for f in _binding(session, binding)]))
    return worst


async def _findings(session: Session, kind: str, obj: JSONObject) -> AsyncIterator[Finding]:
    match kind:
        case "workspace":
            found = _workspace(session, obj, session.path)
        case "apibinding":
            found = _binding(session, obj)
        case "apiexport":
            found = _export(session, obj)
        case "claim":
            found = _claims(obj)
        case "logicalcluster":
            found = _cluster(session, obj)
        case _ if kind in plugin_workloads.KINDS:
            found = plugin_workloads.workload_findings(session, obj, kind)
        case _:
            found = _plain(obj, kind)
    async for finding in found:
        yield finding


async def _plain(obj: JSONObject, kind: str) -> AsyncIterator[Finding]:
    for finding in [*deletion_findings(obj, kind), *condition_findings(obj)]:
        yield finding
    if kind == "synctarget" and meta.nested(obj, "spec", "unschedulable"):
        drained = meta.nested(obj, "spec", "evictAfter") is not None
        remedy = f"`kubectl kcp workload uncordon {meta.name(obj)}`, if that is over."
        yield Finding(f"It is {'drained' if drained else 'cordoned'}: nothing new is placed there.", remedy, is_fault=False)
    if not meta.nested(obj, "status", "conditions", default=()) and kind in ("synctarget", "placement"):
        yield Finding("No controller has looked at it yet.", "See that the server runs with TMC: `kcp start --enable-tmc`.")


async def _claims(binding: JSONObject) -> AsyncIterator[Finding]:
    about = ("PermissionClaimsValid", "PermissionClaimsApplied")
    told = [c for c in meta.nested(binding, "status", "conditions", default=()) if c.get("type") in about]
    for finding in [*condition_findings({"status": {"conditions": told}}), *claim_findings(binding)]:
        yield finding


async def _workspace(session: Session, workspace: JSONObject, parent: str) -> AsyncIterator[Finding]:
    for finding in [
        *deletion_findings(workspace, "workspace"),
        *phase_finding(workspace, ready=("Ready",)),
        *condition_findings(workspace),
    ]:
        yield finding
    if selector := meta.nested(workspace, "spec", "location", "selector"):
        if not meta.nested(workspace, "spec", "cluster"):
            yield await _shards(session, selector)
    path = f"{parent}:{meta.name(workspace)}"
    initializers = meta.nested(workspace, "status", "initializers", default=())
    for finding in initializer_findings(initializers, await _urls(session, initializers)):
        yield finding
    if meta.nested(workspace, "spec", "mount") is None and meta.nested(workspace, "spec", "cluster"):
        async for finding in _inside(session, path, bindings="system:apibindings" in initializers):
            yield finding
    if not meta.nested(workspace, "status", "phase"):
        async for finding in _type(session, workspace):
            yield finding


async def _shards(session: Session, selector: JSONObject) -> Finding:
    wanted = orjson.dumps(selector).decode()
    try:
        shards = (await session.client.cluster("root").resource(SHARDS).list()).items
    except (Forbidden, NotFound):
        return Finding(
            f"It asks for a shard by {wanted}.", "You may not list the shards in root: ask an administrator which labels they have."
        )
    labels = {meta.name(s): ",".join(f"{key}={value}" for key, value in meta.labels(s).items()) for s in shards}
    told = "; ".join(f"{name} has {text or 'no labels'}" for name, text in labels.items())
    return Finding(f"It asks for a shard by {wanted}; {told}.", "Label a shard, or choose labels that one has.")


async def _type(session: Session, workspace: JSONObject) -> AsyncIterator[Finding]:
    path, _, name = type_of(workspace).rpartition(":")
    try:
        await session.client.cluster(path or session.path).resource(WORKSPACE_TYPES).get(name)
    except NotFound:
        yield Finding(
            f"Its type {type_of(workspace)} does not exist.", "Create that WorkspaceType, or make the workspace with another --type."
        )
    except Forbidden:
        return


async def _urls(session: Session, initializers: list[str]) -> dict[str, list[str]]:
    """Where the controllers of initializers work, from their types."""
    found: dict[str, list[str]] = {}
    for initializer in initializers:
        path, _, name = initializer.rpartition(":")
        if path in ("", "system"):
            continue
        try:
            type_ = await session.client.cluster(path).resource(WORKSPACE_TYPES).get(name)
        except (NotFound, Forbidden):
            continue
        urls = meta.nested(type_, "status", "virtualWorkspaces", default=())
        found[initializer] = [u["url"] for u in urls if u.get("type") in (None, "initializing")]
    return found


async def _inside(session: Session, path: str, *, bindings: bool) -> AsyncIterator[Finding]:
    """What the logical cluster says of itself, and its bindings if the workspace waits for them."""
    inside = session.client.cluster(path)
    try:
        cluster = await inside.resource(LOGICAL_CLUSTERS).get("cluster")
    except (NotFound, Forbidden):
        yield Finding(
            f"You may not look into {path}.", 'For more, get verb "access" on "/" there from one of its administrators.', is_fault=False
        )
        return
    if is_inactive(cluster):
        yield Finding("It is set inactive.", "Remove the annotation core.kcp.io/inactive or internal.kcp.io/inactive.")
    if meta.deletion_timestamp(cluster):
        for finding in condition_findings(cluster):
            yield finding
    if bindings:
        for binding in (await inside.resource(BINDINGS).list()).items:
            if not conditions.is_true(binding, "Ready"):
                async for finding in _binding(session, binding):
                    yield Finding(f"APIBinding {meta.name(binding)}: {finding.what}", finding.remedy, finding.is_fault)


async def _cluster(session: Session, cluster: JSONObject) -> AsyncIterator[Finding]:
    said = [*deletion_findings(cluster, "logicalcluster"), *phase_finding(cluster, ready=("Ready",)), *condition_findings(cluster)]
    initializers = meta.nested(cluster, "status", "initializers", default=())
    for finding in [*said, *initializer_findings(initializers, await _urls(session, initializers))]:
        yield finding
    if is_inactive(cluster):
        yield Finding("It is set inactive.", "Remove the annotation core.kcp.io/inactive or internal.kcp.io/inactive.")
    terminators = meta.nested(cluster, "status", "terminators", default=()) if meta.deletion_timestamp(cluster) else ()
    for terminator in terminators:
        yield Finding(f"Terminator {terminator} is not done.", "The controller of its WorkspaceType has to remove it: see that it runs.")


async def _binding(session: Session, binding: JSONObject) -> AsyncIterator[Finding]:
    for finding in [*deletion_findings(binding, "apibinding"), *phase_finding(binding, ready=("Bound",)), *condition_findings(binding)]:
        yield finding
    export = meta.nested(binding, "spec", "reference", "export", default={})
    path, name = export.get("path") or session.path, export.get("name") or ""
    if not conditions.is_true(binding, "APIExportValid"):
        try:
            held = await session.client.cluster(path).resource(EXPORTS).get(name)
        except NotFound:
            yield Finding(f'There is no APIExport "{name}" in workspace {path}.', "")
        except Forbidden:
            yield Finding(f"You may not read APIExport {path}:{name} yourself.", f"Ask an administrator of {path} whether it is there.",
                          is_fault=False)  # fmt: skip
        else:
            async for finding in _export(session, held, path):
                yield Finding(f"Its APIExport {path}:{name}: {finding.what}", finding.remedy, finding.is_fault)
    for finding in claim_findings(binding):
        yield finding


async def _export(session: Session, export: JSONObject, path: str = "") -> AsyncIterator[Finding]:
    for finding in [*deletion_findings(export, "apiexport"), *condition_findings(export)]:
        yield finding
    place = session.client.cluster(path or session.path)
    schemas = slices = None
    try:
        schemas = frozenset(meta.name(s) for s in (await place.resource(SCHEMAS, metadata_only=True).list()).items)
        slices = [s for s in (await place.resource(SLICES).list()).items if _is_of(s, meta.name(export))]
    except (Forbidden, NotFound):
        pass  # what may not be read is not judged
    for finding in export_findings(export, schemas, slices):
        yield finding


def _is_of(endpoint_slice: JSONObject, export: str) -> bool:
    return bool(meta.nested(endpoint_slice, "spec", "export", "name") == export)
