"""`kcp ops daily|weekly|monthly`: the runbook as commands. Each looks at the installation as its checklist says, prints what it found and
what to do, and ends with 1 if a person is needed.

Everything is read through the API with the kubeconfig in use; only backups are read where they are kept.
After: `ops_health`, `ops_backups`, `ops_performance`, `ops_security`, `ops_capacity`, imported when they are asked for.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kcp.cli.accessflags import Words
from kcp.cli.flags import Duration, bool_flag, fail
from kcp.cli.snapshot import s3_flags

if TYPE_CHECKING:
    from kcp.cli.ops_figures import Run
    from kcp.cli.ops_inspection import Inspection, Look, Wanted
    from kcp.cli.ops_report import Check
    from kcp.cli.plugin_session import Session
    from kcp.client.endpoint import Endpoint
    from kcp.client.rest import Client
    from kcp.client.transport import Transport

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)
OF_EACH = frozenset((
    "Server", "Components", "Request errors", "Failing objects", "Sync errors", "Placement errors", "Resources", "Storage",
    "Room in clusters", "Certificates", "Trend", "Slowest requests", "Work that waits", "Anonymous access", "Audit", "Memory",
))  # fmt: skip
"""Checks of what each server says of itself; all others are of what is stored, which every server says alike."""
ALL_WORKSPACES = "system:admin"
"""Context of `kcp start`'s kubeconfig whose user may list over all workspaces."""


@click.group("ops", help="Look after an installation: what to check daily, weekly and monthly. Exit code 1: a person is needed.")
def ops_group() -> None:
    """The subcommands do the work."""


def _common(command: F) -> F:
    """Flags of all three."""
    for option in reversed((
        click.option("--kubeconfig", default="", help="Kubeconfig to use. [default: $KUBECONFIG, ~/.kube/config]"),
        click.option("--context", default="", help="Its context. Its user reads over all workspaces, and /metrics. "
                     "[default: system:admin, where the kubeconfig has that]"),
        click.option("--server", "servers", multiple=True, metavar="URL",
                     help="Another server of the same installation, to look at as well, with the same credentials; repeatable."),
        click.option("--backup", default="", metavar="TARGET", envvar="KCP_OPS_BACKUP",
                     help="Where snapshots are: a directory or s3://BUCKET/PREFIX."),
        s3_flags,
        click.option("--figures", type=_FILE, default=None, envvar="KCP_OPS_FIGURES",
                     help="File that keeps the figures of each run for the next one; errors are then those since the last run."),
        click.option("--certificate-days", default=30, show_default=True, type=click.IntRange(min=0),
                     help="A certificate that lasts no longer is told of."),
        click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="Form."),
    )):  # fmt: skip
        command = option(command)
    return command


@ops_group.command(
    "daily",
    help="Health of server, components and clusters, error rates, age of the backup, and what is in use.",
)
@_common
@click.option("--max-backup-age", type=Duration(), default="26h", show_default=True, help="An older backup is told of.")
@click.option("--syncer-metrics", "syncers", multiple=True, metavar="URL", help="Metrics of a syncer, to count its errors too; repeatable.")
def daily_command(max_backup_age: float, syncers: tuple[str, ...], **flags: Any) -> None:
    from kcp.cli import ops_backups
    from kcp.cli.ops_health import DAILY

    _run("daily", {**DAILY, "Backup": ops_backups.age}, flags, max_backup_age_s=max_backup_age, syncers=syncers)


@ops_group.command(
    "weekly",
    help="Speed beside that of the last run, slow requests, security policies, strangers' access, tokens and certificates; and the newest "
    "backup, restored into a directory of its own.",
)
@_common
@click.option("--policies", type=click.Path(path_type=Path, file_okay=False), default=Path("policies"), show_default=True,
              help="The policies of today, to compare with those in workspaces.")  # fmt: skip
def weekly_command(policies: Path, **flags: Any) -> None:
    from kcp.cli import ops_backups, ops_health, ops_performance, ops_security

    looks: dict[str, Look] = {
        "Trend": ops_performance.trend, "Slowest requests": ops_performance.slowest, "Work that waits": ops_performance.workers,
        "Policies": ops_security.policies, "Anonymous access": ops_security.anonymous, "Tokens": ops_security.tokens,
        "Certificates": ops_health.certificates, "Restoration": ops_backups.restoration,
    }  # fmt: skip
    _run("weekly", looks, flags, policies=policies)


@ops_group.command(
    "monthly",
    help="The recovery drill, who administers the installation, whether that is recorded, and how much room is left.",
)
@_common
@click.option(
    "--administrators", type=Words(), default="", metavar="NAME,…", help="Users and groups who are meant to be cluster-admin in root."
)
@click.option("--drill", type=_FILE, default=Path("scripts/dr-drill.sh"), show_default=True, help="The drill, on processes of its own.")
@bool_flag("--no-drill", default=False, help="Leave it out.")
def monthly_command(administrators: tuple[str, ...], drill: Path, no_drill: bool, **flags: Any) -> None:  # noqa: FBT001 - click gives flags so
    from kcp.cli import ops_backups, ops_capacity, ops_security

    looks: dict[str, Look] = {
        "Recovery drill": ops_backups.drill, "Backup": ops_backups.age, "Administrators": ops_security.administrators,
        "Audit": ops_security.audit, "Capacity": ops_capacity.capacity, "Memory": ops_capacity.memory, "Growth": ops_capacity.growth,
        "Documents": ops_capacity.versions,
    }  # fmt: skip
    _run("monthly", looks, flags, administrators=frozenset(administrators), drill=drill, is_drill_wanted=not no_drill)


def _run(command: str, looks: Mapping[str, Look], flags: dict[str, Any], **wanted: Any) -> None:
    """Look, show, and end with the exit code."""
    import asyncio

    from kcp.apimachinery.errors import StatusError
    from kcp.cli import ops_report
    from kcp.cli.ops_figures import FiguresError
    from kcp.cli.ops_inspection import Wanted
    from kcp.cli.plugin_contexts import ContextProblem
    from kcp.cli.plugin_paths import PathProblem
    from kcp.cli.plugin_session import PluginError
    from kcp.client.kubeconfig import KubeConfigError
    from kcp.client.transport import TransportError

    output = flags.pop("output")
    kubeconfig, context, figures, servers = (flags.pop(name) for name in ("kubeconfig", "context", "figures", "servers"))
    try:
        session = _session(kubeconfig, context)
        title, checks = asyncio.run(_inspect(command, looks, Wanted(**flags, **wanted), session, servers, figures))
    except (StatusError, TransportError, PluginError, ContextProblem, PathProblem, KubeConfigError, FiguresError) as error:
        fail(str(error))
    if output == "json":
        click.echo(ops_report.as_json(title, checks))
    else:
        ops_report.show(title, checks, sys.stdout)
    sys.exit(ops_report.exit_code(checks))


async def _inspect(
    command: str, looks: Mapping[str, Look], wanted: Wanted, session: Session, servers: Sequence[str], figures: Path | None
) -> tuple[str, list[Check]]:
    from kcp.cli.ops_figures import read_runs, write_runs

    runs = read_runs(figures) if figures else []
    async with _connected(session.client, session.endpoint) as (client, stranger):
        inspection = await inspection_of(client, stranger, command, wanted, runs)
        checks, seen = await look_at_all(looks, inspection), [inspection.run]
    for url in servers:
        more, run = await _look_at_another(url, command, looks, replace(wanted, syncers=()), session, runs)
        checks += more
        seen += run
    if servers:
        checks = in_order_of(looks, checks, session.endpoint.host)
    if figures:
        write_runs(figures, [*runs, *seen])
    return f"kcp ops {command}: {session.endpoint.root_url}, {inspection.now:%Y-%m-%d %H:%M} UTC", checks


async def _look_at_another(  # noqa: PLR0913 - what is looked at, and with what
    url: str, command: str, looks: Mapping[str, Look], wanted: Wanted, session: Session, runs: list[Run]
) -> tuple[list[Check], list[Run]]:
    """What each server says of itself, and its figures; one that does not answer is a finding."""
    from kcp.apimachinery.errors import StatusError
    from kcp.cli.ops_report import Check, State
    from kcp.cli.plugin_transport import BlockingTransport
    from kcp.client.rest import Client
    from kcp.client.transport import TransportError

    endpoint = replace(session.endpoint, server=url)
    try:
        async with _connected(Client(BlockingTransport(endpoint)), endpoint) as (client, stranger):
            inspection = await inspection_of(client, stranger, command, wanted, runs, name=endpoint.host)
            checks = await look_at_all({name: look for name, look in looks.items() if name in OF_EACH}, inspection)
    except (StatusError, TransportError) as error:
        return [Check("Server", State.UNKNOWN, str(error), "see that it runs, and that --server is right", endpoint.host)], []
    return [replace(check, server=endpoint.host) for check in checks], [inspection.run]


def in_order_of(looks: Mapping[str, Look], checks: Sequence[Check], first: str) -> list[Check]:
    """The same checks of all servers together. Args: first: name of the server that was asked for everything."""
    order = ["Server", *looks]
    named = [check if check.server or check.name not in OF_EACH else replace(check, server=first) for check in checks]
    return sorted(named, key=lambda check: order.index(check.name) if check.name in order else len(order))


@asynccontextmanager
async def _connected(client: Client, endpoint: Endpoint) -> AsyncIterator[tuple[Client, Transport]]:
    """It and a stranger's connection to the same server."""
    from kcp.cli.plugin_transport import BlockingTransport

    stranger = BlockingTransport(_without_credentials(endpoint))
    try:
        yield client, stranger
    finally:
        await client.close()
        await stranger.close()


async def inspection_of(  # noqa: PLR0913 - what an inspection is made of
    client: Client, stranger: Transport, command: str, wanted: Wanted, runs: list[Run], *, name: str = ""
) -> Inspection:
    """Raises: StatusError, TransportError: without the server there is nothing to look at."""
    from kcp.cli.ops_figures import Figures
    from kcp.cli.ops_inspection import Inspection

    server = client.cluster("")
    text = (await server.raw("GET", "/metrics")).body.decode()
    own = [run for run in runs if run.server == name]
    return Inspection(server, stranger, command, datetime.now(UTC), wanted, Figures(text), own, name)


async def look_at_all(looks: Mapping[str, Look], inspection: Inspection) -> list[Check]:
    """One after the other, in their order."""
    from kcp.cli.ops_inspection import look_at

    return [await look_at(name, look, inspection) for name, look in looks.items()]


def _session(kubeconfig: str, context: str) -> Session:
    """With the context that may read over all workspaces, unless another was named."""
    import os

    from kcp.cli.plugin_flags import ConnectionFlags
    from kcp.cli.plugin_session import open_session
    from kcp.client.kubeconfig import find

    session = open_session(ConnectionFlags(kubeconfig=kubeconfig, context=context), os.environ)
    if context or find(session.merged, "contexts", ALL_WORKSPACES) is None:
        return session
    return open_session(ConnectionFlags(kubeconfig=kubeconfig, context=ALL_WORKSPACES), os.environ)


def _without_credentials(known: Endpoint) -> Endpoint:
    from kcp.client.endpoint import Endpoint

    return Endpoint(
        server=known.root_url, ca_pem=known.ca_pem, insecure_skip_tls_verify=known.insecure_skip_tls_verify,
        tls_server_name=known.tls_server_name, proxy_url=known.proxy_url,
    )  # fmt: skip
