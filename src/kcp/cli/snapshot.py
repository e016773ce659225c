"""`kcp snapshot`: save, check, list and restore what a control plane holds; `kcp storage migrate`: move it to another kind of store.

After: `storage.snapshot`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kcp.cli.flags import Duration, fail
from kcp.cli.storageflags import etcd_config, etcd_flags

if TYPE_CHECKING:
    from kcp.storage.etcd.config import EtcdConfig
    from kcp.storage.etcd.store import EtcdStore
    from kcp.storage.snapshot.file import Summary
    from kcp.storage.snapshot.places import Place, S3Options
    from kcp.storage.snapshot.restore import Content
    from kcp.storage.snapshot.shipping import ShippingConfig
    from kcp.storage.snapshot.sources import SQLiteSource, StoreSource

_FILE = click.Path(path_type=Path)
_BEGINNING_BYTES = 65_536
_KEEP = click.option("--keep", default=0, show_default=True, type=click.IntRange(min=0),
                     help="Delete all but this many of the newest snapshots there, with their changes; 0 keeps all.")  # fmt: skip
_ROOT = click.option("--root-directory", type=_FILE, default=Path(".kcp"), show_default=True, help="Of the server: holds kcp.db.")


F = TypeVar("F", bound=Callable[..., Any])


def s3_flags(command: F) -> F:
    """Which S3, for targets that are there."""
    endpoint = click.option("--s3-endpoint", default="", envvar="KCP_S3_ENDPOINT", help="URL of an S3 other than AWS', for s3:// targets.")
    region = click.option("--s3-region", default="", envvar="AWS_REGION", help="Region of the bucket. [default: asked for]")
    return endpoint(region(command))


def s3_options(flags: dict[str, Any]) -> S3Options:
    """Takes its flags out of `flags`."""
    from kcp.storage.snapshot.places import S3Options

    return S3Options(flags.pop("s3_endpoint"), flags.pop("s3_region"))


@click.group("snapshot", help="Save and restore everything that a control plane holds.")
def snapshot_group() -> None:
    """The subcommands do the work."""


@snapshot_group.command(
    "save",
    help="Save a snapshot, of one revision, to TARGET: a file, or a directory or s3://BUCKET/PREFIX, in which it is named after the time "
    "and the revision. The server may be running, and its writes go on.",
)
@click.argument("target")
@_ROOT
@etcd_flags
@s3_flags
@_KEEP
def save_command(target: str, root_directory: Path, keep: int, **flags: Any) -> None:
    from kcp.storage.snapshot.places import S3, place_of
    from kcp.storage.snapshot.shipping import prune

    etcd, s3 = _etcd(flags), s3_options(flags)
    with _told():
        if not target.startswith(S3) and not Path(target).is_dir():
            path, summary = asyncio.run(_save(Path(target), root_directory, etcd, into_directory=False))
            click.echo(f"{path}: {_sentence(summary)}")
            return
        place = place_of(target, s3)
        with TemporaryDirectory(prefix="kcp-save-") as directory:
            path, summary = asyncio.run(_save(Path(directory), root_directory, etcd, into_directory=True))
            place.put(path, path.name)
        click.echo(f"{place.where}/{path.name}: {_sentence(summary)}")
        for old in prune(place, keep):
            click.echo(f"{place.where}/{old}: deleted, older than the {keep} newest")


@snapshot_group.command(
    "verify",
    help="Read snapshots to their end, compare their checksums, and look at every object. Of a directory or s3://BUCKET/PREFIX: the latest "
    "one, with the changes shipped after it.",
)
@click.argument("targets", nargs=-1, required=True)
@s3_flags
def verify_command(targets: tuple[str, ...], **flags: Any) -> None:
    from kcp.storage.snapshot.fetching import Checked, opened

    s3 = s3_options(flags)
    with _told():
        for target in targets:
            with opened(target, s3) as content, _progress(f"reading {target}") as progress:
                summary = Checked(content, progress).verify()
            click.echo(f"{target}: {_sentence(summary)}, of {summary.header.created}; whole")


@snapshot_group.command("list", help="List the snapshots of a directory or s3://BUCKET/PREFIX, oldest first.")
@click.argument("target", default=".")
@s3_flags
def list_command(target: str, **flags: Any) -> None:
    from kcp.storage.snapshot.changes import chains
    from kcp.storage.snapshot.file import Header, SnapshotError
    from kcp.storage.snapshot.places import place_of

    rows = [("FILE", "REVISION", "CREATED", "MIB", "CHANGES", "SOURCE")]
    with _told():
        place = place_of(target, s3_options(flags))
        entries = {entry.name: entry for entry in place.entries()}
        followed = {chain.snapshot: chain.changes for chain in chains(entries)}
        for name, entry in entries.items():
            if not name.endswith(".snapshot"):
                continue
            size, changes = f"{entry.bytes / 2**20:.1f}", str(len(followed.get(name, ())))
            try:
                header = Header.of_beginning(place.beginning(name, _BEGINNING_BYTES), name)
            except SnapshotError:
                rows.append((name, "", "", size, changes, "no snapshot, or damaged"))
                continue
            rows.append((name, str(header.revision), header.created, size, changes, header.source))
    if len(rows) == 1:
        click.echo(f"no snapshots in {place.where}")
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@snapshot_group.command(
    "restore",
    help="Make the database of a control plane, or fill an empty etcd, from a snapshot; of a directory or s3://BUCKET/PREFIX, from the "
    "latest one and the changes shipped after it. Its server must not run.",
)
@click.argument("target")
@_ROOT
@etcd_flags
@s3_flags
@click.option(
    "--skip-revisions",
    default=10_000,
    show_default=True,
    type=click.IntRange(min=0),
    help="Revisions not to be given out again: at least as many as were, after the backup. etcd takes a write for each.",
)
def restore_command(target: str, root_directory: Path, skip_revisions: int, **flags: Any) -> None:
    from kcp.storage.snapshot.fetching import Checked, opened
    from kcp.storage.snapshot.restore import to_sqlite

    etcd, s3 = _etcd(flags), s3_options(flags)
    with _told():
        if etcd.endpoints:
            with opened(target, s3) as content, _progress("reading") as progress:
                Checked(content, progress).verify()  # before anything is written: etcd cannot take back half of it
        with opened(target, s3) as content:
            if etcd.endpoints:
                summary = asyncio.run(_fill_etcd(_marked(content, skip_revisions), etcd))
                where = f"etcd at {', '.join(etcd.endpoints)}"
            else:
                where = str(root_directory / "kcp.db")
                with _progress("restoring", content.header.revision) as progress:
                    summary = to_sqlite(_marked(Checked(content), skip_revisions), root_directory / "kcp.db", progress)
    click.echo(
        f"{where}: {_sentence(summary)}, of {summary.header.created}. Start the server with the pki/ and .admin-token-store of the old one."
    )


@snapshot_group.command(
    "ship",
    help="Back up without end: a snapshot now and then, and in between every few seconds the changes since, to a directory or "
    "s3://BUCKET/PREFIX. Beside the server, or anywhere with an etcd. Runs until Ctrl-C.",
)
@click.argument("target")
@_ROOT
@etcd_flags
@s3_flags
@_KEEP
@click.option("--interval", type=Duration(), default="2s", show_default=True, help="Time between two files of changes.")
@click.option("--snapshot-interval", type=Duration(), default="1h", show_default=True, help="Time between two snapshots.")
def ship_command(target: str, root_directory: Path, keep: int, interval: float, snapshot_interval: float, **flags: Any) -> None:
    from kcp.cli.logs import LogOptions, setup_logging
    from kcp.cli.running import run_until_stopped
    from kcp.storage.interface import StoreError
    from kcp.storage.snapshot.places import PlaceError, place_of
    from kcp.storage.snapshot.shipping import ShippingConfig

    if min(interval, snapshot_interval) <= 0:
        fail("--interval and --snapshot-interval: must be longer than 0s")
    etcd, s3 = _etcd(flags), s3_options(flags)
    setup_logging(LogOptions())
    with _told():
        place = place_of(target, s3)
    config = ShippingConfig(interval_s=interval, snapshot_every_s=snapshot_interval, keep=keep)
    run_until_stopped(lambda: _ship(root_directory, etcd, place, config), expected=(PlaceError, StoreError, OSError))


async def _ship(root_directory: Path, etcd: EtcdConfig, place: Place, config: ShippingConfig) -> None:
    from kcp.aio.clock import SystemClock
    from kcp.storage.snapshot.shipping import Shipper
    from kcp.storage.snapshot.sources import SQLiteOrigin, StoreOrigin

    clock = SystemClock()
    if not etcd.endpoints:
        await Shipper(SQLiteOrigin(root_directory / "kcp.db"), place, config, clock=clock, told=click.echo).run()
        return
    store = await _open_etcd(etcd)
    try:
        await Shipper(StoreOrigin(store, ",".join(etcd.endpoints)), place, config, clock=clock, told=click.echo).run()
    finally:
        await store.close()


@click.group("storage", help="Where a control plane keeps its objects.")
def storage_group() -> None:
    """The subcommands do the work."""


@storage_group.command(
    "migrate",
    help="Copy everything from one kind of store to the other: objects, uids and resourceVersions stay. The server must not run: what it "
    "writes meanwhile is not copied.",
)
@click.option("--from", "source", type=click.Choice(["sqlite", "etcd"]), required=True, help="Where the objects are.")
@click.option("--to", "target", type=click.Choice(["sqlite", "etcd"]), required=True, help="Where they are to be; empty before.")
@_ROOT
@etcd_flags
def migrate_command(source: str, target: str, root_directory: Path, **flags: Any) -> None:
    from kcp.storage.etcd.config import EtcdConfig
    from kcp.storage.snapshot.file import Reader
    from kcp.storage.snapshot.restore import to_sqlite

    etcd = _etcd(flags)
    if source == target:
        fail(f"--from={source} --to={target}: give two kinds")
    if not etcd.endpoints:
        fail("--etcd-servers is missing: the URLs of the etcd")
    with _told(), TemporaryDirectory(prefix="kcp-migrate-") as directory:
        path, _ = asyncio.run(_save(Path(directory), root_directory, etcd if source == "etcd" else EtcdConfig(), into_directory=True))
        reader = Reader(path)
        try:
            if target == "etcd":
                summary = asyncio.run(_fill_etcd(reader, etcd))
                next_step = f"kcp start --etcd-servers={','.join(etcd.endpoints)}"
            else:
                summary = to_sqlite(reader, root_directory / "kcp.db")
                next_step = f"kcp start --root-directory={root_directory}"
        finally:
            reader.close()
    click.echo(f"migrated {_sentence(summary)}. Next: {next_step}")


def _etcd(flags: dict[str, Any]) -> EtcdConfig:
    etcd = etcd_config(flags)
    if problems := etcd.problems():
        fail("\n  ".join(problems))
    return etcd


async def _save(file: Path, root_directory: Path, etcd: EtcdConfig, *, into_directory: bool) -> tuple[Path, Summary]:
    from kcp.storage.snapshot.file import SUFFIX, Header, write

    now = datetime.now(UTC)
    source = await _source(root_directory, etcd)
    try:
        where = ",".join(etcd.endpoints) if etcd.endpoints else str(root_directory / "kcp.db")
        header = Header(source.revision, now.strftime("%Y-%m-%dT%H:%M:%SZ"), where)
        path = file / f"kcp-{now:%Y%m%d-%H%M%S}-r{source.revision}{SUFFIX}" if into_directory else file
        with _progress("saving") as progress:
            return path, await write(path, header, source.pages(), progress=progress)
    finally:
        await source.close()


def _marked(content: Content, skipped: int) -> Content:
    """With the mark that tells servers, and through them syncers, that history went back."""
    from uuid import uuid4

    from kcp.storage.restored import Restored
    from kcp.storage.snapshot.marked import Marked

    header = content.header
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Marked(content, Restored(uuid4().hex[:12], header.revision, header.created, now), skipped)


async def _source(root_directory: Path, etcd: EtcdConfig) -> SQLiteSource | StoreSource:
    from kcp.storage.snapshot.sources import SQLiteSource, StoreSource

    if not etcd.endpoints:
        return SQLiteSource(root_directory / "kcp.db")
    store = await _open_etcd(etcd)
    return StoreSource(store, await store.current_revision())


async def _open_etcd(etcd: EtcdConfig) -> EtcdStore:
    from kcp.aio.clock import SystemClock
    from kcp.storage.etcd.store import EtcdStore

    return await EtcdStore.open(etcd, SystemClock())


async def _fill_etcd(reader: Any, etcd: EtcdConfig) -> Summary:
    from kcp.storage.snapshot.restore import to_etcd

    store = await _open_etcd(etcd)
    try:
        with _progress("writing revisions", reader.header.revision) as progress:
            return await to_etcd(reader, store, progress)
    finally:
        await store.close()


def _sentence(summary: Summary) -> str:
    return f"{summary.objects:,} objects, {summary.bytes / 2**20:.1f} MiB, of revision {summary.header.revision}"


@contextmanager
def _told() -> Iterator[None]:
    """What a user can mend is an error message."""
    from kcp.storage.interface import StoreError
    from kcp.storage.snapshot.places import PlaceError

    try:
        yield
    except (StoreError, PlaceError) as e:
        fail(str(e))
    except OSError as e:
        fail(f"{e.filename}: {e.strerror}" if e.filename else str(e))


@contextmanager
def _progress(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
