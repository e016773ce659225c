"""Watch frames: chunk borders anywhere, other writers' spacing, errors, broken streams."""

from collections.abc import AsyncIterator, Iterable

import orjson
import pytest

from kcp.apimachinery.errors import Expired
from kcp.client.frames import WatchEvent, decode, decode_frame
from kcp.client.transport import TransportError

ONE = b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"5"}}}\n'
TWO = b'{"type":"MODIFIED","object":{"metadata":{"name":"b\xc3\xa9}\\"object\\":"}}}\n'


async def events(chunks: Iterable[bytes]) -> list[WatchEvent]:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return [event async for event in decode(stream())]


@pytest.mark.parametrize("size", [1, 2, 7, 50, 1000])
async def test_chunk_borders_do_not_matter(size: int) -> None:
    whole = ONE + TWO + ONE
    found = await events(whole[i : i + size] for i in range(0, len(whole), size))
    assert [event.type for event in found] == ["ADDED", "MODIFIED", "ADDED"]
    assert found[1].object == {"metadata": {"name": 'bé}"object":'}}
    assert all(orjson.loads(event.raw) == event.object for event in found)


async def test_frame_cut_off_is_a_broken_connection() -> None:
    with pytest.raises(TransportError, match="middle of an event"):
        await events([ONE, TWO[:20]])


async def test_empty_lines_are_nothing() -> None:
    assert len(await events([b"\n", ONE, b"\n\n"])) == 1


@pytest.mark.parametrize(
    "line",
    [
        b'{"object":{"a":1},"type":"ADDED"}',
        b'{ "type": "ADDED", "object": {"a":1} }',
        b'{"type":"ADDED","object":{"a":1},"more":{}}',
        b'{"type":"ADDED","object":{"a":1}}\r',
    ],
)
def test_other_spellings_mean_the_same(line: bytes) -> None:
    event = decode_frame(line)
    assert (event.type, event.object, orjson.loads(event.raw)) == ("ADDED", {"a": 1}, {"a": 1})


def test_error_event_is_raised_as_its_class() -> None:
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    with pytest.raises(Expired, match="too old"):
        decode_frame(orjson.dumps({"type": "ERROR", "object": status}))


@pytest.mark.parametrize("line", [b"hello", b"[]", b"{}", b'{"type":"ADDED"}', b'{"type":"ADDED","object":{'])
def test_what_is_not_an_event_is_a_transport_error(line: bytes) -> None:
    with pytest.raises(TransportError, match="not an event"):
        decode_frame(line)
