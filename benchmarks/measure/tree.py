"""Many workspaces: made flat, as a tree or at a steady rate; seen Ready by one watch of all of them; deleted again.

Before: `workspaces.py`. After: the server, through its API.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from measure.plain import Plain, watching
from measure.processes import ControlPlane
from measure.workspace import WORKSPACES, workspace

AT_ONCE = 8
_READY = "labelSelector=tenancy.kcp.io%2Fphase%3DReady"
_PATIENCE_S = 120.0
_DELETION_PATIENCE_S = 600.0
"""In a tree nothing is gone for long: the lowest go last, and the uppermost after them."""

Place = tuple[str, str]
"""(path of the parent, name)."""


@dataclass
class Made:
    """When each workspace was asked for, and when it was seen Ready."""

    begun: dict[Place, float] = field(default_factory=dict)
    ready: dict[Place, float] = field(default_factory=dict)

    def delays(self) -> list[float]:
        return [self.ready[place] - begun for place, begun in self.begun.items()]

    @property
    def elapsed_s(self) -> float:
        return max(self.ready.values()) - min(self.begun.values())


def tree_levels(count: int, depth: int) -> list[list[Place]]:
    """About `count` places in a tree of this depth under root, level by level, each parent with equally many children."""
    branches = 1
    while sum((branches + 1) ** level for level in range(1, depth + 1)) <= count:
        branches += 1
    levels: list[list[Place]] = []
    parents = ["root"]
    for _ in range(depth):
        level = [(parent, f"t{number}") for parent in parents for number in range(branches)]
        levels.append(level)
        parents = [f"{parent}:{name}" for parent, name in level]
    return levels


class Creator:
    """Makes workspaces over several connections."""

    def __init__(self, server: ControlPlane, token: str) -> None:
        self._server, self._token = server, token
        self._local = threading.local()
        self.made = Made()

    def create(self, place: Place) -> None:
        client = self._client()
        parent, name = place
        self.made.begun[place] = time.perf_counter()
        client.json("POST", f"/clusters/{parent}{WORKSPACES}", workspace(name))

    def create_all(self, places: Sequence[Place]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.create, places))

    def create_steadily(self, places: Sequence[Place], per_s: float) -> None:
        """At times that do not depend on the answers."""
        started = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE * 4) as pool:
            waiting = []
            for number, place in enumerate(places):
                time.sleep(max(0.0, started + number / per_s - time.perf_counter()))  # the rate is what is asked for
                waiting.append(pool.submit(self.create, place))
            for answer in waiting:
                answer.result()

    def _client(self) -> Plain:
        if not hasattr(self._local, "client"):
            self._local.client = self._server.client(self._token)
        client: Plain = self._local.client
        return client


def make(server: ControlPlane, token: str, levels: Iterable[Sequence[Place]], how: Callable[[Creator, Sequence[Place]], None]) -> Made:
    """Make the workspaces of each level when those of the level above are Ready. Raises SystemExit when nothing comes any more."""
    return asyncio.run(_make(server, token, levels, how))


async def _make(
    server: ControlPlane, token: str, levels: Iterable[Sequence[Place]], how: Callable[[Creator, Sequence[Place]], None]
) -> Made:
    creator, loop = Creator(server, token), asyncio.get_running_loop()
    path = f"/clusters/*{WORKSPACES}"
    revision = server.client(token).json("GET", f"{path}?limit=1")["metadata"]["resourceVersion"]
    ready = creator.made.ready
    async with watching(server.url, token, f"{path}?watch=1&{_READY}&resourceVersion={revision}") as lines:
        for level in levels:
            creating = loop.run_in_executor(None, how, creator, level)
            wanted = len(ready) + len(level)
            while len(ready) < wanted:
                async with asyncio.timeout(_PATIENCE_S):
                    line = await anext(lines)
                if line.startswith(b'{"type":"ADDED"'):
                    found = json.loads(line)["object"]
                    ready.setdefault(_place_of(found), time.perf_counter())
            await creating
    return creator.made


def _place_of(found: dict[str, dict[str, str]]) -> Place:
    parent, _, name = found["spec"]["URL"].rpartition("/clusters/")[2].rpartition(":")
    return parent, name


def delete_all(server: ControlPlane, token: str, places: Sequence[Place], *, left: int) -> float:
    """Delete these workspaces; returns the seconds until no more than `left` remain in the whole server."""
    started = time.perf_counter()
    local = threading.local()

    def delete(place: Place) -> None:
        if not hasattr(local, "client"):
            local.client = server.client(token)
        local.client.json("DELETE", f"/clusters/{place[0]}{WORKSPACES}/{place[1]}")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(delete, places))
    client = server.client(token)
    fewest, since = count_all(client), time.perf_counter()
    while fewest > left:
        time.sleep(0.1)
        now = count_all(client)
        if now < fewest:
            fewest, since = now, time.perf_counter()
        elif time.perf_counter() - since > _DELETION_PATIENCE_S:
            raise SystemExit(f"{now - left} workspaces are not deleted after {_DELETION_PATIENCE_S:.0f} s of waiting")
    return time.perf_counter() - started


def count_all(client: Plain) -> int:
    listed = client.json("GET", f"/clusters/*{WORKSPACES}?limit=1")
    return len(listed["items"]) + int(listed["metadata"].get("remainingItemCount", 0))
