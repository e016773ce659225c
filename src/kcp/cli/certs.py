"""`kcp certs`: certificates of an installation by an authority of its own: made, listed, checked, renewed.

After: `apiserver.pki_files`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kcp.cli.accessflags import Words
from kcp.cli.flags import fail

if TYPE_CHECKING:
    from kcp.apiserver.pki_files import Held

_DIRECTORY = click.option("--directory", type=click.Path(path_type=Path, file_okay=False), default=Path("certs"), show_default=True,
                          help="Where certificates and keys are; ROOT_DIRECTORY/pki has those of a server.")  # fmt: skip
_DAYS = click.option("--days", default=365, show_default=True, type=click.IntRange(min=1), help="How long a certificate is to last.")
_BEFORE = click.option("--before-days", default=30, show_default=True, type=click.IntRange(min=0),
                       help="One that has less left than this many days is about to expire.")  # fmt: skip


@click.group("certs", help="Certificates of an installation, signed by an authority of its own.")
def certs_group() -> None:
    """The subcommands do the work."""


@certs_group.command(
    "init",
    help="Make an authority (ca) and certificates for the server (kcp-server), for syncers (syncer-client), for members of etcd (etcd), "
    "and for the server at etcd (etcd-client). What servers show has the authority behind it, so that kubeconfigs of kcp start trust it. "
    "What is there already stays.",
)
@_DIRECTORY
@click.option("--domain", default="kcp.your-domain.com", show_default=True, help="Name under which clients reach the server.")
@click.option("--namespace", default="kcp-system", show_default=True, help="Namespace of the installation, in names of Services.")
@click.option("--cluster-domain", default="cluster.local", show_default=True, help="Domain of the cluster that it runs in.")
@click.option("--host", "hosts", type=Words(), default="", help="Further names and addresses of the server, separated by commas.")
@_DAYS
def init_command(directory: Path, domain: str, namespace: str, cluster_domain: str, hosts: tuple[str, ...], days: int) -> None:
    from kcp.apiserver import pki_files

    with _told():
        wanted = pki_files.plans(domain, namespace, cluster_domain, hosts)
        made = pki_files.init(directory, wanted, now=_now(), lifetime=timedelta(days=days))
        _show([one for one in pki_files.held(directory) if one.path in made] or pki_files.held(directory))
    click.echo(f"{len(made)} made in {directory}; keep {directory / 'ca.key'} away from the servers" if made else "all there already")


@certs_group.command("list", help="Show the certificates of a directory.")
@_DIRECTORY
def list_command(directory: Path) -> None:
    from kcp.apiserver import pki_files

    with _told():
        found = pki_files.held(directory)
    if not found:
        fail(f"there are no certificates in {directory}: kcp certs init --directory={directory}")
    _show(found)


@certs_group.command("check", help="Exit with 1 if a certificate is about to expire, has lost its key, or is signed by somebody else.")
@_DIRECTORY
@_BEFORE
def check_command(directory: Path, before_days: int) -> None:
    from kcp.apiserver import pki_files

    with _told():
        found = pki_files.held(directory)
    if not found:
        fail(f"there are no certificates in {directory}")
    faults = [(one, fault) for one in found if (fault := one.fault(_now(), timedelta(days=before_days)))]
    for one, fault in faults:
        click.echo(f"{one.path}: {fault} ({one.described.not_after:%Y-%m-%d})")
    if faults:
        fail(f"{len(faults)} of {len(found)} certificates need attention: kcp certs renew --directory={directory}")
    click.echo(f"{len(found)} certificates, all good for more than {before_days} days")


@certs_group.command(
    "renew",
    help="Make certificates anew that are about to expire, with the same names, by the same authority. A running server takes them up "
    "within seconds. Authorities are not renewed.",
)
@_DIRECTORY
@_BEFORE
@_DAYS
@click.option("--all", "everything", is_flag=True, help="Also those that last longer.")
def renew_command(directory: Path, before_days: int, days: int, everything: bool) -> None:  # noqa: FBT001 - click gives flags so
    from kcp.apiserver import pki_files

    margin = timedelta(days=100 * 365 if everything else before_days)
    with _told():
        done = list(pki_files.renew(directory, now=_now(), lifetime=timedelta(days=days), margin=margin))
        _show([one for one in pki_files.held(directory) if one.path in done])
    click.echo(f"{len(done)} renewed" if done else f"none of them expires within {before_days} days")


def _show(found: Sequence[Held]) -> None:
    if not found:
        return
    rows = [("NAME", "COMMON NAME", "USAGES", "EXPIRES", "DAYS", "NAMES"), *map(_row, found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(one: Held) -> tuple[str, str, str, str, str, str]:
    described = one.described
    usages = "authority" if described.is_authority else ", ".join(described.usages)
    left = (described.not_after - _now()).days
    return one.path.stem, described.common_name, usages, f"{described.not_after:%Y-%m-%d}", str(left), " ".join(described.names)


def _now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def _told() -> Iterator[None]:
    """What a user can mend is an error message."""
    from kcp.apiserver.pki import PKIError

    try:
        yield
    except PKIError as e:
        fail(str(e))
    except OSError as e:
        fail(f"{e.filename}: {e.strerror}" if e.filename else str(e))
