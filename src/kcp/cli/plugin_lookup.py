"""Finding out, before entering a workspace, that it is there, that it is ready and that the user may enter; else saying what is wrong.

Called by `plugin_workspace`. After: the API of the workspace and of its parent.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import shorten

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, NotFound, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_findings import LONGEST_SHOWN
from kcp.cli.plugin_session import PluginError, Session

WORKSPACES = GVR("tenancy.kcp.io", "v1alpha1", "workspaces")
LOGICAL_CLUSTERS = GVR("core.kcp.io", "v1alpha1", "logicalclusters")
TYPE = "internal.tenancy.kcp.io/type"
PATH = "kcp.io/path"


@dataclass(frozen=True, slots=True)
class Found:
    path: str
    type: str
    """`root:organization`; "" where the user may not see it."""


async def look_up(session: Session, path: str) -> Found:
    """The workspace at `path`. Raises PluginError if it cannot be entered."""
    if path.startswith("system:"):
        return Found(path, "")
    try:
        cluster = await session.client.cluster(path).resource(LOGICAL_CLUSTERS).get("cluster")
    except (NotFound, Forbidden):
        return await _look_up_in_parent(session, path)
    phase = meta.nested(cluster, "status", "phase", default="")
    if phase not in ("Ready", "Initializing"):
        raise PluginError(f'workspace "{path}" cannot be entered: its phase is {phase or "unknown"}{conditions_text(cluster)}')
    return Found(path, meta.annotations(cluster).get(TYPE, ""))


async def _look_up_in_parent(session: Session, path: str) -> Found:
    """The LogicalCluster does not show: is the workspace missing, unfinished, or closed to this user?"""
    workspace = await _workspace(session, path)
    phase = meta.nested(workspace or {}, "status", "phase", default="")
    if workspace is not None and phase != "Ready":
        raise PluginError(f'workspace "{path}" is not ready, its phase is {phase or "unknown"}{conditions_text(workspace)}')
    if await _may_enter(session, path):
        return Found(path, type_of(workspace))
    if workspace is None:
        raise PluginError(f'workspace "{path}" not found, or access to it denied; `kubectl ws tree` shows what is there')
    raise PluginError(f'access to workspace "{path}" denied: you need verb "access" on "/" there; ask an administrator of the workspace')


async def _workspace(session: Session, path: str) -> JSONObject | None:
    """The Workspace in the parent; None if there is none, or the user may not read it."""
    parent, _, name = path.rpartition(":")
    if not parent:
        return None
    try:
        return await session.client.cluster(parent).resource(WORKSPACES).get(name)
    except (NotFound, Forbidden):
        return None


async def _may_enter(session: Session, path: str) -> bool:
    try:
        groups = await session.client.cluster(path).raw("GET", "/apis")
    except (NotFound, Forbidden):
        return False
    return b'"groups":[]' not in groups.body


async def canonical_path(session: Session) -> str:
    """The current workspace as a path that has a parent: a bare cluster name is asked for its path."""
    path = session.path
    if ":" in path or path == "root":
        return path
    try:
        cluster = await session.client.cluster(path).resource(LOGICAL_CLUSTERS).get("cluster")
    except StatusError:
        return path
    return meta.annotations(cluster).get(PATH) or path


def type_of(workspace: JSONObject | None) -> str:
    """`root:universal`, from spec.type."""
    type_ = meta.nested(workspace or {}, "spec", "type", default={})
    return f"{type_['path']}:{type_['name']}" if type_.get("path") else str(type_.get("name") or "")


def conditions_text(obj: JSONObject) -> str:
    """What an unfinished object says about itself, as an indented list: the same thing once, and of long messages the beginning."""
    said: dict[str, list[str]] = {}
    for condition in meta.nested(obj, "status", "conditions", default=()):
        if condition.get("status") != "True":
            text = f"{condition.get('reason', '')} {condition.get('message', '')}".strip()
            said.setdefault(shorten(text, LONGEST_SHOWN, placeholder=" …"), []).append(str(condition.get("type")))
    lines = [f"  {', '.join(types)}: {text}".rstrip() for text, types in said.items()]
    return ":\n" + "\n".join(lines) if lines else ""
