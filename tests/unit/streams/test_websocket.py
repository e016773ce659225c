"""WebSocket messages: sizes, fragments, control frames, rules that are broken, bytes over messages."""

from __future__ import annotations

import asyncio

import pytest

from kcp.streams.ways import BrokenStream, pipe
from kcp.streams.websocket import BytesOverMessages, Message, WebSocket


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 200_000])
async def test_a_message_of_any_size_arrives_whole_both_ways(size: int) -> None:
    a, b = pipe(1 << 20)
    client, server = WebSocket(a, is_client=True), WebSocket(b)
    payload = bytes(i % 251 for i in range(size))
    await client.send(payload)
    assert await anext(aiter(server.messages())) == Message(payload)
    await server.send(payload, is_text=True)
    assert await anext(aiter(client.messages())) == Message(payload, is_text=True)


async def test_pings_are_answered_between_the_parts_of_a_message() -> None:
    a, b = pipe()
    server = WebSocket(b)
    mask = b"\0\0\0\0"
    await a.write(b"\x02\x81" + mask + b"a" + b"\x89\x81" + mask + b"!" + b"\x80\x81" + mask + b"b")
    assert await anext(aiter(server.messages())) == Message(b"ab")
    assert await a.read() == b"\x8a\x01!"


async def test_a_close_is_answered_and_ends_the_messages() -> None:
    a, b = pipe()
    client, server = WebSocket(a, is_client=True), WebSocket(b)
    await client.close()
    assert [m async for m in server.messages()] == []
    assert await a.read() == b"\x88\x02\x03\xe8"
    with pytest.raises(BrokenStream):
        await server.send(b"late")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x82\x01a", 1002),  # a client's frame without a mask
        (b"\xf2\x81\0\0\0\0a", 1002),  # reserved bits
        (b"\x80\x81\0\0\0\0a", 1002),  # a continuation of nothing
        (b"\x83\x81\0\0\0\0a", 1002),  # no such opcode
        (b"\x09\x81\0\0\0\0a", 1002),  # a control frame in parts
        (b"\x82\xff\x7f\0\0\0\0\0\0\0\0\0\0\0", 1009),
    ],
)
async def test_who_breaks_the_rules_is_told_which_and_cut_off(frame: bytes, code: int) -> None:
    a, b = pipe()
    await a.write(frame)
    with pytest.raises(BrokenStream, match="broke the WebSocket protocol"):
        await anext(aiter(WebSocket(b).messages()))
    assert (await a.read())[2:4] == code.to_bytes(2, "big")


async def test_an_end_within_a_frame_is_a_break() -> None:
    a, b = pipe()
    await a.write(b"\x82\x85\0\0\0\0ab")
    await a.close()
    with pytest.raises(BrokenStream, match="within"):
        await anext(aiter(WebSocket(b).messages()))


async def test_bytes_travel_as_messages() -> None:
    a, b = pipe()
    one, other = BytesOverMessages(WebSocket(a, is_client=True)), BytesOverMessages(WebSocket(b))
    await one.write(b"there")
    await other.write(b"back")
    assert (await other.read(), await one.read()) == (b"there", b"back")
    async with asyncio.timeout(5):
        await one.close()
        assert await other.read() == b""
