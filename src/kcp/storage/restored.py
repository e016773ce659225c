"""That a store was restored from a backup: its history goes back behind what its clusters have seen, and syncers must not take that for
deletions. Written with the restored objects, read by every server at its start.

Before: `snapshot.marked` writes it; `server.foundation` reads it. After: any store.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from kcp.storage.interface import Store
from kcp.storage.keyspace import RESTORED


@dataclass(frozen=True, slots=True)
class Restored:
    """One restoration."""

    id: str
    """Another one each time."""
    revision: int
    """What was restored is of this revision."""
    created: str
    """And of this instant, RFC 3339."""
    restored: str
    """When it was restored."""


async def read(store: Store) -> Restored | None:
    """The latest restoration; None for a store that has always gone forward."""
    found = await store.get(RESTORED)
    return Restored(**json.loads(found.value)) if found is not None else None
