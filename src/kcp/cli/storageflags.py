"""The `--etcd-*` flags of `kcp start`, as kube-apiserver has them; ours are those that it reads from nowhere (user, timeouts).

Before: `cli.kcp`. After: `storage.etcd.config`, which has the defaults. Source: k8s.io/apiserver/pkg/server/options/etcd.go.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from kcp.cli.flags import Duration
from kcp.storage.etcd.config import EtcdConfig

F = TypeVar("F", bound=Callable[..., Any])
_DEFAULTS = EtcdConfig()
_FILE = click.Path(path_type=Path)
_FLAGS = (
    click.option("--etcd-servers", default="", help="URLs of an etcd cluster, separated by commas, that keeps the objects. "
                 "[default: the server keeps them itself, in ROOT_DIRECTORY/kcp.db]"),
    click.option("--etcd-prefix", default=_DEFAULTS.prefix, show_default=True, help="Prefix of all keys in etcd."),
    click.option("--etcd-cafile", type=_FILE, default=None, help="Authorities that etcd's certificate may be signed by."),
    click.option("--etcd-certfile", type=_FILE, default=None, help="Certificate that is shown to etcd."),
    click.option("--etcd-keyfile", type=_FILE, default=None, help="Its key."),
    click.option("--etcd-username", default="", help="User of etcd, where it asks for one."),
    click.option("--etcd-password-file", type=_FILE, default=None, help="File whose first line is the user's password."),
    click.option("--etcd-attempt-timeout", type=Duration(), default=f"{_DEFAULTS.attempt_s:g}s", show_default=True,
                 help="How long one of etcd's servers may take to answer before the next is asked."),
    click.option("--etcd-request-timeout", type=Duration(), default=f"{_DEFAULTS.patience_s:g}s", show_default=True,
                 help="How long a request to etcd is tried, over all its servers."),
)  # fmt: skip


def storage_flags(command: F) -> F:
    for option in reversed(_FLAGS):
        command = option(command)
    return command


def etcd_config(flags: dict[str, Any]) -> EtcdConfig:
    """Takes its flags out of `flags`."""
    return EtcdConfig(
        endpoints=tuple(part.strip() for part in flags.pop("etcd_servers").split(",") if part.strip()),
        prefix=flags.pop("etcd_prefix"),
        ca_file=flags.pop("etcd_cafile"),
        cert_file=flags.pop("etcd_certfile"),
        key_file=flags.pop("etcd_keyfile"),
        username=flags.pop("etcd_username"),
        password_file=flags.pop("etcd_password_file"),
        attempt_s=flags.pop("etcd_attempt_timeout"),
        patience_s=flags.pop("etcd_request_timeout"),
    )
