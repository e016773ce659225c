"""`exec` and `attach`: a program's input, output, errors, exit status and window size over one connection.

WebSocket (v5 and v4 and what was before them) and SPDY, which older clients speak. What runs is the caller's.
Before: `sim.dialing`. After: `upgrades`, `kcp.streams`.
Source: KEP-4006, k8s.io/cri-streaming/pkg/streaming/remotecommand/{websocket,httpstream,exec}.go,
k8s.io/streaming/pkg/httpstream/wsstream/conn.go (channels, the v5 close signal 255).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from kcp.apimachinery.errors import BadRequest
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.connect.upgrades import SPDY, WEBSOCKET, required, server_session, spdy, subprotocol, wanted, websocket
from kcp.apiserver.request import Request, Response
from kcp.streams.spdy import Stream
from kcp.streams.ways import BrokenStream, Duplex, Way
from kcp.streams.websocket import WebSocket

_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE = range(5)
_CLOSE_SIGNAL = 255
_SOCKET_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io", "")
_SPDY_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
_STREAMS_WITHIN_S = 30.0
"""Longest time for a SPDY client to open all streams. Source: kubelet's streamCreationTimeout."""

Send: TypeAlias = Callable[[bytes], Awaitable[None]]
SUCCESS: JSONObject = {"metadata": {}, "status": "Success"}


@dataclass
class Console:
    """What a program is connected to."""

    is_tty: bool
    stdout: Send
    stderr: Send
    stdin: Way = field(default_factory=Way)
    """Ended from the start where the client gives no input."""
    size: tuple[int, int] | None = None
    """Columns and rows of the client's window."""


Run: TypeAlias = Callable[[Console], Awaitable[JSONObject]]
"""Runs something on a console, and says how it ended, as a Status. Cancelled when the client goes."""


def exited(code: int) -> JSONObject:
    """The Status of a program that ended. Source: remotecommand/exec.go."""
    if code == 0:
        return SUCCESS
    return {
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }  # fmt: skip


def not_started(why: str) -> JSONObject:
    """The Status of a program that could not be run at all."""
    message = f"Internal error occurred: error executing command in container: {why}"
    return {"metadata": {}, "status": "Failure", "reason": "InternalError", "message": message, "code": 500}


def respond(req: Request, asked: Mapping[str, Any], run: Run) -> Response:
    """The answer 101 in the client's protocol. Args: asked: PodExecOptions or PodAttachOptions. Raises BadRequest, Forbidden."""
    if asked.get("tty") and asked.get("stderr"):
        asked = {**asked, "stderr": False}  # a terminal has one output
    if not any(asked.get(flag) for flag in ("stdin", "stdout", "stderr")):
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    protocol = wanted(req)
    if protocol == WEBSOCKET:
        chosen = subprotocol(req, _SOCKET_PROTOCOLS)
        if chosen is None:
            raise BadRequest(f"unable to upgrade: none of the WebSocket's subprotocols is served: {', '.join(_SOCKET_PROTOCOLS[:-1])}")
        return websocket(req, chosen, lambda socket: _Channels(socket, chosen, asked).speak(run))
    if protocol == SPDY:
        return spdy(req, _SPDY_PROTOCOLS, lambda wire, chosen: _over_spdy(wire, chosen, asked, run))
    raise required(req)


class _Channels:
    """A WebSocket whose messages begin with the number of their channel."""

    def __init__(self, socket: WebSocket, protocol: str, asked: Mapping[str, Any]) -> None:
        self._socket = socket
        self._is_base64 = "base64" in protocol
        self._can_close = protocol.startswith("v5.")
        self._tells_status = protocol.startswith(("v4.", "v5."))
        self._asked = asked

    async def speak(self, run: Run) -> None:
        outputs = [number for number, name in ((_STDOUT, "stdout"), (_STDERR, "stderr")) if self._asked.get(name)]
        send = {number: self._sender(number) for number in outputs}
        console = Console(bool(self._asked.get("tty")), send.get(_STDOUT, _nowhere), send.get(_STDERR, _nowhere))
        if not self._asked.get("stdin"):
            console.stdin.end()
        if not self._can_close:
            await self._send(outputs[0] if outputs else _ERROR, b"")  # the connection stands; v5's clients, which know, may log it as odd
        with suppress(BrokenStream):  # the client has gone, and nobody is left to tell
            status = await _while_read(run(console), lambda: self._read(console))
            await self._send(_ERROR, orjson.dumps(status) if self._tells_status else _in_words(status))

    def _sender(self, channel: int) -> Send:
        async def send(data: bytes) -> None:
            for at in range(0, len(data), 1 << 15):
                await self._send(channel, data[at : at + (1 << 15)])

        return send

    async def _send(self, channel: int, data: bytes) -> None:
        if self._is_base64:
            await self._socket.send(b"%d" % channel + base64.b64encode(data), is_text=True)
        else:
            await self._socket.send(bytes((channel,)) + data)

    async def _read(self, console: Console) -> None:
        """Until the client goes. Raises BrokenStream then, in any case."""
        async for message in self._socket.messages():
            if not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if self._is_base64:
                channel, data = channel - ord("0"), _decoded(data)
            if channel == _STDIN:
                await console.stdin.put(data)
            elif channel == _RESIZE:
                _resize(console, data)
            elif channel == _CLOSE_SIGNAL and self._can_close and data == bytes((_STDIN,)):
                console.stdin.end()
        console.stdin.end()
        raise BrokenStream("the client has gone")


async def _while_read(program: Awaitable[JSONObject], reading: Callable[[], Coroutine[Any, Any, None]]) -> JSONObject:
    """The program's end, with the connection read meanwhile. Raises BrokenStream if its client goes before."""
    try:
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(reading())
            status = await program
            reader.cancel()
    except* BrokenStream as broken:
        raise BrokenStream("the client has gone") from broken
    return status


async def _nowhere(data: bytes) -> None:
    """Output that nobody asked for."""


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise BrokenStream(f"not base64: {error}") from error


def _resize(console: Console, data: bytes) -> None:
    try:
        told = orjson.loads(data)
        console.size = int(told["Width"]), int(told["Height"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return  # as upstream: a size that cannot be read changes nothing


def _in_words(status: JSONObject) -> bytes:
    """For protocols before v4: nothing for a success, else what went wrong."""
    return b"" if status.get("status") == "Success" else str(status.get("message", "")).encode()


async def _over_spdy(wire: Duplex, protocol: str, asked: Mapping[str, Any], run: Run) -> None:
    streams: dict[str, Stream] = {}
    expected = {"error", *(name for name in ("stdin", "stdout", "stderr") if asked.get(name))}
    if asked.get("tty") and protocol.startswith(("v3.", "v4.", "v5.")):
        expected.add("resize")
    complete = asyncio.Event()

    async def opened(stream: Stream) -> None:
        streams[stream.header("streamtype")] = stream
        await stream.answer()
        if expected <= streams.keys():
            complete.set()

    session = server_session(wire, opened)

    async def reading() -> None:
        await session.run()
        raise BrokenStream("the client has gone")

    async def program() -> JSONObject:
        async with asyncio.timeout(_STREAMS_WITHIN_S):
            await complete.wait()
        status = await _on_streams(streams, asked, run)
        told = orjson.dumps(status) if protocol.startswith(("v4.", "v5.")) else _in_words(status)
        await streams["error"].write(told)
        for name in ("stdout", "stderr", "error"):
            if name in streams:
                await streams[name].close()
        return status

    try:
        with suppress(BrokenStream):
            await _while_read(program(), reading)
    except TimeoutError:
        raise BrokenStream(f"the client did not open its streams: {sorted(expected - streams.keys())} are missing") from None
    finally:
        await session.close()


async def _on_streams(streams: Mapping[str, Stream], asked: Mapping[str, Any], run: Run) -> JSONObject:
    def output(name: str) -> Send:
        return streams[name].write if asked.get(name) else _nowhere

    console = Console(bool(asked.get("tty")), output("stdout"), output("stderr"))
    if asked.get("stdin"):
        console.stdin = streams["stdin"].incoming
    else:
        console.stdin.end()
    if (resize := streams.get("resize")) is None:
        return await run(console)
    return await _while_read(run(console), lambda: _sizes(console, resize))


async def _sizes(console: Console, resize: Stream) -> None:
    """One JSON document per change."""
    unread = b""
    while data := await resize.read():
        *whole, unread = (unread + data).replace(b"}", b"}\0").split(b"\0")
        for document in whole:
            _resize(console, document.strip())
    await asyncio.Event().wait()  # until the program ends
