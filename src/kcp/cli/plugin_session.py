"""What every plugin command starts from: the kubeconfig, the current workspace, and a client of its server.

Before: the commands of `kubectl_ws` and `kubectl_kcp`. After: `client.kubeconfig`, `client.rest` over `plugin_transport`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_contexts import server_of
from kcp.cli.plugin_flags import ConnectionFlags, with_credentials, with_place
from kcp.cli.plugin_paths import WorkspaceURL, target_path
from kcp.cli.plugin_transport import BlockingTransport
from kcp.client import kubeconfig
from kcp.client.endpoint import Endpoint, Timeouts
from kcp.client.rest import Client


class PluginError(Exception):
    """A command cannot go on; the message says why and what to do."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class Session:
    merged: JSONObject
    """What kubectl would read: all files of $KUBECONFIG."""
    file: Path
    """The file that changes go to."""
    context: str
    client: Client
    """Of the whole server, without a workspace."""
    url: WorkspaceURL
    """Where the current context points, or --workspace."""
    endpoint: Endpoint = field(default_factory=lambda: Endpoint(server=""))
    """How the server is reached and trusted; for commands that hand that on."""
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)

    @property
    def path(self) -> str:
        """The current workspace. Raises PluginError outside workspaces."""
        if not self.url.path:
            raise PluginError(
                f'the server of context "{self.context}" ({self.url.base}) is not a workspace: its URL has no /clusters/<path>.'
                " Enter one with an absolute path, such as `kubectl ws :root`, or use the kubeconfig that `kcp start` writes"
                " (.kcp/admin.kubeconfig)"
            )
        return self.url.path

    @property
    def workspace(self) -> Client:
        """The API of the current workspace. Raises PluginError outside workspaces."""
        return self.client.cluster(self.path)

    def say(self, text: str) -> None:
        print(text, file=self.out)

    def note(self, text: str) -> None:
        print(text, file=self.err)

    def editable(self) -> JSONObject:
        """The document of `file`, to be changed and handed to `save`."""
        return kubeconfig.read(self.file)

    def save(self, document: Mapping[str, Any]) -> None:
        kubeconfig.save(self.file, document)


def kubeconfig_paths(flag: str, environment: Mapping[str, str]) -> list[Path]:
    """--kubeconfig, or the files of $KUBECONFIG, or ~/.kube/config. Source: k8s.io/client-go/tools/clientcmd/loader.go."""
    if flag:
        return [Path(flag)]
    listed = [Path(p) for p in environment.get("KUBECONFIG", "").split(os.pathsep) if p]
    return listed or [Path(environment.get("HOME", "~")).expanduser() / ".kube" / "config"]


def open_session(flags: ConnectionFlags, environment: Mapping[str, str]) -> Session:
    """Raises: PluginError, kubeconfig.KubeConfigError."""
    paths = kubeconfig_paths(flags.kubeconfig, environment)
    if not any(path.exists() for path in paths):
        raise PluginError(
            f"no kubeconfig: {', '.join(map(str, paths))} does not exist."
            " Set KUBECONFIG or pass --kubeconfig; `kcp start` writes .kcp/admin.kubeconfig"
        )
    merged, file = kubeconfig.read_merged(paths)
    context = kubeconfig.resolve(merged, flags.context, source=file).context
    merged = with_place(merged, context, flags)
    entry = kubeconfig.resolve(with_credentials(merged, context, flags), context, source=file)
    limits = Timeouts(request_s=flags.request_timeout_s, connect_s=flags.request_timeout_s) if flags.request_timeout_s else Timeouts()
    transport = BlockingTransport(entry.endpoint, timeouts=limits)
    url = WorkspaceURL.parse(server_of(merged, context))
    if flags.workspace:
        url = WorkspaceURL(url.base, target_path(flags.workspace, url.path))
    client = Client(transport, WorkspaceURL.parse(entry.endpoint.base_path).base, user_agent="kubectl-ws", origin=entry.endpoint.origin)
    return Session(merged, file, context, client, url, entry.endpoint)


@asynccontextmanager
async def opened(flags: ConnectionFlags) -> AsyncIterator[Session]:
    """A session of this command, closed at its end."""
    session = open_session(flags, os.environ)
    try:
        yield session
    finally:
        await session.client.close()
