"""What survives when the process or the machine goes down under the SQLite store.

Aspects: kill -9 of a writing process at random points; a WAL that ends anywhere (power loss); a log with a hole; a file that is not ours.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from kcp.storage.interface import Revision, StoreError
from kcp.storage.sqlite import SQLiteStore

ROUNDS = 15
PREFIX = b"/registry/core/configmaps/-/root/"

WRITER = """
import asyncio, sys
from pathlib import Path
from kcp.storage.sqlite import SQLiteStore
from kcp.storage.sqlitefile import SQLiteConfig

async def write(store, life, writer):
    i = 0
    while True:
        key = b"/registry/core/configmaps/-/root/%s-%d-%d" % (life, writer, i)
        revision = await store.create(key, b"v" * (100 + i * 37 % 9000))
        print("created", key.decode(), revision, flush=True)
        if i % 3 == 1:
            revision = await store.update(key, b"u" * (100 + i * 53 % 9000), revision)
            print("updated", key.decode(), revision, flush=True)
        if i % 5 == 2:
            revision = await store.delete(key, revision)
            print("deleted", key.decode(), revision, flush=True)
        if writer == 0 and i % 20 == 19:
            await store.compact(revision)
        i += 1

async def main():
    store = await SQLiteStore.open(Path(sys.argv[1]), SQLiteConfig(is_fsynced=sys.argv[3] == "fsynced"))
    await asyncio.gather(*(write(store, sys.argv[2].encode(), n) for n in range(8)))

asyncio.run(main())
"""


async def write_until_killed(path: Path, life: str, acknowledgements: int, mode: str) -> list[tuple[str, bytes, int]]:
    """Let a process write, kill it after so many acknowledgements, and return all that it acknowledged."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, str(path), life, mode, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    lines = []
    for _ in range(acknowledgements):
        lines.append(await process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    lines += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    whole = [line.decode().split() for line in lines if line.endswith(b"\n")]
    return [(what, key.encode(), int(revision)) for what, key, revision in whole]


def check_table(path: Path) -> None:
    """The invariants of the file itself: sound pages, no hole above the mark, at most one live row per key, links that hold."""
    db = sqlite3.connect(path)
    try:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (compacted,) = db.execute("SELECT value FROM meta WHERE name = 'compacted'").fetchone()
        ids = [row[0] for row in db.execute("SELECT id FROM log WHERE id > ? ORDER BY id", (max(compacted, 1),))]
        assert ids == list(range(max(compacted, 1) + 1, max(compacted, 1) + 1 + len(ids)))
        dangling = db.execute(
            "SELECT count(*) FROM log l WHERE id > ? AND prev > 0"
            " AND NOT EXISTS (SELECT 1 FROM log p WHERE p.id = l.prev AND p.key = l.key)",
            (compacted,),
        )
        assert dangling.fetchone() == (0,)
        doubled = db.execute("SELECT count(*) FROM (SELECT 1 FROM log WHERE id <= ? GROUP BY key HAVING count(*) > 1)", (compacted,))
        assert doubled.fetchone() == (0,)
    finally:
        db.close()


@pytest.mark.parametrize(("mode", "rounds"), [("fsynced", ROUNDS), ("without-fsync", 5)])
async def test_kill_9_of_a_writer_loses_nothing_acknowledged(mode: str, rounds: int, tmp_path: Path) -> None:
    path, chance = tmp_path / "kcp.db", random.Random(42)
    newest: dict[bytes, tuple[str, int]] = {}
    for life in range(rounds):
        for what, key, revision in await write_until_killed(path, str(life), chance.randrange(1, 600), mode):
            newest[key] = (what, revision)
        store = await SQLiteStore.open(path)
        found = {kv.key: kv for kv in (await store.list(PREFIX)).items}
        for key, (what, revision) in newest.items():
            kv = found.get(key)
            if what == "deleted":
                assert kv is None, f"{key!r} is back"
            elif kv is None:  # then its writer had gone on to delete it, which became durable without being acknowledged
                assert int(key.rsplit(b"-", 1)[1]) % 5 == 2, f"{key!r} is lost"
                assert await store.current_revision() > revision
            else:
                assert kv.mod_revision >= revision, f"{key!r} went back"
                assert len(set(kv.value)) == 1, "half a value"
        assert await store.current_revision() >= max(revision for _, revision in newest.values())
        await store.close()
        check_table(path)


@pytest.mark.parametrize("seed", range(6))
async def test_a_wal_cut_anywhere_gives_a_whole_prefix_of_the_writes(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    store = await SQLiteStore.open(tmp_path / "kcp.db")
    for i in range(60):
        await store.create(PREFIX + b"%03d" % i, b"%03d" % i * chance.randrange(1, 3000))
    cut = tmp_path / "cut"
    cut.mkdir()
    shutil.copy(tmp_path / "kcp.db", cut / "kcp.db")
    wal = (tmp_path / "kcp.db-wal").read_bytes()
    (cut / "kcp.db-wal").write_bytes(wal[: chance.randrange(100_000, len(wal))])
    await store.close()

    store = await SQLiteStore.open(cut / "kcp.db")
    revision = await store.current_revision()
    items = (await store.list(PREFIX)).items
    assert [kv.key for kv in items] == [PREFIX + b"%03d" % i for i in range(revision - 1)]
    assert all(kv.value[:3] * (len(kv.value) // 3) == kv.value for kv in items)
    assert await store.create(PREFIX + b"new", b"x") == revision + 1
    await store.close()
    check_table(cut / "kcp.db")


async def test_a_log_with_a_hole_is_refused_not_served(tmp_path: Path) -> None:
    path = tmp_path / "kcp.db"
    store = await SQLiteStore.open(path)
    for i in range(5):
        await store.create(PREFIX + b"%d" % i, b"x")
    await store.close()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("DELETE FROM log WHERE id = 4")
    db.close()
    with pytest.raises(StoreError, match=r"kcp\.db is damaged: revision 4 is missing"):
        await SQLiteStore.open(path)


async def test_files_that_are_not_ours_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is not a database, " * 100)
    with pytest.raises(StoreError, match=r"text\.db: file is not a database"):
        await SQLiteStore.open(tmp_path / "text.db")
    db = sqlite3.connect(tmp_path / "other.db")
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(StoreError, match=r"other\.db is a SQLite database, but not one of this server's"):
        await SQLiteStore.open(tmp_path / "other.db")
    with pytest.raises(StoreError, match=r"cannot open the database .*absent/kcp\.db: No such file"):
        await SQLiteStore.open(tmp_path / "absent" / "kcp.db")
    db = sqlite3.connect(tmp_path / "newer.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="written by a newer version"):
        await SQLiteStore.open(tmp_path / "newer.db")


async def test_a_crash_between_two_steps_of_a_compaction_leaves_a_store_that_compacts_again(tmp_path: Path) -> None:
    path = tmp_path / "kcp.db"
    store = await SQLiteStore.open(path)
    revision = await store.create(PREFIX + b"a", b"0")
    for i in range(2_500):
        revision = await store.update(PREFIX + b"a", b"%d" % i, revision)
    compaction = asyncio.ensure_future(store.compact(revision))
    for _ in range(2):  # the first step has been handed to the writer thread
        await asyncio.sleep(0)
    compaction.cancel()
    await asyncio.gather(compaction, return_exceptions=True)
    await store.close()

    store = await SQLiteStore.open(path)
    assert 0 < store.statistics()["compacted"] < revision
    assert (await store.list(PREFIX)).items[0].mod_revision == revision
    await store.compact(revision)
    await store.close()
    check_table(path)
    store = await SQLiteStore.open(path)
    assert await store.current_revision() == revision
    assert await store.create(PREFIX + b"b", b"1") == Revision(revision + 1)
    await store.close()
