"""Many objects in a store, quickly: copies of one that the server made, written through the store's own interface while no server runs.

Run as a program, so that its memory is not that of the measuring process: `filling.py DATABASE TEMPLATE COUNT`. Each copy has a name and
uid of its own and is a write of its own with a revision of its own; what the server then finds is what as many creates would have left.
Before: `api.py`. After: `kcp.storage.sqlite`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from pathlib import Path

import orjson

from kcp.apimachinery.gvk import GroupResource
from kcp.storage.keyspace import resource_prefix
from kcp.storage.sqlite import SQLiteStore

AT_ONCE = 2_000


def fill_store(database: Path, template: str, total: int) -> None:
    """Copy ConfigMap `template` until its namespace holds `total`, in a process of its own."""
    subprocess.run([sys.executable, __file__, str(database), template, str(total)], check=True)


async def _fill(database: Path, template: str, total: int) -> None:
    async with await SQLiteStore.open(database) as store:
        page = await store.list(resource_prefix(GroupResource("", "configmaps")))
        held = {item.key: item.value for item in page.items}
        (original,) = (key for key in held if key.endswith(f"/{template}".encode()))
        space = original[: -len(template)]
        there, obj = sum(key.startswith(space) for key in held), orjson.loads(held[original])
        before, after = held[original].split(f'"{template}"'.encode())
        uid = obj["metadata"]["uid"].encode()
        for start in range(there, total, AT_ONCE):
            names = [f"copy-{number:07}".encode() for number in range(start, min(start + AT_ONCE, total))]
            copies = ((name, (before + b'"' + name + b'"' + after).replace(uid, str(uuid.uuid4()).encode())) for name in names)
            await asyncio.gather(*(store.create(space + name, value) for name, value in copies))


if __name__ == "__main__":
    asyncio.run(_fill(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
