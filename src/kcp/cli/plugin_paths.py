"""Path arithmetic of `kubectl ws`: from what a user types and where they are to the workspace that is meant. Pure.

Source: kcp staging cli/pkg/workspace/plugin/use.go, cli/pkg/helpers/urls.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from kcp.apimachinery.keys import ClusterPath

ROOT = "root"
_MARK = "/clusters/"
ADMIN = ":admin"
"""Stands for a virtual workspace, not for a path: what concerns the whole installation."""
_ADMIN_URL = "/services/admin"


class PathProblem(ValueError):
    """What was typed names no workspace; the message says why."""


@dataclass(frozen=True, slots=True)
class WorkspaceURL:
    """A server URL taken apart.

    >>> url = WorkspaceURL.parse("https://kcp:6443/clusters/root:org")
    >>> url.path, url.at("root:other")
    ('root:org', 'https://kcp:6443/clusters/root:other')
    >>> WorkspaceURL.parse("https://kcp:6443/services/admin").at("root")
    'https://kcp:6443/clusters/root'
    """

    base: str
    """Everything before `/clusters/`."""
    path: str
    """"" for a URL that points to no workspace."""

    @classmethod
    def parse(cls, server: str) -> WorkspaceURL:
        url = urlsplit(server)
        head, found, rest = url.path.partition(_MARK)
        path = unquote(rest.split("/")[0]) if found else ""
        head = head.removesuffix(_ADMIN_URL)
        return cls(urlunsplit((url.scheme, url.netloc, head.rstrip("/"), "", "")), path)

    def at(self, path: str) -> str:
        return f"{self.base}{_MARK}{quote(path, safe=':')}"

    def admin(self) -> str:
        return self.base + _ADMIN_URL


def is_absolute(argument: str) -> bool:
    """Whether an argument needs no current workspace.

    >>> is_absolute("root:org"), is_absolute(":root"), is_absolute("org")
    (True, True, False)
    """
    first = argument.lstrip(":").split(":")[0]
    return argument.startswith(":") or first in (ROOT, "system") and (argument == ROOT or ":" in argument)


def target_path(argument: str, current: str) -> str:
    """The absolute path an argument means in workspace `current` ("" outside workspaces).

    `:` is root, `:a:b`, `root:b` and `system:x` are absolute, everything else is relative; `.` and `..` may
    stand anywhere, and `/` is read as `:`.

    >>> target_path("..:b", "root:a"), target_path("b:c", "root:a"), target_path(":", "root:a:b")
    ('root:b', 'root:a:b:c', 'root')

    Raises: PathProblem.
    """
    argument = argument.replace("/", ":")
    if argument == ":":
        return ROOT
    if is_absolute(argument):
        path = argument.lstrip(":")
    elif current:
        path = f"{current}:{argument}"
    else:
        raise PathProblem(f'"{argument}" is relative, but the current context is in no workspace; type an absolute path: :root:{argument}')
    resolved = _without_dots(path)
    if not ClusterPath(resolved).is_valid or resolved == "*":
        raise PathProblem(f"invalid workspace path: {argument}")
    return resolved


_HOMES = "user"
"""Of a home workspace's path, `user:<name>`: nothing is there but homes."""


def _without_dots(path: str) -> str:
    parts: list[str] = []
    for part in path.split(":"):
        if part == "..":
            if len(parts) < 2 or (parts[0] == _HOMES and len(parts) == 2):
                raise PathProblem(f'workspace "{":".join(parts) or ROOT}" has no parent')
            parts.pop()
        elif part != ".":
            parts.append(part)
    return ":".join(parts)
