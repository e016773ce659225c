"""What a user sees of many Deployments: one watch over all of them, with the time of each sight.

Before: `fleet.py`. After: the server.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from measure.plain import watching
from measure.processes import ControlPlane

STAMP = "bench.example.com/stamp"


@dataclass
class Board:
    """Runs in a thread of its own while the block is entered."""

    server: ControlPlane
    token: str
    path: str
    told: dict[str, float] = field(default_factory=dict)
    """Stamp → when the user's object first said that all replicas of that change are ready."""
    is_complete: dict[str, bool] = field(default_factory=dict)
    """Deployment → whether it says so of its last change."""
    changed: threading.Event = field(default_factory=threading.Event)
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None
    _task: asyncio.Task[None] | None = None

    def __enter__(self) -> Board:
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._follow(started)), daemon=True)
        self._thread.start()
        started.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._task is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)

    async def _follow(self, started: threading.Event) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        async with watching(self.server.url, self.token, f"{self.path}?watch=1") as lines:
            started.set()
            try:
                async for line in lines:
                    self._see(json.loads(line))
            except asyncio.CancelledError:
                return

    def _see(self, event: dict[str, Any]) -> None:
        obj = event["object"]
        name = f"{obj['metadata'].get('namespace')}/{obj['metadata']['name']}"
        if event["type"] == "DELETED":
            self.is_complete.pop(name, None)
            return
        status = obj.get("status", {})
        complete = status.get("readyReplicas", 0) == obj["spec"]["replicas"] and status.get("updatedReplicas", 0) == obj["spec"]["replicas"]
        self.is_complete[name] = complete
        stamp = obj["metadata"].get("annotations", {}).get(STAMP)
        if complete and stamp:
            self.told.setdefault(stamp, time.perf_counter())
        self.changed.set()

    def complete(self) -> int:
        return sum(list(self.is_complete.values()))
