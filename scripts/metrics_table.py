"""Writes the table of all metrics into docs/monitoring.md, from the families that the code measures with.

`python scripts/metrics_table.py` does it; a test fails while the two are apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kcp.aio.metrics import Family, Kind
from kcp.client.measures import FAMILIES as CLIENT
from kcp.controller.measures import QUEUES
from kcp.storage.measures import FAMILIES as STORAGE
from kcp.tmc.metrics.families import FAMILIES as TMC

DOCUMENT = Path(__file__).parents[1] / "docs" / "monitoring.md"
_BEGIN, _END = "<!-- made by scripts/metrics_table.py -->", "<!-- end -->"
_PARTS: Sequence[tuple[str, Sequence[Family]]] = (
    ("TMC", [family for family in TMC if family.name.startswith("tmc_")]),
    ("The syncer", [family for family in TMC if family.name.startswith("syncer_")]),
    ("Work queues, of servers and syncers", QUEUES),
    ("The store", STORAGE),
    ("Requests of the syncer", CLIENT),
)


def table() -> str:
    return "\n".join(line for title, families in _PARTS for line in _part(title, families))


def _part(title: str, families: Sequence[Family]) -> list[str]:
    head = ["", f"### {title}", "", "| metric | type | labels | what it says |", "|---|---|---|---|"]
    return [*head, *(_row(family) for family in families)]


def _row(family: Family) -> str:
    name = f"`{family.name}`" + (f", `{family.alias}`" if family.alias else "")
    kind = "untyped, gauge" if family.alias else str(family.kind)
    labels = ", ".join(f"{label}*" if label in family.many else label for label in family.labels)
    buckets = f" Buckets to {family.buckets[-1]:g}." if family.kind is Kind.HISTOGRAM else ""
    return f"| {name} | {kind} | {labels} | {family.help}{buckets} |"


def document(text: str) -> str:
    """The document with the present table."""
    before, _, rest = text.partition(_BEGIN)
    return f"{before}{_BEGIN}\n{table()}\n\n{_END}{rest.partition(_END)[2]}"


if __name__ == "__main__":
    DOCUMENT.write_text(document(DOCUMENT.read_text()))
