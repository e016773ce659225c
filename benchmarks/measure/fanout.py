"""Many watchers of one namespace, cheaply: one thread reads them all and decodes nothing, so that it is the server that is measured.

Each object carries the time at which it was sent; a watcher's bytes are searched for these stamps.
"""

from __future__ import annotations

import multiprocessing
import re
import selectors
import socket
import ssl
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from measure.plain import CONTEXT, Plain

_STAMP = re.compile(rb"stamp\W{1,4}(\d+\.\d{6})")
"""In JSON and in protobuf; an annotation, so that metadata and tables show it too."""
_LONGEST_STAMP = 40
_READ_BYTES = 1 << 18
_SILENCE_S = 30.0


@dataclass
class FanOut:
    """What the watchers saw."""

    delays: list[float] = field(default_factory=list)
    """Seconds from the sending of a create to each of its events."""
    elapsed_s: float = 0.0
    """From the first create to the last event."""

    @property
    def per_s(self) -> float:
        return len(self.delays) / self.elapsed_s


class Watchers:
    """Open watches of one path."""

    def __init__(self, url: str, token: str, path: str, count: int, accept: str = "application/json") -> None:
        self._selector = selectors.DefaultSelector()
        where = urlsplit(url)
        head = f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {token}\r\nAccept: {accept}\r\n\r\n".encode()
        for _ in range(count):
            watcher = CONTEXT.wrap_socket(socket.create_connection((where.hostname, where.port), timeout=10))
            watcher.sendall(head)
            status = watcher.recv(4096)
            if b" 200 " not in status.split(b"\r\n", 1)[0]:
                raise SystemExit(f"watch {path}: {status.decode(errors='replace')}")
            watcher.setblocking(False)
            self._selector.register(watcher, selectors.EVENT_READ, _Seen())

    def wait(self, changes: int) -> FanOut:
        """Read until every watcher has seen `changes` objects. Raises SystemExit when nothing comes any more."""
        found, left = FanOut(), len(self._selector.get_map())
        while left:
            ready = self._selector.select(_SILENCE_S)
            if not ready:
                raise SystemExit(f"{left} watchers wait for events in vain")
            now = time.perf_counter()
            for key, _ in ready:
                assert isinstance(key.fileobj, ssl.SSLSocket)
                left -= key.data.take(_read(key.fileobj), now, found.delays) == changes
        return found

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, ssl.SSLSocket)
            key.fileobj.close()
        self._selector.close()


def _read(watcher: ssl.SSLSocket) -> bytes:
    try:
        return watcher.recv(_READ_BYTES)
    except ssl.SSLWantReadError:
        return b""


class _Seen:
    """How far one watcher is."""

    __slots__ = ("_events", "_rest")

    def __init__(self) -> None:
        self._events = 0
        self._rest = b""

    def take(self, data: bytes, now: float, delays: list[float]) -> int:
        """The number of events seen so far if this has brought new ones, else 0."""
        text = self._rest + data
        last = 0
        for stamp in _STAMP.finditer(text):
            self._events += 1
            delays.append(now - float(stamp[1]))
            last = stamp.end()
        self._rest = text[max(last, len(text) - _LONGEST_STAMP) :]
        return self._events if last else 0


def fan_out(url: str, token: str, path: str, *, watchers: int, changes: int, accept: str = "application/json") -> FanOut:
    """`changes` ConfigMaps created in the collection `path` one after the other, all seen by `watchers` watchers."""
    client = Plain(url, token)
    revision = client.json("GET", path)["metadata"]["resourceVersion"]
    opened = Watchers(url, token, f"{path}?watch=1&resourceVersion={revision}", watchers, accept)
    creator = multiprocessing.get_context("fork").Process(target=_create, args=(url, token, path, changes))
    started = time.perf_counter()
    try:
        creator.start()
        found = opened.wait(changes)
        found.elapsed_s = time.perf_counter() - started
    finally:
        creator.join(_SILENCE_S)
        opened.close()
    return found


def _create(url: str, token: str, path: str, changes: int) -> None:
    """In a process of its own: a thread would wait for the watchers' interpreter lock."""
    client = Plain(url, token)
    for number in range(changes):
        metadata = {"name": f"f-{number}", "labels": {"bench": "yes"}, "annotations": {"stamp": f"{time.perf_counter():.6f}"}}
        client.json("POST", path, {"metadata": metadata, "data": {"key": "v" * 100}})
