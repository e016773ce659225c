"""`kubectl tmc render OBJECT --cluster X`: the very object that X's syncer applies, or would; writes nothing.

The object goes through the functions that the server's view and the syncer send it through. Where it is not for X just now, it is shown as
it would be if it were: whole, with the OverridePolicies and ResourceProjections of now.
Before: `kubectl_tmc`. After: `tmc.placement.changes`, `tmc.view.syncer`, `tmc.syncer.rendering`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kcp.aio.clock import Clock, SystemClock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import BadRequest, Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_decisions import add_object_arguments
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, connection_parser
from kcp.cli.plugin_session import PluginError, Session, opened
from kcp.cli.plugin_workloads import namespace_of
from kcp.client.discovery import APIResource
from kcp.tmc.errors import TMCError
from kcp.tmc.model.kinds import OVERRIDE_POLICIES, RESOURCE_PROJECTIONS, SYNC_TARGETS
from kcp.tmc.model.names import (
    DELETION_ANNOTATION,
    OVERRIDE_ERROR_ANNOTATION,
    PROJECTED_ANNOTATION,
    SPEC_DIFF_ANNOTATION,
    STATE_LABEL,
    STATE_SYNC,
    STATE_UPSYNC,
    is_leaving,
    upsyncing_key,
)
from kcp.tmc.model.wishes import left_out
from kcp.tmc.placement.changes import changed
from kcp.tmc.placement.resources import put_overrides
from kcp.tmc.projection.spec import Mark, Projection
from kcp.tmc.syncer.access import SECRETS, account_of, token_of
from kcp.tmc.syncer.identity import Identity
from kcp.tmc.syncer.put import stamped
from kcp.tmc.syncer.rendering import Rendering
from kcp.tmc.syncer.transformations import DEFAULT_PLACE, Transformations
from kcp.tmc.view.syncer import SyncerTransformation

CONFIG_MAPS = GVR("", "v1", "configmaps")
_EXAMPLES = """\
examples:
  kubectl tmc render deployment shop --cluster eu-1          what eu-1 gets
  kubectl tmc render cm/settings -n web --cluster eu-1 | kubectl --context eu-1 diff -f -
--cluster names a SyncTarget here, not an entry of the kubeconfig.
The times in its stamps are those of now. A syncer that was started with the last two flags is told of by them"""


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked."""

    words: Sequence[str]
    cluster: str
    namespace: str = ""
    output: str = "yaml"
    transformations: str = DEFAULT_PLACE
    shows_pods: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """The SyncTarget and where it is."""

    obj: JSONObject
    path: str

    @property
    def identity(self) -> Identity:
        return Identity(ClusterName(meta.cluster(self.obj)), meta.name(self.obj), meta.uid(self.obj))

    @property
    def workspaces_url(self) -> str:
        """Below which the syncer finds workspaces, as the SyncTarget's own status says."""
        views: Sequence[JSONObject] = meta.nested(self.obj, "status", "virtualWorkspaces", default=())
        base = next((str(view["syncerURL"]) for view in views if view.get("syncerURL")), "").partition("/services/")[0]
        return f"{base}/clusters"


def parser(prog: str) -> PluginParser:
    made = PluginParser(
        prog=prog, description="Show what a cluster gets of an object. Nothing is written.", epilog=_EXAMPLES, parents=[connection_parser()]
    )
    add_object_arguments(made)
    made.add_argument("-o", "--output", default="yaml", metavar="FORMAT", help="yaml (default) or json")
    made.add_argument("--transformations", default=DEFAULT_PLACE, metavar="NAMESPACE/NAME", help="the syncer's flag; empty for none")
    made.add_argument("--upsync-resources", action="append", default=[], metavar="RESOURCE", help="the syncer's flag; pods matter here")
    made.set_defaults(run=_run)
    return made


async def _run(options: argparse.Namespace, flags: ConnectionFlags) -> None:
    """--cluster, which elsewhere means an entry of the kubeconfig, is the SyncTarget here."""
    if options.output not in ("yaml", "json"):
        raise PluginError(f'invalid value "{options.output}" for --output; valid values are yaml, json')
    if not flags.cluster:
        raise PluginError("which cluster? Give --cluster NAME; `kubectl get synctargets` lists them")
    shows_pods = any("pods" in told.split(",") for told in options.upsync_resources)
    asked = Question(options.object, flags.cluster, options.namespace, options.output, options.transformations, shows_pods)
    async with opened(replace(flags, cluster="")) as session:
        await render(session, asked, SystemClock())


async def render(session: Session, asked: Question, clock: Clock) -> None:
    """Raises: PluginError where there is nothing to show, and why."""
    resource, name = await resource_named(session, asked.words)
    namespace = namespace_of(session, asked.namespace)
    try:
        obj = await session.workspace.resource(resource.gvr).get(name, namespace=namespace)
    except NotFound:
        raise PluginError(f'{resource.kind} "{name}" not found in namespace {namespace} of {session.path}') from None
    target = await _target(session, asked.cluster)
    made = await rendered(session, obj, resource.gvr, target, asked, clock)
    session.say(json.dumps(made, indent=2) if asked.output == "json" else _yaml(made))


async def rendered(session: Session, obj: JSONObject, gvr: GVR, target: Target, asked: Question, clock: Clock) -> JSONObject:
    """Raises: PluginError."""
    key, title = target.identity.key, f"{obj['kind']} {meta.namespace(obj)}/{meta.name(obj)}"
    _refuse(obj, target, title)
    if meta.labels(obj).get(STATE_LABEL + key) != STATE_SYNC or is_leaving(obj, key):
        session.note(f"note: {title} is not for {asked.cluster} now: this is what it would get")
        obj = await _supposed(session, obj, target)
    if text := meta.annotations(obj).get(OVERRIDE_ERROR_ANNOTATION + key):
        raise PluginError(f"its copy on {asked.cluster} is held back, and stays as it is: {json.loads(text).get('message', text)}")
    try:
        view = SyncerTransformation(key, clock, target.workspaces_url).shown(meta.copy_json(obj))
        rules = await _transformations(session, target, asked)
        secrets = await _secrets(session, meta.namespace(obj))
        rendering = Rendering(target.identity, rules.apply, lambda held: token_of(account_of(held), secrets), asked.shows_pods)
        desired = rendering.of(view, gvr.group_resource)
    except (BadRequest, TMCError) as error:
        raise PluginError(f"its copy on {asked.cluster} is held back, and stays as it is: {error}") from None
    return stamped(desired, view, target.identity, clock.now())


def _refuse(obj: JSONObject, target: Target, title: str) -> None:
    name = meta.name(target.obj)
    if meta.labels(obj).get(STATE_LABEL + target.identity.key) == STATE_UPSYNC:
        raise PluginError(f"{title} shows what runs in {name}: nothing goes there")
    if left_out(obj, name):
        raise PluginError(f"{title} gets no copy on {name}: its own annotations say so (docs/syncing.md)")


async def _supposed(session: Session, obj: JSONObject, target: Target) -> JSONObject:
    """The object as if it were for this target."""
    key, name = target.identity.key, meta.name(target.obj)
    wanted: JSONObject = meta.copy_json(obj)
    meta.set_label(wanted, STATE_LABEL + key, STATE_SYNC)
    for stale in (DELETION_ANNOTATION, SPEC_DIFF_ANNOTATION):
        meta.set_annotation(wanted, stale + key, None)
    policies = await _listed(session, OVERRIDE_POLICIES, meta.namespace(obj))
    projections = [Projection.of(p) for p in await _listed(session, RESOURCE_PROJECTIONS)]
    source = await _source(session, obj, target)
    mine = tuple(p.name for p in projections if key in p.chosen and p.selects(obj, source))
    if mine:
        meta.set_annotation(wanted, PROJECTED_ANNOTATION + key, Mark(mine, source or str(meta.cluster(obj))).to_json())
    found = changed(wanted, key, target.obj, policies, projections, lambda _: ())
    if found.error is not None:
        raise PluginError(f"its copy on {name} would be held back: {found.error.message}")
    put_overrides(wanted, key, found)
    return wanted


async def _source(session: Session, obj: JSONObject, target: Target) -> str:
    """Name of the SyncTarget that shows the object; "" for one of the workspace's own."""
    shown_by = upsyncing_key(obj)
    fleet = (await session.client.cluster(target.path).resource(SYNC_TARGETS).list()).items if shown_by else ()
    return next((meta.name(t) for t in fleet if Target(t, target.path).identity.key == shown_by), shown_by)


async def _listed(session: Session, gvr: GVR, namespace: str = "") -> Sequence[JSONObject]:
    try:
        return (await session.workspace.resource(gvr).list(namespace=namespace)).items
    except NotFound:
        return ()
    except Forbidden as error:
        session.note(f"note: {error}: they are left out")
        return ()


async def _secrets(session: Session, namespace: str) -> Sequence[JSONObject]:
    """Where service accounts' tokens are."""
    return await _listed(session, SECRETS, namespace)


async def resource_named(session: Session, words: Sequence[str]) -> tuple[APIResource, str]:
    """What a kind, plural, singular or short name means in this workspace. Raises: PluginError."""
    kind, _, name = words[0].partition("/")
    name = name or (words[1] if len(words) > 1 else "")
    if not name or len(words) > 2:
        raise PluginError(f'"{" ".join(words)}" names no object: write KIND/NAME')
    told = kind.lower()
    for found in await session.workspace.discover():
        known = {found.kind.lower(), found.gvr.resource, found.singular, *found.short_names, str(found.gvr.group_resource)}
        if told in known and found.namespaced and found.preferred:
            return found, name
    raise PluginError(f'{session.path} has no namespaced kind "{kind}"; `kubectl api-resources --namespaced` lists them')


async def _target(session: Session, name: str) -> Target:
    """Here, or in the nearest workspace upwards that has one of this name. Raises: PluginError."""
    parts = session.path.split(":")
    refused = ""
    for depth in range(len(parts), 0, -1):
        path = ":".join(parts[:depth])
        try:
            return Target(await session.client.cluster(path).resource(SYNC_TARGETS).get(name), path)
        except NotFound:
            continue
        except Forbidden as error:
            refused = refused or f"; {error}"
    raise PluginError(f'no SyncTarget "{name}" in {session.path} or above it{refused}')


async def _transformations(session: Session, target: Target, asked: Question) -> Transformations:
    """Of whoever runs the cluster."""
    rules = Transformations(asked.cluster)
    namespace, _, name = asked.transformations.partition("/")
    if not name:
        return rules
    try:
        rules.read(await session.client.cluster(target.path).resource(CONFIG_MAPS).get(name, namespace=namespace))
    except NotFound:
        pass  # there are none, which is the rule
    except Forbidden:
        session.note(
            f"note: ConfigMap {asked.transformations} of {target.path} may not be read: transformations of the cluster are left out"
        )
    return rules


def _yaml(obj: JSONObject) -> str:
    import yaml

    first = {field: obj[field] for field in ("apiVersion", "kind", "metadata")}
    metadata = {**{field: obj["metadata"][field] for field in ("name", "namespace")}, **obj["metadata"]}
    ordered = {**first, "metadata": metadata, **{field: value for field, value in obj.items() if field not in first}}
    text: str = yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return text.rstrip()
