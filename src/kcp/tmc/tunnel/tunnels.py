"""The tunnels that syncers hold open, and requests through them; two languages, that of `protocol` and kcp 0.11's own (`reverse`).

One for each SyncTarget: a new one takes the place of the former. Nothing of it is stored; what is lost here is opened again by the syncer.
Before: `server.tmc`. After: `protocol`, `reverse`, `apiserver.connect`. Source: kcp 0.11 pkg/tunneler/{tunnel,dialer}.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from kcp.aio.clock import Clock, rfc3339
from kcp.aio.deadline import within
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Conflict, MethodNotAllowed, NotFound, ServiceUnavailable
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.connect.upgrades import WEBSOCKET, offers, required, wanted, websocket
from kcp.apiserver.request import Handler, Request, Response
from kcp.apiserver.resources import ConnectorKey
from kcp.streams.spdy import WINDOW, Session, Stream
from kcp.streams.spdyframes import Headers
from kcp.streams.ways import BrokenStream, Duplex
from kcp.streams.websocket import BytesOverMessages, WebSocket
from kcp.tmc.model.kinds import SYNC_TARGETS
from kcp.tmc.tunnel.protocol import SUBPROTOCOL, carry, value
from kcp.tmc.tunnel.reverse import ReverseTunnel

log = logging.getLogger(__name__)

_ANSWER_WITHIN_S = 60.0
_PIPE = (("content-type", "application/octet-stream"),)


class Answer(Duplex, Protocol):
    """The body of an answer, or the connection after status 101."""

    async def reset(self) -> None:
        """To be called after use: over in both directions."""


class Far(Protocol):
    """A syncer, at the other end of its tunnel."""

    @property
    def is_over(self) -> bool: ...

    async def close(self) -> None: ...

    async def ask(self, method: str, path: str, headers: Headers, body: bytes | None) -> tuple[int, Headers, Answer]:
        """Raises BrokenStream."""


@dataclass(frozen=True, slots=True, eq=False)
class _Spoken:
    """A syncer that speaks `protocol`."""

    session: Session

    @property
    def is_over(self) -> bool:
        return self.session.is_over

    async def close(self) -> None:
        await self.session.close()

    async def ask(self, method: str, path: str, headers: Headers, body: bytes | None) -> tuple[int, Headers, Answer]:
        stream = await self.session.open(((":method", method), (":path", path), *headers))
        try:
            if body is not None:
                await stream.write(body)
                await stream.close()
            answered = await stream.wait_reply()
        except asyncio.CancelledError:
            await asyncio.shield(stream.reset())
            raise
        return int(value(answered, ":status") or 502), [pair for pair in answered if not pair[0].startswith(":")], stream


@dataclass
class Tunnels:
    target: Callable[[ObjectKey], JSONObject | None]
    clock: Clock
    _open: dict[ObjectKey, Far] = field(default_factory=dict)
    _lost: dict[ObjectKey, datetime] = field(default_factory=dict)
    """When the tunnel of a target ended, for those that had one and have none; forgotten with the target."""

    def connectors(self) -> dict[ConnectorKey, Handler]:
        return {(SYNC_TARGETS.group, SYNC_TARGETS.resource, "tunnel"): self.connect}

    async def connect(self, req: Request) -> Response:
        """A syncer's end of the tunnel; that it may is RBAC's word: verb get on synctargets/tunnel.

        Raises: NotFound, Conflict, BadRequest.
        """
        if req.method != "GET":
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        key = ObjectKey(req.info.cluster, "", req.info.name)
        target = self.target(key)
        if target is None:
            raise NotFound.of(SYNC_TARGETS.group_resource, key.name)
        if (uid := req.query.get("uid", "")) and uid != meta.uid(target):
            raise Conflict(f'SyncTarget "{key.name}" has uid {meta.uid(target)}, not {uid}: it was made anew')
        if not wanted(req) and req.headers.get("transfer-encoding", "").lower() == "chunked":
            return self._reversed(key)
        if wanted(req) != WEBSOCKET or SUBPROTOCOL not in offers(req, "sec-websocket-protocol"):
            raise required(req)
        return websocket(req, SUBPROTOCOL, lambda socket: self._serve(key, socket))

    def _reversed(self, key: ObjectKey) -> Response:
        """For a syncer of kcp 0.11: its tunnel, or one of the pipes that it was asked for."""
        held = self._open.get(key)
        if isinstance(held, ReverseTunnel) and held.expects():
            return Response(200, headers=_PIPE, upgrade=held.take)

        async def controlled(wire: Duplex) -> None:
            tunnel = ReverseTunnel(key.name, wire, self.clock)
            await self._hold(key, tunnel, tunnel.run())

        return Response(200, headers=_PIPE, upgrade=controlled)

    async def _serve(self, key: ObjectKey, socket: WebSocket) -> None:
        session = Session(BytesOverMessages(socket), is_client=True, opened=_refuse, window=WINDOW)
        await self._hold(key, _Spoken(session), carry(session, self.clock))

    async def _hold(self, key: ObjectKey, tunnel: Far, life: Coroutine[Any, Any, None]) -> None:
        """As long as its connection lives."""
        former, self._open[key] = self._open.get(key), tunnel
        if former is not None:
            await former.close()
        log.info("a tunnel was opened", extra={"cluster": key.cluster, "key": key.name})
        try:
            await life
        except BrokenStream as broken:
            log.warning("a tunnel broke: %s", broken, extra={"cluster": key.cluster, "key": key.name})
        finally:
            if self._open.get(key) is tunnel:
                del self._open[key]
                self._lost = {lost: at for lost, at in self._lost.items() if self.target(lost) is not None} | {key: self.clock.now()}

    async def ask(self, key: ObjectKey, method: str, path: str, headers: Headers, body: bytes | None = b"") -> tuple[int, Headers, Answer]:
        """A request through the tunnel. Returns status and headers of the answer, and its body, to be `reset` after use.

        Args: body: None where the connection is to change its protocol.
        Raises: ServiceUnavailable, which says which cluster, since when, and what to do.
        """
        tunnel = self._open.get(key)
        if tunnel is None or tunnel.is_over:
            raise self._away(key)
        try:
            return await within(self.clock, _ANSWER_WITHIN_S, tunnel.ask(method, path, headers, body))
        except BrokenStream:
            raise self._away(key) from None
        except TimeoutError:
            raise ServiceUnavailable(f'cluster "{key.name}" did not answer through its tunnel within {_ANSWER_WITHIN_S:g} s') from None

    def _away(self, key: ObjectKey) -> ServiceUnavailable:
        lost = self._lost.get(key)
        since = f"has had no tunnel since {rfc3339(lost)}" if lost is not None else "has not opened a tunnel since this server started"
        return ServiceUnavailable(
            f'cluster "{key.name}" {since}, and pods in it cannot be reached: see to it that its syncer runs, is not started with '
            f"--feature-gates=KCPSyncerTunnel=false, and may get synctargets/tunnel; `kubectl get synctarget {key.name}` shows its state"
        )

    def statistics(self) -> dict[str, int]:
        return {"open": len(self._open)}


async def _refuse(stream: Stream) -> None:
    """Only the control plane opens streams."""
    await stream.reset()


ANSWERED: Sequence[str] = (
    "upgrade", "connection", "sec-websocket-accept", "sec-websocket-protocol", "x-stream-protocol-version", "location",
    "x-accepted-stream-protocol-versions",
)  # fmt: skip
"""Headers of an answer that mean something beyond the tunnel, beside its content type."""
