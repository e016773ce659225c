"""How `kubectl ws` moves through workspaces: contexts in a kubeconfig document. Pure, over the document.

The context `workspace.kcp.io/current` points to where the user is, `workspace.kcp.io/previous` to where they were.
Source: kcp staging cli/pkg/workspace/plugin/use.go, context.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kcp.apimachinery.meta import JSONObject
from kcp.client.kubeconfig import find, put

CURRENT = "workspace.kcp.io/current"
PREVIOUS = "workspace.kcp.io/previous"


class ContextProblem(ValueError):
    """The kubeconfig lacks what is needed; the message says what to do."""


def server_of(document: Mapping[str, Any], context: str) -> str:
    """URL of a context. Raises ContextProblem."""
    return str(_cluster_of(document, context).get("server") or "")


def enter(merged: Mapping[str, Any], into: JSONObject, context: str, server: str) -> None:
    """Make `server` the current workspace, with the credentials of `context`, and remember where the user was.

    Args: merged: what kubectl would read. into: the document to change, which may hold only a part of that.
    """
    here, cluster = _context_of(merged, context), _cluster_of(merged, context)
    _remember(into, here, cluster)
    put(into, "clusters", CURRENT, {**cluster, "server": server})
    put(into, "contexts", CURRENT, {**here, "cluster": CURRENT})
    into["current-context"] = CURRENT


def swap(merged: Mapping[str, Any], into: JSONObject, context: str) -> str:
    """Go back to where the user was before; doing it twice changes nothing. Returns the URL there."""
    back = find(merged, "contexts", PREVIOUS)
    if back is None:
        raise ContextProblem("no previous workspace found in kubeconfig; `kubectl ws <path>` makes one")
    target = _cluster_of(merged, PREVIOUS)
    here, cluster = _context_of(merged, context), _cluster_of(merged, context)
    if back.get("cluster") == PREVIOUS:
        put(into, "clusters", CURRENT, dict(target))
        back = {**back, "cluster": CURRENT}
    _remember(into, here, cluster)
    put(into, "contexts", CURRENT, back)
    into["current-context"] = CURRENT
    return str(target.get("server") or "")


def create(  # noqa: PLR0913 - the last three are options with defaults
    merged: Mapping[str, Any],
    into: JSONObject,
    context: str,
    name: str,
    *,
    server: str = "",
    overwrite: bool = False,
    keep_current: bool = False,
) -> str:
    """Keep a workspace under a context name of its own and switch to it, unless the current one is to be kept.

    Args: server: of the new context; "" for that of `context`.
    Returns: what happened, for the user. Raises: ContextProblem.
    """
    existed = find(merged, "contexts", name) is not None
    if existed and not overwrite:
        raise ContextProblem(f'context "{name}" already exists in kubeconfig, use --overwrite to update it')
    cluster = _cluster_of(merged, context)
    put(into, "clusters", name, {**cluster, "server": server or cluster.get("server")})
    put(into, "contexts", name, {**_context_of(merged, context), "cluster": name})
    verb = "Updated" if existed else "Created"
    if keep_current or merged.get("current-context") == name:
        return f'{verb} context "{name}".'
    into["current-context"] = name
    return f'{verb} context "{name}" and switched to it.'


def _remember(into: JSONObject, here: JSONObject, cluster: JSONObject) -> None:
    """A context that is not ours is pointed to; ours is about to change, so its cluster is copied."""
    if here.get("cluster") == CURRENT:
        put(into, "clusters", PREVIOUS, dict(cluster))
        here = {**here, "cluster": PREVIOUS}
    put(into, "contexts", PREVIOUS, dict(here))


def _context_of(document: Mapping[str, Any], context: str) -> JSONObject:
    found = find(document, "contexts", context)
    if found is None:
        raise ContextProblem(f'current context "{context}" is not in the kubeconfig; choose one with `kubectl config use-context`')
    return found


def _cluster_of(document: Mapping[str, Any], context: str) -> JSONObject:
    name = str(_context_of(document, context).get("cluster") or "")
    found = find(document, "clusters", name)
    if found is None:
        raise ContextProblem(f'cluster "{name}" of context "{context}" is not in the kubeconfig')
    return found
