"""`attach` to a simulated container: what it prints from now on, and what is typed into it.

A shell is run as by `exec`, and ends its container with it. What any other program is given stands in an annotation of the pod, from which
its output follows.
Before: `dialing`. After: `execution`, `podlogs`, `workloads.standardinput`.
Source: k8s.io/cri-streaming; github.com/containerd/containerd internal/cri/io/container_io.go (what the end of the input does).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kcp.aio.clock import Clock, parse_rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.connect.remotecommand import SUCCESS, Console
from kcp.apiserver.request import Request
from kcp.registry.backend import Backend, WriteOptions
from kcp.sim.execution import Executions
from kcp.sim.podlogs import container_spec, container_status
from kcp.sim.podverbs import PodVerbs
from kcp.sim.workloads.programs import is_shell
from kcp.sim.workloads.standardinput import ANNOTATION, MOST, StandardInput, input_of, with_input


@dataclass(frozen=True, slots=True)
class Attaching:
    backend: Backend
    verbs: PodVerbs
    executions: Executions
    clock: Clock

    async def attach(self, req: Request, pod: JSONObject, container: str, asked: Mapping[str, Any], console: Console) -> JSONObject:
        """Until the container ends, or the input of one whose input stays open. Returns the Status that the client is told."""
        spec = container_spec(pod, container)
        if not (spec.get("stdin") and asked.get("stdin")):
            console.stdin.abandon()
            return await self._show(req, pod, container, console)
        words = [*(spec.get("command") or ()), *(spec.get("args") or ())]
        if not words or is_shell(words):
            run = int(container_status(pod, container).get("restartCount") or 0)
            code = await self.executions.shell(pod, spec, run, console)
            await self._note(req, pod, container, lambda held: replace(held, ended_s=self._passed_s(pod, container), code=code))
            return SUCCESS
        return await self._typed(req, pod, container, console, stays_open=not spec.get("stdinOnce") or console.is_tty)

    async def _typed(self, req: Request, pod: JSONObject, container: str, console: Console, *, stays_open: bool) -> JSONObject:
        async with asyncio.TaskGroup() as group:
            showing = group.create_task(self._show(req, pod, container, console))
            left = MOST
            while data := await console.stdin.get():
                if left > 0:
                    text, left = data.decode(errors="replace"), left - len(data)
                    await self._note(req, pod, container, lambda held, text=text: held.typed(text))  # type: ignore[misc]  # its default
            if stays_open:
                showing.cancel()
            else:
                await self._note(req, pod, container, lambda held: replace(held, ended_s=self._passed_s(pod, container)))
        return SUCCESS

    async def _show(self, req: Request, pod: JSONObject, container: str, console: Console) -> JSONObject:
        ends = "\r\n" if console.is_tty else "\n"
        async for lines in self.verbs.following(req, pod, container).lines():
            await console.stdout("".join(f"{line}{ends}" for _, line in lines).encode("utf-8", "surrogateescape"))
        return SUCCESS

    def _passed_s(self, pod: JSONObject, container: str) -> float:
        """Since the start of the container, in whole seconds, as its end will be told."""
        started = meta.nested(container_status(pod, container), "state", "running", "startedAt", default="")
        return float(int((self.clock.now() - parse_rfc3339(started)).total_seconds())) if started else 0.0

    async def _note(self, req: Request, pod: JSONObject, container: str, change: Callable[[StandardInput], StandardInput]) -> None:
        run = int(container_status(pod, container).get("restartCount") or 0)

        def noted(held: JSONObject | None) -> JSONObject:
            if held is None or meta.uid(held) != meta.uid(pod):
                raise NotFound.of(self.verbs.scope(req).resource.group_resource, meta.name(pod))
            meta.set_annotation(held, ANNOTATION, with_input(held, container, change(input_of(held, container, run))))
            return held

        await self.backend.update(self.verbs.scope(req), noted, WriteOptions(user=req.user, operation="Apply"))
