"""What is recorded: ratios, parents, own traces known again, errors; what a watch is told; and no trace that outlives its work."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from kcp.aio.clock import VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.aio.tracecontext import CURRENT, SpanContext, parse
from kcp.client.frames import decode_frame
from kcp.tracing.revisions import Revisions
from kcp.tracing.tracer import Span, Tracer


def tracer(held: list[Span], *, ratio: float = 1.0, secret: bytes = b"key") -> Tracer:
    return Tracer(VirtualClock(), held.append, ratio=ratio, secret=secret, random=Random(1))


@pytest.mark.parametrize(("ratio", "low", "high"), [(0.0, 0, 0), (0.1, 850, 1150), (1.0, 10_000, 10_000)])
def test_so_many_traces_are_recorded_as_the_ratio_says(ratio: float, low: int, high: int) -> None:
    made = tracer([], ratio=ratio)
    assert low <= sum(made.is_chosen() for _ in range(10_000)) <= high


def test_what_happens_within_a_span_belongs_to_its_trace() -> None:
    held: list[Span] = []
    made = tracer(held)
    with made.begin("whole", component="A"):
        context = CURRENT.get()
        assert context is not None
        with made.span("part", context, cluster=""):
            assert CURRENT.get() != context
        assert CURRENT.get() == context
    assert CURRENT.get() is None
    part, whole = held
    assert (part.name, part.parent, part.context.trace_id) == ("part", whole.context, whole.context.trace_id)
    assert whole.attributes == {"tmc.component.type": "A"}
    assert part.attributes == {}, "what is not known is not told"


def test_an_error_that_passes_is_told() -> None:
    held: list[Span] = []
    with pytest.raises(KeyError), tracer(held).begin("whole"):
        raise KeyError("no such key")
    assert (held[0].error, held[0].attributes["tmc.error.type"]) == ("'no such key'", "KeyError")


def test_own_traces_are_known_again_by_whoever_has_the_key_and_others_are_not() -> None:
    held: list[Span] = []
    made, peer, stranger = tracer(held), tracer([]), tracer([], secret=b"other")
    with made.begin("whole"):
        pass
    assert made.is_own(held[0].context)
    assert peer.is_own(held[0].context)
    assert not stranger.is_own(held[0].context)
    assert not made.is_own(SpanContext(1 << 64, 1))


def test_headers_are_read_as_the_standard_says() -> None:
    context = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)
    assert parse(str(context)) == context
    assert parse(str(context).replace("00-", "01-", 1) + "-more") == context, "a later version may add fields"
    bad = (
        "",
        "00",
        str(context) + "-more",
        str(context).replace("00-", "ff-", 1),
        str(context).upper(),
        str(context)[:-2] + "00",
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
    )
    assert [parse(text) for text in bad] == [None] * len(bad)


def test_a_watch_is_told_beside_the_object_and_only_of_what_belongs_to_a_trace() -> None:
    revisions, context = Revisions(most=2), SpanContext(5, 6)
    frame = b'{"type":"ADDED","object":{"a":"-01"}}\n'
    token = CURRENT.set(context)
    revisions.note(7)
    CURRENT.reset(token)
    revisions.note(8)
    told = decode_frame(revisions.frame(frame, 7)[:-1])
    assert (told.object, told.raw, parse(told.trace)) == ({"a": "-01"}, b'{"a":"-01"}', context)
    assert revisions.frame(frame, 8) == frame
    assert decode_frame(frame[:-1]).trace == ""


def test_only_the_newest_revisions_are_held() -> None:
    revisions = Revisions(most=100)
    token = CURRENT.set(SpanContext(5, 6))
    for revision in range(10_000):
        revisions.note(revision)
    CURRENT.reset(token)
    assert revisions.statistics() == {"traced_revisions": 100}
    assert revisions.get(9_999) is not None


async def test_a_task_that_lives_on_does_not_belong_to_the_work_that_started_it() -> None:
    found: list[SpanContext | None] = []
    done = asyncio.Event()

    async def live_on() -> None:
        found.append(CURRENT.get())
        done.set()

    async with Supervisor() as supervisor:
        with tracer([]).begin("whole"):
            supervisor.spawn(live_on(), name="live on")
        await done.wait()
    assert found == [None]
