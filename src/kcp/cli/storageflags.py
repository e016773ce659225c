"""The `--etcd-*` and `--leader-elect*` flags of `kcp start`, as Kubernetes' programs have them; user and timeouts of etcd are ours.

Before: `cli.kcp`. After: `storage.etcd.config`, which has the defaults. Source: k8s.io/apiserver/pkg/server/options/etcd.go.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kcp.cli.flags import Duration, bool_flag
from kcp.server.leadershipoptions import LeadershipOptions
from kcp.storage.etcd.config import EtcdConfig

if TYPE_CHECKING:
    from kcp.server.options import EncryptionOptions, UpkeepOptions

F = TypeVar("F", bound=Callable[..., Any])
_DEFAULTS = EtcdConfig()
_LEADING = LeadershipOptions()
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


_UPKEEP_FLAGS = (
    click.option("--etcd-compaction-interval", type=Duration(), default="5m", show_default=True,
                 help="How long history is kept, of every kind of store: lists and watches from so long ago still work. 0s: for ever."),
    click.option("--etcd-defragment-interval", type=Duration(), default="24h", show_default=True,
                 help="Time between two looks whether members of etcd have much room to give back; then one after the other does, "
                 "the leader last. 0s: never."),
)  # fmt: skip
_ENCRYPTION_FLAGS = (
    click.option("--encryption-provider-config", type=_FILE, default=None,
                 help="EncryptionConfiguration: which resources are encrypted before they are stored, and with which keys."),
    bool_flag("--encryption-provider-config-automatic-reload", default=False, help="Follow that file while the server runs."),
)  # fmt: skip
_LEADER_FLAGS = (
    bool_flag("--leader-elect", default=_LEADING.enabled, help="Of several servers on one etcd, let one run the controllers."),
    click.option("--leader-elect-lease-duration", type=Duration(), default=f"{_LEADING.lease_duration_s:g}s", show_default=True,
                 help="How long a leader that is not heard of is waited for."),
    click.option("--leader-elect-renew-deadline", type=Duration(), default=f"{_LEADING.renew_deadline_s:g}s", show_default=True,
                 help="How long a leader goes on that cannot renew its lease."),
    click.option("--leader-elect-retry-period", type=Duration(), default=f"{_LEADING.retry_period_s:g}s", show_default=True,
                 help="Time between two tries to take or renew the lease."),
)  # fmt: skip


def etcd_flags(command: F) -> F:
    """Which etcd, and how to get in."""
    for option in reversed(_FLAGS):
        command = option(command)
    return command


def storage_flags(command: F) -> F:
    """Of a server: the same, and what it needs if it is not alone there."""
    for option in reversed((*_UPKEEP_FLAGS, *_ENCRYPTION_FLAGS, *_LEADER_FLAGS)):
        command = option(command)
    return etcd_flags(command)


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


def upkeep_options(flags: dict[str, Any]) -> UpkeepOptions:
    """Takes its flags out of `flags`."""
    from kcp.server.options import UpkeepOptions

    compaction_s, defragment_s = (flags.pop(f"etcd_{name}_interval") for name in ("compaction", "defragment"))
    return UpkeepOptions(compaction_interval_s=compaction_s, defragment_interval_s=defragment_s)


def encryption_options(flags: dict[str, Any]) -> EncryptionOptions:
    """Takes its flags out of `flags`."""
    from kcp.server.options import EncryptionOptions

    file, follow = (flags.pop(f"encryption_provider_config{suffix}") for suffix in ("", "_automatic_reload"))
    return EncryptionOptions(config_file=file, reload=follow)


def leadership_options(flags: dict[str, Any]) -> LeadershipOptions:
    """Takes its flags out of `flags`."""
    times = {f"{name}_s": flags.pop(f"leader_elect_{name}") for name in ("lease_duration", "renew_deadline", "retry_period")}
    return LeadershipOptions(enabled=flags.pop("leader_elect"), **times)
