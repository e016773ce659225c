"""Flags of `kcp start` about what it begins with and under which names it is reached, as kcp has them.

Among them are those that a test suite written for kcp passes to any server it starts: what concerns an embedded etcd, or scans, is said to
be without effect, because there are none; so are feature gates of Kubernetes. Those of kcp are taken where they say what is so.
Before: `cli.kcp`. After: `server.startoptions`.
Source: kcp pkg/server/options/{options,flags}.go, sdk/testing/server/config.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kcp.cli.accessflags import Words
from kcp.cli.flags import Duration, bool_flag, fail
from kcp.cli.gatenames import ALL_ALPHA, KNOWN

if TYPE_CHECKING:
    from kcp.server.startoptions import ShardOptions

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path)

SETTABLE = {
    "CacheAPIs": False,
    "EnableDeprecatedAPIExportVirtualWorkspacesUrls": True,
    "WorkspaceAuthentication": False,
    "WorkspaceMounts": False,
}
"""Feature gates with their defaults; all are of the alpha stage."""
_SETTLED = {
    "KCPLocationAPI": True,
    "LogicalClusterMigration": False,
}
"""Gates of kcp that stand as they do: to say so is no error, and to ask for the other is."""
_SAID_ALREADY = {
    "DRAExtendedResource": False,
    "KCPSyncerTunnel": True,
    "SizeBasedListCostEstimate": False,
    "StorageVersionAPI": False,
    "UnknownVersionInteroperabilityProxy": False,
    "WatchCacheInitializationPostStartHook": False,
    "WatchList": True,
}
"""Gates without effect that kcp's own command lines name, as it is here: no word is lost about them."""

_ETCD = "there is no embedded etcd here"
_WITHOUT_EFFECT = {
    "embedded-etcd-directory": _ETCD,
    "embedded-etcd-client-port": _ETCD,
    "embedded-etcd-peer-port": _ETCD,
    "embedded-etcd-listen-metrics-urls": _ETCD,
    "embedded-etcd-wal-size-bytes": _ETCD,
    "embedded-etcd-quota-backend-bytes": _ETCD,
    "embedded-etcd-force-new-cluster": _ETCD,
    "logical-cluster-object-count-scan-interval": "objects are counted when one is made, not by scans",
}
"""Flags of kcp that are taken, and why they change nothing."""

_FLAGS: tuple[Callable[[Any], Any], ...] = (
    click.option("--tls-cert-file", type=_FILE, default=None,
                 help="Certificate to serve with, its authorities behind it. [default: one of the server's own authority]"),
    click.option("--tls-private-key-file", type=_FILE, default=None, help="Its key."),
    click.option("--tls-san", "tls_names", type=Words(), default="",
                 help="Further names and addresses in the certificate of the server's own authority, separated by commas."),
    click.option("--tls-min-version", default="VersionTLS12", show_default=True, help="VersionTLS12 or VersionTLS13."),
    click.option("--tls-cipher-suites", type=Words(), default="",
                 help="Cipher suites of TLS 1.2, by their IANA names. [default: ECDHE with AES-GCM or ChaCha20-Poly1305]"),
    click.option("--batteries-included", type=Words(), default="workspace-types,admin,root-compute-workspace", show_default=True,
                 help="What there is from the start; +NAME and -NAME change the default. workspace-types: types organization and team. "
                 "admin: the administrator's kubeconfig. user: in it, a user and context `user` without rights. metrics-viewer: "
                 "ServiceAccount and user that may read /metrics. root-compute-workspace: with TMC, the export root:compute:kubernetes."),
    click.option("--shard-name", default="root", show_default=True, help="Name of this shard: there is one, called root."),
    click.option("--shard-base-url", default="", help="URL of this server. [default: by its address and port]"),
    click.option("--shard-external-url", default="", help="URL of workspaces, before /clusters/. [default: the base URL]"),
    click.option("--shard-virtual-workspace-url", default="",
                 help="URL of virtual workspaces, before /services/. [default: the base URL]"),
    click.option("--authentication-admin-token-path", "admin_token_path", type=_FILE, default=None,
                 help="Where administrators' tokens are kept. [default: ROOT_DIRECTORY/.admin-token-store]"),
    click.option("--shutdown-delay-duration", "shutdown_delay_s", type=Duration(), default="0s", show_default=True,
                 help="How long to go on serving when told to stop, while /readyz fails, so that load balancers look elsewhere first."),
    bool_flag("--experimental-bind-free-port", default=False, help="Take a free port; --secure-port must be 0, which does the same."),
    *(click.option(f"--{name}", default=None, hidden=True) for name in _WITHOUT_EFFECT),
)  # fmt: skip


def start_flags(command: F) -> F:
    """All of them, in the order of `_FLAGS`."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def say_what_is_ignored(flags: dict[str, Any]) -> None:
    """Take the flags that change nothing out of `flags`."""
    given = [name for name in _WITHOUT_EFFECT if flags.pop(name.replace("-", "_")) is not None]
    for reason in dict.fromkeys(_WITHOUT_EFFECT[name] for name in given):
        names = ", ".join(f"--{name}" for name in given if _WITHOUT_EFFECT[name] == reason)
        click.echo(f"warning: without effect, because {reason}: {names}", err=True)


def shard_options(flags: dict[str, Any]) -> ShardOptions:
    from kcp.server.startoptions import ShardOptions

    return ShardOptions(
        name=flags.pop("shard_name"),
        base_url=flags.pop("shard_base_url"),
        external_url=flags.pop("shard_external_url"),
        virtual_workspace_url=flags.pop("shard_virtual_workspace_url"),
    )


def gates(text: str) -> Mapping[str, bool]:
    """What is said of each gate that can be set, or its default. Source: k8s.io/component-base/featuregate."""
    said, without_effect = dict[str, bool](), list[str]()
    for part in filter(None, text.split(",")):
        name, _, value = (word.strip() for word in part.partition("="))
        said[name] = wanted = _is_on(name, value)
        if name in _SETTLED and wanted is not _SETTLED[name]:
            fail(f"--feature-gates: cannot set feature gate {name} to {value}: here it is {str(not wanted).lower()}")
        if name not in SETTABLE and name not in _SETTLED and name != ALL_ALPHA and _SAID_ALREADY.get(name) is not wanted:
            without_effect.append(name)
    if without_effect:
        click.echo(f"warning: without effect, because nothing here depends on them: feature gates {', '.join(without_effect)}", err=True)
    unnamed = SETTABLE if ALL_ALPHA not in said else dict.fromkeys(SETTABLE, said[ALL_ALPHA])
    return {name: said.get(name, default) for name, default in unnamed.items()}


def _is_on(name: str, value: str) -> bool:
    if name not in SETTABLE and name not in _SETTLED and name not in KNOWN:
        fail(f"--feature-gates: unrecognized feature gate: {name}; there is {', '.join(SETTABLE)}")
    if value.lower() not in ("true", "false"):
        fail(f"--feature-gates: invalid value of {name}={value}, expecting true or false")
    return value.lower() == "true"
