"""Events of the workload controllers: said at once, written a little later by one task, so that no controller waits for a remark.

Before: the controllers, each with its own `Voice`. After: `controller.events`. As upstream, what is said faster than it can be written is
dropped: events are remarks, never state. Source: k8s.io/client-go/tools/record (incomingQueue of StartRecordingToSink).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.events import NORMAL, WARNING, EventRecorder
from kcp.sim.workloads.podview import PodView

_MOST_WAITING = 1_000
"""Source: record.maxQueuedEvents."""


@dataclass(frozen=True, slots=True)
class _Remark:
    recorder: EventRecorder
    about: JSONObject
    kind: str
    reason: str
    message: str
    field_path: str
    host: str


@dataclass(frozen=True, slots=True)
class Voice:
    """Of one component."""

    recorder: EventRecorder
    queue: asyncio.Queue[_Remark]

    def normal(self, about: Mapping[str, Any], reason: str, message: str, *, field_path: str = "", host: str = "") -> None:
        self._say(_Remark(self.recorder, _reference(about), NORMAL, reason, message, field_path, host))

    def warn(self, about: Mapping[str, Any], reason: str, message: str, *, field_path: str = "", host: str = "") -> None:
        self._say(_Remark(self.recorder, _reference(about), WARNING, reason, message, field_path, host))

    def _say(self, remark: _Remark) -> None:
        if not self.queue.full():
            self.queue.put_nowait(remark)


class Remarks:
    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._queue: asyncio.Queue[_Remark] = asyncio.Queue(_MOST_WAITING)

    def by(self, component: str) -> Voice:
        return Voice(EventRecorder(lambda _: self._client, component=component, clock=self._clock), self._queue)

    async def run(self) -> None:
        """Write what was said, until cancelled."""
        while True:
            said = await self._queue.get()
            await said.recorder.record(
                said.about, kind=said.kind, reason=said.reason, message=said.message, field_path=said.field_path, host=said.host
            )


def _reference(about: Mapping[str, Any]) -> JSONObject:
    """Only what an Event says of its object: the object itself may be large."""
    held = meta.metadata(about)
    names = ("name", "namespace", "uid", "resourceVersion")
    return {
        "apiVersion": about.get("apiVersion"),
        "kind": about.get("kind"),
        "metadata": {name: held[name] for name in names if held.get(name)},
    }


def pod_of(view: PodView) -> JSONObject:
    """A pod that a controller knows by its view only, as something to say a word about."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": view.key.name, "namespace": view.key.namespace, "uid": view.uid}}
