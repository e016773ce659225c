"""The commands of `kubectl ws`, apart from `tree`. Each takes a Session and what the user typed.

Before: `kubectl_ws`. After: `plugin_lookup`, `plugin_contexts`, the API.
Source: kcp staging cli/pkg/workspace/plugin/{use,create,context}.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.meta import JSONObject
from kcp.cli import plugin_contexts
from kcp.cli.plugin_lookup import WORKSPACES, Found, canonical_path, conditions_text, look_up, type_of
from kcp.cli.plugin_paths import ADMIN, WorkspaceURL, target_path
from kcp.cli.plugin_session import PluginError, Session
from kcp.cli.plugin_waiting import wait_until
from kcp.client.rest import ResourceClient

_CD_NOTE = (
    "Note: 'kubectl ws' now matches 'cd' semantics: go to home workspace."
    " 'kubectl ws -' to go back. 'kubectl ws .' to print current workspace."
)


async def use(session: Session, argument: str, *, short: bool = False) -> None:
    """Enter the workspace that `argument` means: a path, `.`, `..`, `-` (previous), `~` or nothing (home), `:` (root), `:admin`."""
    if argument == ".":
        show_current(session, short=short)
        return
    if argument == "-":
        document = session.editable()
        server = plugin_contexts.swap(session.merged, document, session.context)
        session.save(document)
        _print_current(session, Found(WorkspaceURL.parse(server).path, ""), server, short=short)
        return
    if argument == ADMIN:
        _enter_url(session, Found("", ""), session.url.admin(), short=short)
        return
    path = await _destination(session, argument)
    found = await look_up(session, path)
    _enter(session, found, short=short)
    if not argument and not short:
        session.note(_CD_NOTE)


async def _destination(session: Session, argument: str) -> str:
    if argument in ("", "~") or argument.startswith(("~:", "~/")):
        home = await session.client.cluster("root").resource(WORKSPACES).get("~")
        return target_path(argument[1:].lstrip(":/") or ".", WorkspaceURL.parse(meta.nested(home, "spec", "URL", default="")).path)
    current = await canonical_path(session) if ".." in argument else session.url.path
    return target_path(argument, current)


def _enter(session: Session, found: Found, *, short: bool = False) -> None:
    _enter_url(session, found, session.url.at(found.path), short=short)


def _enter_url(session: Session, found: Found, server: str, *, short: bool) -> None:
    document = session.editable()
    plugin_contexts.enter(session.merged, document, session.context, server)
    session.save(document)
    _print_current(session, found, server, short=short)


def show_current(session: Session, *, short: bool = False) -> None:
    server = plugin_contexts.server_of(session.merged, session.context)
    _print_current(session, Found(session.url.path, ""), server, short=short)


def _print_current(session: Session, found: Found, server: str, *, short: bool) -> None:
    if not found.path:
        if not short:
            session.say(f'Current workspace is the URL "{server}".')
    elif short:
        session.say(found.path)
    else:
        session.say(f'Current workspace is "{found.path}"{f" (type {found.type})" if found.type else ""}.')


@dataclass(frozen=True, kw_only=True, slots=True)
class CreateOptions:
    name: str
    type: str = ""
    """`name` or `path:name`; "": the default of where the workspace is made."""
    enter: bool = False
    ignore_existing: bool = False
    location_selector: Mapping[str, object] = field(default_factory=dict)
    """A metav1.LabelSelector over shards."""
    create_context: str = ""
    timeout_s: float = 60.0


async def create(session: Session, options: CreateOptions, clock: Clock) -> None:
    """Make a workspace, wait until it is ready, and enter it if asked to."""
    if options.ignore_existing and options.type and not options.type.startswith("root:"):
        raise PluginError("--ignore-existing must not be used with non-absolute type path; write --type root:<name>")
    parent = session.path
    if ":" in options.name:
        above, _, name = options.name.strip(":").rpartition(":")
        there = f", or `-w :{above}` from here" if above else ""
        raise PluginError(
            f'"{options.name}" is a path, and a workspace is made in the current one: `kubectl ws create {name}` there{there}'
        )
    workspaces = session.client.cluster(parent).resource(WORKSPACES)
    workspace, verb = await _create_or_get(workspaces, parent, options)
    reference = f'Workspace "{options.name}" (type {type_of(workspace)})'
    if meta.nested(workspace, "status", "phase") != "Ready":
        session.say(f"{reference} {verb}. Waiting for it to be ready...")
        workspace = await _wait_ready(workspaces, workspace, clock, options.timeout_s)
    elif verb == "already exists":
        session.say(f"{reference} already exists.")
    session.say(f"{reference} is ready to use.")
    found = Found(f"{parent}:{options.name}", type_of(workspace))
    if options.create_context:
        _create_context(session, options.create_context, session.url.at(found.path), overwrite=False)
    if options.enter:
        _enter(session, found)


async def _create_or_get(workspaces: ResourceClient, parent: str, options: CreateOptions) -> tuple[JSONObject, str]:
    """The workspace, and what to say about it."""
    try:
        return await workspaces.create(_workspace(options)), "created"
    except AlreadyExists:
        if not options.ignore_existing:
            raise PluginError(
                f'workspace "{options.name}" already exists in {parent}; enter it: `kubectl ws {options.name}`, or add --ignore-existing'
            ) from None
    except NotFound as error:
        raise PluginError(f'workspace "{parent}" does not take workspaces: {error}; `kubectl ws tree` shows what is there') from error
    held = await workspaces.get(options.name)
    if options.type and type_of(held) != options.type.lower():
        wanted = options.type.lower()
        raise PluginError(
            f'workspace "{options.name}" cannot be created with type {wanted}, it already exists with different type {type_of(held)}'
        )
    return held, "already exists"


def _workspace(options: CreateOptions) -> JSONObject:
    spec: JSONObject = {}
    if options.type:
        path, _, name = options.type.rpartition(":")
        spec["type"] = {"name": name.lower(), **({"path": path} if path else {})}
    if options.location_selector:
        spec["location"] = {"selector": dict(options.location_selector)}
    return {"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": options.name}, "spec": spec}


async def _wait_ready(workspaces: ResourceClient, workspace: JSONObject, clock: Clock, timeout_s: float) -> JSONObject:
    """The workspace once it is Ready. Raises PluginError with its conditions when that takes too long."""
    name = meta.name(workspace)
    waited = await wait_until(workspaces, workspace, _is_ready, clock, timeout_s)
    if waited.is_gone:
        raise PluginError(f'workspace "{name}" was deleted while it was being made')
    if not waited.is_done:
        phase = meta.nested(waited.obj, "status", "phase", default="") or "unknown"
        raise PluginError(
            f'workspace "{name}" is not ready after {timeout_s:g} s, its phase is {phase}{conditions_text(waited.obj)}\n'
            f"It may still become ready; `kubectl kcp diagnose workspace {name}` says what it waits for."
        )
    return waited.obj


def _is_ready(workspace: JSONObject) -> bool:
    return bool(meta.nested(workspace, "status", "phase") == "Ready")


def create_context(session: Session, name: str, *, overwrite: bool, keep_current: bool = False) -> None:
    """Keep the current workspace under a context of its own; without a name, under its path."""
    server = session.url.at(session.path)
    _create_context(session, name or session.path, server, overwrite=overwrite, keep_current=keep_current)


def _create_context(session: Session, name: str, server: str, *, overwrite: bool, keep_current: bool = False) -> None:
    document = session.editable()
    told = plugin_contexts.create(
        session.merged, document, session.context, name, server=server, overwrite=overwrite, keep_current=keep_current
    )
    session.save(document)
    session.say(told)


async def delete(session: Session, name: str, clock: Clock, *, wait: bool = True, timeout_s: float = 60.0) -> None:
    """Delete a child workspace with everything in it, and wait until it is gone."""
    workspaces = session.client.cluster(session.path).resource(WORKSPACES)
    try:
        held = await workspaces.get(name)
        left = await workspaces.delete(name, uid=meta.uid(held))
    except NotFound:
        raise PluginError(f'workspace "{name}" not found in {session.path}; `kubectl ws tree` shows what is there') from None
    if not wait:
        session.say(f'Workspace "{name}" is being deleted.')
        return
    if not meta.deletion_timestamp(left):
        session.say(f'Workspace "{name}" deleted.')
        return
    waited = await wait_until(workspaces, left, lambda _: False, clock, timeout_s)
    if not waited.is_gone:
        raise PluginError(
            f'workspace "{name}" is still there after {timeout_s:g} s{conditions_text(waited.obj)}\n'
            f"`kubectl kcp diagnose workspace {name}` says what holds it."
        )
    session.say(f'Workspace "{name}" deleted.')
