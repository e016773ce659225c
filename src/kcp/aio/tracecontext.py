"""Which span the running task works for, and how that is told to others: W3C trace context.

Only sampled spans are ever current: a request that is not recorded has none, and costs a look at one variable. A task that lives on after
the work that started it must not belong to that work's trace, so `supervisor` starts tasks without one.
Before: `tracing.tracer` sets it; clients, logs and controllers read it. Source: https://www.w3.org/TR/trace-context/ (level 1).
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import NamedTuple

HEADER = "traceparent"
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class SpanContext(NamedTuple):
    """Names a span."""

    trace_id: int
    span_id: int

    def __str__(self) -> str:
        """As the header has it, sampled.

        >>> str(SpanContext(1, 2))
        '00-00000000000000000000000000000001-0000000000000002-01'
        """
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-01"


CURRENT: ContextVar[SpanContext | None] = ContextVar("kcp_span", default=None)
"""The span that is worked for; None: none is recorded."""


def parse(text: str) -> SpanContext | None:
    """The span that a header names, if it is recorded and the header is right.

    >>> parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") is not None
    True
    >>> [parse(t) for t in ("", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", f"00-{'0' * 32}-b7ad6b7169203331-01")]
    [None, None, None]
    """
    found = _TRACEPARENT.fullmatch(text.strip())
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]) or not int(found[4], 16) & 1:
        return None
    named = SpanContext(int(found[2], 16), int(found[3], 16))
    return named if named.trace_id and named.span_id else None
