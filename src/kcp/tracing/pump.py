"""From finished spans to whoever receives them: gathered, bounded, sent by one thread, without anybody waiting for it.

While the receiver is away spans are lost and counted, which the log says once, and once more when it is back.
Before: `tracer` fills it. After: `exporting`, or a test, sends.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from kcp.aio.clock import Clock
from kcp.aio.deadline import within
from kcp.tracing.tracer import Span

log = logging.getLogger(__name__)

_EVERY_S = 5.0
_BATCH = 512
_MOST = 4096
_LAST_S = 2.0

Send = Callable[[Sequence[Span]], str]
"""Called in the pump's thread. Returns why the spans could not be sent, "" if they were."""


class Pump:
    """Run `run`, then `close`."""

    def __init__(self, send: Send, clock: Clock, *, endpoint: str, most: int = _MOST) -> None:
        self._send = send
        self._clock = clock
        self._endpoint = endpoint
        self._most = most
        self._held: deque[Span] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tracing")
        self._is_away = False
        self.exported = self.lost = 0

    def take(self, span: Span) -> None:
        """The sink of a tracer; never waits. What is more than may be held is lost, the newest first: traces that began stay whole."""
        if len(self._held) >= self._most:
            self.lost += 1
        else:
            self._held.append(span)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(_EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        """Send what is held."""
        loop = asyncio.get_running_loop()
        while self._held:
            batch = [self._held.popleft() for _ in range(min(_BATCH, len(self._held)))]
            self._count(len(batch), await loop.run_in_executor(self._thread, self._send, batch))

    async def close(self, stop_sending: Callable[[], None]) -> None:
        """Send what is held, but not for long. Args: stop_sending: ends a call that waits for the receiver."""
        try:
            if not self._is_away:
                await within(self._clock, _LAST_S, self.flush())
        except TimeoutError:
            self.lost += len(self._held)
        finally:
            stop_sending()
            self._thread.shutdown()

    def _count(self, spans: int, fault: str) -> None:
        if not fault:
            self.exported += spans
            if self._is_away:
                log.info("traces are received at %s again; %d spans were lost", self._endpoint, self.lost)
            self._is_away = False
            return
        self.lost += spans
        if not self._is_away:
            log.warning("traces are not received at %s: %s; spans are lost until they are", self._endpoint, fault)
        self._is_away = True

    def statistics(self) -> dict[str, int]:
        return {"spans_exported": self.exported, "spans_lost": self.lost, "spans_waiting": len(self._held)}
