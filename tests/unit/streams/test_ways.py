"""Bounded pipes: order, ends, breaks, readers that are behind or gone."""

from __future__ import annotations

import asyncio

import pytest

from kcp.streams.ways import BrokenStream, Way, pipe, splice


async def test_what_is_put_is_got_in_order_and_then_the_end() -> None:
    way = Way()
    await way.put(b"ab")
    await way.put(b"c")
    way.end()
    assert (await way.get(1), await way.get(), await way.get()) == (b"a", b"bc", b"")


async def test_a_writer_waits_for_a_reader_who_is_behind() -> None:
    way = Way(most=4)
    writer = asyncio.ensure_future(way.put(b"12345"))
    await asyncio.sleep(0)
    assert not writer.done()
    assert await way.get() == b"12345"
    await writer


async def test_nobody_is_held_up_by_a_reader_who_has_gone() -> None:
    way = Way(most=1)
    writer = asyncio.ensure_future(way.put(b"12345"))
    await asyncio.sleep(0)
    way.abandon()
    await writer
    await way.put(b"more")
    assert way.waiting == 0


async def test_a_break_is_told_after_what_came_before_it() -> None:
    way = Way()
    way.put_nowait(b"rest")
    way.fail("gone")
    assert await way.get() == b"rest"
    with pytest.raises(BrokenStream, match="gone"):
        await way.get()
    with pytest.raises(BrokenStream, match="gone"):
        await way.put(b"x")


async def test_a_splice_passes_both_directions_and_ends_with_them() -> None:
    (near, a), (b, far) = pipe(), pipe()
    joined = asyncio.ensure_future(splice(a, b))
    await near.write(b"there")
    await far.write(b"back")
    assert (await far.read(), await near.read()) == (b"there", b"back")
    await near.close()
    assert await far.read() == b""
    await far.close()
    await joined
