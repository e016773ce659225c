"""Continuous backup: a snapshot now and then, and between them every few seconds the changes since, as files of their own.

What was acknowledged longer ago than two intervals, and the time that a small file takes on its way, is in the backup. A snapshot that is
being taken does not hold up the changes: they go on behind the one before.
Before: `cli.snapshot`. After: `sources`, `places`, `file`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from kcp.aio.clock import Clock
from kcp.storage.interface import Compacted, KeyValue, Revision, StoreError
from kcp.storage.snapshot.changes import changes_name, superfluous
from kcp.storage.snapshot.file import SUFFIX, Header, Summary, write
from kcp.storage.snapshot.places import Place, PlaceError
from kcp.storage.snapshot.sources import Changes, Origin

log = logging.getLogger(__name__)

Aside: TypeAlias = Callable[..., Awaitable[Any]]
_LATE_S = 5.0
"""Changes that are not in the backup for longer than this are worth a line in the log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShippingConfig:
    interval_s: float = 2.0
    """Between two files of changes."""
    snapshot_every_s: float = 3600.0
    """Between two snapshots: restoring reads all changes since the last one."""
    keep: int = 0
    """Snapshots that stay, with their changes; 0: all."""


@dataclass(frozen=True, slots=True)
class _Reached:
    """How far the backup is."""

    snapshot: str
    revision: Revision


class Shipper:
    """`run` until cancelled."""

    def __init__(
        self, origin: Origin, place: Place, config: ShippingConfig, *, clock: Clock, told: Callable[[str], None] = lambda text: None,
        aside: Aside = asyncio.to_thread,
    ) -> None:  # fmt: skip
        """Args: told: of every snapshot, in a sentence. aside: runs what blocks."""
        self._aside = aside
        self._origin, self._place, self._config, self._clock, self._told = origin, place, config, clock, told
        self._failed_since: float | None = None
        self._is_told_of_failure = False

    async def run(self) -> None:
        """Failures are logged and tried again; what could not be shipped goes with the next file.

        Raises: StoreError, PlaceError where not even the first snapshot can be taken.
        """
        reached = await self.snapshot()
        async with asyncio.TaskGroup() as tasks:
            next_snapshot_s, taking = self._clock.monotonic() + self._config.snapshot_every_s, None
            while True:
                await self._clock.sleep(self._config.interval_s)
                if taking is not None and taking.done():
                    reached, taking = taking.result() or reached, None
                shipped = await self._try(reached)
                is_due = self._clock.monotonic() >= next_snapshot_s or shipped is None
                if taking is None and is_due:
                    next_snapshot_s = self._clock.monotonic() + self._config.snapshot_every_s
                    taking = tasks.create_task(self._try_snapshot(), name="snapshot")
                reached = shipped or reached

    async def snapshot(self) -> _Reached:
        """Take one, and remove what it makes superfluous. Raises: StoreError, PlaceError, OSError."""
        source = await self._origin.state()
        try:
            now = self._clock.now()
            name = f"kcp-{now:%Y%m%d-%H%M%S}-r{source.revision}{SUFFIX}"
            header = Header(source.revision, now.strftime("%Y-%m-%dT%H:%M:%SZ"), self._origin.where)
            summary = await self._put(name, header, source.pages())
        finally:
            await source.close()
        self._told(f"{self._place.where}/{name}: {summary.objects:,} objects of revision {source.revision}")
        await self._aside(prune, self._place, self._config.keep)
        return _Reached(name, source.revision)

    async def _try_snapshot(self) -> _Reached | None:
        try:
            return await self.snapshot()
        except (StoreError, PlaceError, OSError) as error:
            log.error("no snapshot could be taken, the changes go on behind the one before: %s", error)
            return None

    async def _try(self, reached: _Reached) -> _Reached | None:
        """None: only another snapshot helps."""
        try:
            while True:
                changes = await self._origin.changes(reached.revision)
                if changes.revision > reached.revision:
                    reached = await self._ship(reached, changes)
                if not changes.records:
                    break
            self._worked()
        except Compacted:
            log.warning("changes after revision %d were forgotten before they were shipped: another snapshot is taken", reached.revision)
            return None
        except (StoreError, PlaceError, OSError) as error:
            self._failed(error)
        return reached

    async def _ship(self, reached: _Reached, changes: Changes) -> _Reached:
        """As one file; what was only progress of the store's revision makes none."""
        if not changes.records:
            return reached

        async def pages() -> AsyncIterator[Sequence[KeyValue]]:
            yield changes.records

        instant = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        header = Header(changes.revision, instant, self._origin.where, after=reached.revision)
        await self._put(changes_name(reached.snapshot, reached.revision, changes.revision), header, pages())
        return _Reached(reached.snapshot, changes.revision)

    async def _put(self, name: str, header: Header, pages: AsyncIterator[Sequence[KeyValue]]) -> Summary:
        with TemporaryDirectory(prefix="kcp-ship-") as directory:
            path = Path(directory) / name
            summary = await write(path, header, pages)
            await self._aside(self._place.put, path, name)
        return summary

    def _worked(self) -> None:
        if self._is_told_of_failure:
            log.warning("the backup has caught up")
        self._failed_since, self._is_told_of_failure = None, False

    def _failed(self, error: Exception) -> None:
        now_s = self._clock.monotonic()
        self._failed_since = now_s if self._failed_since is None else self._failed_since
        if not self._is_told_of_failure and now_s - self._failed_since >= _LATE_S:
            self._is_told_of_failure = True
            log.error("changes do not reach the backup: %s", error)


def prune(place: Place, keep: int) -> list[str]:
    """Delete all but the newest snapshots, with their changes; what was deleted. Raises PlaceError."""
    deleted = superfluous((entry.name for entry in place.entries()), keep)
    for name in deleted:
        place.delete(name)
    return deleted
