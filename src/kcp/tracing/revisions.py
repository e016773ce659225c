"""Across the asynchronous hop: which trace wrote which revision.

A write leaves a revision; whoever hears of it by a watch goes on with the trace that made it. The link is kept here, for the newest
revisions only, and told beside the object in the frame of a watch that asks for it, never in the object: what users see and store is the
same with tracing on and off. Servers that share an etcd tell each other, beside the write.
Before: `storage.tracing` notes, `apiserver.tracing` tells. After: `controller.informer` hears.
"""

from __future__ import annotations

from collections import deque

from kcp.aio.tracecontext import CURRENT, SpanContext, parse

WANTED = "x-kcp-trace"
"""Header of a watch by which a client asks for the field `trace` in its frames."""
_MOST = 10_000


class Revisions:
    """Revision → the span that wrote it; at most `most` of them."""

    def __init__(self, most: int = _MOST) -> None:
        self._spans: dict[int, SpanContext] = {}
        self._order: deque[int] = deque()
        self._most = most

    def note(self, revision: int) -> None:
        """The running task has written it."""
        context = CURRENT.get()
        if context is not None:
            self._keep(revision, context)

    def outgoing(self) -> bytes:
        """What other servers of the same store are told of the running task's next write; b"": nothing."""
        context = CURRENT.get()
        return b"" if context is None else str(context).encode()

    def incoming(self, revision: int, note: bytes) -> None:
        """What a server has told of its write, this one included."""
        context = parse(note.decode(errors="replace"))
        if context is not None:
            self._keep(revision, context)

    def _keep(self, revision: int, context: SpanContext) -> None:
        if revision in self._spans:
            return
        self._spans[revision] = context
        self._order.append(revision)
        if len(self._order) > self._most:
            self._spans.pop(self._order.popleft(), None)

    def get(self, revision: int) -> SpanContext | None:
        return self._spans.get(revision)

    def frame(self, frame: bytes, revision: int) -> bytes:
        """The frame of a watch event, with its trace if it has one.

        >>> Revisions().frame(b'{"type":"ADDED","object":{}}' + bytes([10]), 7)
        b'{"type":"ADDED","object":{}}\\n'
        """
        context = self._spans.get(revision)
        return frame if context is None else b'%b,"trace":"%b"}\n' % (frame[:-2], str(context).encode())

    def statistics(self) -> dict[str, int]:
        return {"traced_revisions": len(self._spans)}
