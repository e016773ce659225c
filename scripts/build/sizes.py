"""How large the wheel is, which rooms of the house make it so, and what it depends on takes when installed.

python scripts/build/sizes.py
"""

from __future__ import annotations

import tempfile
import zipfile
from collections import Counter
from importlib import metadata
from pathlib import Path

from dependencies import needed
from rich.console import Console
from rich.table import Table
from wheel import wheel


def rooms(made: Path) -> Counter[tuple[str, str]]:
    """(room, "code" or "data") → bytes in the wheel, compressed."""
    sizes: Counter[tuple[str, str]] = Counter()
    with zipfile.ZipFile(made) as archive:
        for entry in archive.infolist():
            parts = entry.filename.split("/")
            room = parts[1] if parts[0] == "kcp" and len(parts) > 2 else "(its own)"
            sizes[room, "code" if entry.filename.endswith(".py") else "data"] += entry.compress_size
    return sizes


def installed_bytes(name: str) -> int:
    return sum(file.size or 0 for file in metadata.distribution(name).files or ())


def main() -> None:
    console = Console()
    with tempfile.TemporaryDirectory() as directory:
        made = wheel(Path(directory))
        sizes, total = rooms(made), made.stat().st_size
    table = Table("room", "code, KiB", "data, KiB", title=f"{made.name}: {total / 1024:,.0f} KiB", box=None, title_justify="left")
    for room in sorted({room for room, _ in sizes}, key=lambda r: -sizes[r, "code"] - sizes[r, "data"]):
        table.add_row(room, f"{sizes[room, 'code'] / 1024:,.0f}", f"{sizes[room, 'data'] / 1024:,.0f}")
    console.print(table)
    found = {name: installed_bytes(name) for name in needed()}
    table = Table("dependency", "MiB", title=f"installed: {sum(found.values()) / 2**20:,.0f} MiB", box=None, title_justify="left")
    for name, size in sorted(found.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{size / 2**20:,.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
