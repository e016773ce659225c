"""What is to be restored or verified, brought here, opened and checked: a file, one in a bucket, or the latest snapshot of a place.

Before: `cli.snapshot`. After: `places`, `changes`, `file`, `restore`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from kcp.storage.interface import KeyValue
from kcp.storage.snapshot.changes import Caught, Chain, chains, fault_of
from kcp.storage.snapshot.file import SUFFIX, Header, Reader, SnapshotError, Summary
from kcp.storage.snapshot.places import S3, Place, S3Options, place_of
from kcp.storage.snapshot.restore import Content

_AT_ONCE = 8
"""Files on their way: changes are many and small."""
_MOST_TOLD = 3
_TELL_EVERY = 1_000


@contextmanager
def opened(what: str, s3: S3Options) -> Iterator[Reader | Caught]:
    """Args: what: a file, `s3://BUCKET/PREFIX/FILE`, or a place, of which the latest is meant.

    Raises: SnapshotError, PlaceError, OSError.
    """
    if not what.startswith(S3) and Path(what).is_file():
        with _closing(Reader(Path(what))) as reader:
            yield reader
        return
    with TemporaryDirectory(prefix="kcp-restore-") as directory:
        where, _, name = what.rpartition("/")
        if what.startswith(S3) and name.endswith(SUFFIX):
            files = _fetched(place_of(where, s3), Chain(name), Path(directory))
        else:
            place = place_of(what, s3)
            files = _fetched(place, _latest(place), Path(directory))
        base = Reader(files[0])
        with _closing(Caught(base, files[1:]) if len(files) > 1 else base) as content:
            yield content


class Checked:
    """Content that a control plane can surely be made of: each object is looked at on its way."""

    def __init__(self, content: Content, progress: Callable[[int], None] = lambda objects: None) -> None:
        self._content, self._progress = content, progress

    @property
    def header(self) -> Header:
        return self._content.header

    @property
    def summary(self) -> Summary | None:
        return self._content.summary

    def records(self) -> Iterator[KeyValue]:
        """Raises: SnapshotError once all of it was read, if there were faults."""
        faults: list[str] = []
        for number, kv in enumerate(self._content.records(), 1):
            if number % _TELL_EVERY == 0:
                self._progress(number)
            if (fault := fault_of(kv)) and len(faults) < _MOST_TOLD:
                faults.append(fault)
            yield kv
        if faults:
            raise SnapshotError(f"its content is not that of a control plane: {'; '.join(faults)}")

    def verify(self) -> Summary:
        """Read it to its end. Raises: SnapshotError."""
        for _ in self.records():
            pass
        assert self.summary is not None
        return self.summary


@contextmanager
def _closing(content: Reader | Caught) -> Iterator[Reader | Caught]:
    try:
        yield content
    finally:
        content.close()


def _latest(place: Place) -> Chain:
    found = chains(entry.name for entry in place.entries())
    if not found:
        raise SnapshotError(f"there are no snapshots in {place.where}")
    return found[-1]


def _fetched(place: Place, chain: Chain, directory: Path) -> Sequence[Path]:
    names = (chain.snapshot, *chain.changes)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done in [pool.submit(place.fetch, name, directory / name) for name in names]:
            done.result()
    return [directory / name for name in names]
