"""SPDY/3.1: frames as others write them, streams over one connection, windows, ends and breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from zlib import adler32

import pytest

from kcp.streams.spdy import MOST_STREAMS, WINDOW, Session, Stream
from kcp.streams.spdyframes import DATA, DICTIONARY, FIN, SYN_STREAM, Decoder, Encoder, Frame, SpdyFault
from kcp.streams.ways import BrokenStream, pipe


def test_the_dictionary_is_the_one_of_the_specification() -> None:
    """Its checksum stands in the first frame of every connection."""
    assert (len(DICTIONARY), adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


def test_frames_are_read_as_written_however_they_are_cut() -> None:
    frames = [
        Frame(SYN_STREAM, 1, headers=(("streamtype", "stdin"), ("a", "1"), ("a", "2"))),
        Frame(SYN_STREAM, 3, FIN, headers=(("streamtype", "error"),)),
        Frame(DATA, 1, FIN, data=b"hello"),
    ]
    encoder, decoder = Encoder(), Decoder()
    written = b"".join(map(encoder.encode, frames))
    assert [f for at in range(len(written)) for f in decoder.feed(written[at : at + 1])] == frames


@pytest.mark.parametrize(
    "data",
    [b"\x80\x02\0\x01\0\0\0\0", b"\x80\x03\0\x01\0\0\0\x0a" + b"\xff" * 10, b"\0\0\0\x01\0\xff\xff\xff" * 3, b"\x80\x03\0\x06\0\0\0\0"],
)
def test_what_is_no_spdy_is_refused(data: bytes) -> None:
    with pytest.raises(SpdyFault):
        list(Decoder(most_bytes=1 << 16).feed(data))


@asynccontextmanager
async def _sessions(window: int = 0) -> AsyncIterator[tuple[Session, asyncio.Queue[Stream]]]:
    """A client's session, and the streams that arrive at the server."""
    arrived: asyncio.Queue[Stream] = asyncio.Queue()

    async def opened(stream: Stream) -> None:
        await stream.answer((("ok", "yes"),))
        arrived.put_nowait(stream)

    a, b = pipe()
    client, server = Session(a, is_client=True, opened=opened, window=window), Session(b, is_client=False, opened=opened, window=window)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(client.run())
        group.create_task(server.run())
        yield client, arrived
        await client.close()
        await server.close()


async def test_streams_carry_bytes_both_ways_and_end_each_for_itself() -> None:
    async with _sessions() as (client, arrived):
        near = await client.open((("streamtype", "data"),))
        far = await arrived.get()
        assert (far.header("streamtype"), dict(await near.wait_reply())) == ("data", {"ok": "yes"})
        await near.write(b"there")
        await near.close()
        assert (await far.read(), await far.read()) == (b"there", b"")
        await far.write(b"back")
        await far.close()
        assert (await near.read(), await near.read()) == (b"back", b"")


async def test_a_slow_reader_holds_up_its_own_stream_only() -> None:
    async with _sessions(WINDOW) as (client, arrived):
        slow = await client.open(())
        slow_far = await arrived.get()
        filling = asyncio.ensure_future(slow.write(b"x" * (3 * WINDOW)))
        quick = await client.open(())
        quick_far = await arrived.get()
        await quick.write(b"passes")
        assert await quick_far.read() == b"passes"
        assert not filling.done()
        assert slow_far.incoming.waiting <= WINDOW
        size = 0
        while size < 3 * WINDOW:
            size += len(await slow_far.read())
        await filling


async def test_a_reset_is_told_to_who_reads_and_who_writes() -> None:
    async with _sessions(WINDOW) as (client, arrived):
        near = await client.open(())
        far = await arrived.get()
        await far.reset()
        with pytest.raises(BrokenStream, match="reset by the other side"):
            await near.read()
        with pytest.raises(BrokenStream):
            await near.write(b"x")


async def test_too_many_streams_are_refused_and_the_others_live() -> None:
    async with _sessions() as (client, arrived):
        first = await client.open(())
        for _ in range(MOST_STREAMS - 1):
            await client.open(())
        one_more = await client.open(())
        with pytest.raises(BrokenStream):
            await one_more.wait_reply()
        await first.write(b"alive")
        assert await (await arrived.get()).read() == b"alive"


async def test_the_end_of_the_connection_ends_its_streams() -> None:
    a, b = pipe()
    session = Session(a, is_client=True, opened=lambda s: s.answer())
    running = asyncio.ensure_future(session.run())
    stream = await session.open(())
    await b.close()
    await running
    with pytest.raises(BrokenStream, match="the connection ended"):
        await stream.read()
    with pytest.raises(BrokenStream):
        await session.open(())
