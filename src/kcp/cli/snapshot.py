"""`kcp snapshot`: save, check, list and restore what a control plane holds; `kcp storage migrate`: move it to another kind of store.

After: `storage.snapshot`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kcp.cli.flags import fail
from kcp.cli.storageflags import etcd_config, etcd_flags

if TYPE_CHECKING:
    from kcp.storage.etcd.config import EtcdConfig
    from kcp.storage.etcd.store import EtcdStore
    from kcp.storage.snapshot.file import Summary
    from kcp.storage.snapshot.sources import SQLiteSource, StoreSource

_FILE = click.Path(path_type=Path)
_ROOT = click.option("--root-directory", type=_FILE, default=Path(".kcp"), show_default=True, help="Of the server: holds kcp.db.")


@click.group("snapshot", help="Save and restore everything that a control plane holds.")
def snapshot_group() -> None:
    """The subcommands do the work."""


@snapshot_group.command(
    "save",
    help="Save a snapshot, of one revision, to FILE; if that is a directory, to a file in it named after the time and the revision. "
    "The server may be running, and its writes go on.",
)
@click.argument("file", type=_FILE)
@_ROOT
@etcd_flags
@click.option("--keep", default=0, show_default=True, type=click.IntRange(min=0),
              help="Delete all but this many of the newest snapshots in the directory; 0 keeps all.")  # fmt: skip
def save_command(file: Path, root_directory: Path, keep: int, **flags: Any) -> None:
    etcd = _etcd(flags)
    with _told():
        path, summary = asyncio.run(_save(file, root_directory, etcd, into_directory=file.is_dir()))
        click.echo(f"{path}: {_sentence(summary)}")
        if keep and file.is_dir():
            for old in sorted(file.glob("kcp-*.snapshot"))[:-keep]:
                old.unlink()
                click.echo(f"{old}: deleted, older than the {keep} newest")


@snapshot_group.command("verify", help="Read snapshots to their end and compare their checksums.")
@click.argument("files", type=_FILE, nargs=-1, required=True)
def verify_command(files: tuple[Path, ...]) -> None:
    from kcp.storage.snapshot.file import verify

    with _told():
        for file in files:
            with _progress(f"reading {file.name}") as progress:
                summary = verify(file, progress)
            click.echo(f"{file}: {_sentence(summary)}; whole")


@snapshot_group.command("list", help="List the snapshots of a directory, oldest first.")
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False), default=Path())
def list_command(directory: Path) -> None:
    from kcp.storage.snapshot.file import SUFFIX, Reader, SnapshotError

    rows = [("FILE", "REVISION", "CREATED", "MIB", "SOURCE")]
    with _told():
        for file in sorted(directory.glob(f"*{SUFFIX}")):
            size = f"{file.stat().st_size / 2**20:.1f}"
            try:
                reader = Reader(file)
            except SnapshotError:
                rows.append((file.name, "", "", size, "no snapshot, or damaged"))
                continue
            reader.close()
            rows.append((file.name, str(reader.header.revision), reader.header.created, size, reader.header.source))
    if len(rows) == 1:
        click.echo(f"no snapshots in {directory}")
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@snapshot_group.command(
    "restore", help="Make the database of a control plane, or fill an empty etcd, from a snapshot. Its server must not run."
)
@click.argument("file", type=_FILE)
@_ROOT
@etcd_flags
def restore_command(file: Path, root_directory: Path, **flags: Any) -> None:
    from kcp.storage.snapshot.file import Reader
    from kcp.storage.snapshot.restore import to_sqlite

    etcd = _etcd(flags)
    with _told():
        reader = Reader(file)
        try:
            if etcd.endpoints:
                summary = asyncio.run(_fill_etcd(reader, etcd))
                where = f"etcd at {', '.join(etcd.endpoints)}"
            else:
                where = str(root_directory / "kcp.db")
                with _progress("restoring", reader.header.revision) as progress:
                    summary = to_sqlite(reader, root_directory / "kcp.db", progress)
        finally:
            reader.close()
    click.echo(f"{where}: {_sentence(summary)}. Start the server with the pki/ and .admin-token-store of the old one.")


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
    from tempfile import TemporaryDirectory

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

    try:
        yield
    except StoreError as e:
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
