"""Calls to an etcd cluster: which endpoint, how long to try, when a call may be repeated, and what its errors mean.

A read is repeated at the next endpoint until its time is up. A write is repeated only if it surely was not done: etcd said so, or nothing
was sent; where the answer was lost, the caller is told `StoreUnavailable` and looks for itself. Certificates are read again when an
endpoint fails: renewed ones are shown from then on.
Before: `storage.etcd.store`, `storage.etcd.watch`. Source: etcd client/v3 retry_interceptor.go, api/v3rpc/rpctypes/error.go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import grpc
import grpc.aio

from kcp.aio.backoff import Backoff
from kcp.aio.clock import Clock
from kcp.storage.etcd import messages
from kcp.storage.etcd.config import EtcdConfig
from kcp.storage.etcd.messages import Message
from kcp.storage.interface import StoreClosed, StoreError, StoreFull, StoreUnavailable

log = logging.getLogger(__name__)

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),  # etcd ends a connection that pings without need (--grpc-keepalive-min-time)
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),  # each store its own connections: what one closes, another keeps
]
_NOT_DONE = ("etcdserver: no leader", "etcdserver: too many requests", "etcdserver: not capable", "failed to connect to all addresses")
"""In the details of an error: the request was refused before anything happened."""
_BAD_TOKEN = ("etcdserver: invalid auth token", "etcdserver: revision of auth store is old")
_RETRIABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN)


_LOOK_PERIOD_S = 1.0


class Connection:
    """One channel per endpoint, made when it is first needed; calls stay with an endpoint until it fails them."""

    def __init__(self, config: EtcdConfig, clock: Clock) -> None:
        """Raises: StoreError for files that cannot be read."""
        if problems := config.problems():
            raise StoreError("; ".join(problems))
        self.config = config
        self._clock = clock
        self._targets, self._files = [_target(endpoint) for endpoint in config.endpoints], _files(config)
        self._looked_s = clock.monotonic()
        self._password = (_read(config.password_file) or b"").decode().partition("\n")[0].strip()
        self._channels: list[grpc.aio.Channel | None] = [None] * len(self._targets)
        self._current = 0
        self.moves: set[Callable[[], None]] = set()
        """Called when another endpoint is asked from now on: who has a stream to the one before had better not wait for it."""
        self._token: str | None = None
        self._closed = False

    async def close(self) -> None:
        """Idempotent. Calls under way end with an error."""
        self._closed = True
        for channel in self._channels:
            if channel is not None:
                await channel.close()

    @property
    def endpoint(self) -> str:
        """Which one is asked at present."""
        return self.config.endpoints[self._current]

    def channel(self) -> grpc.aio.Channel:
        """To the present endpoint."""
        if self._closed:
            raise StoreClosed("the store is closed")
        channel = self._channels[self._current]
        if channel is None:
            target = self._targets[self._current]
            if not self.config.is_secure:
                channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
            else:
                channel = grpc.aio.secure_channel(target, _credentials(self._files), options=_OPTIONS)
            self._channels[self._current] = channel
        return channel

    def fail_over(self, failed: str) -> None:
        """Ask the next endpoint from now on, unless that one is no longer asked: many calls fail at once where a member dies."""
        if failed != self.endpoint:
            return
        self._current = (self._current + 1) % len(self._targets)
        if failed != self.endpoint:
            for move in tuple(self.moves):
                move()

    async def renew(self) -> None:
        """Look, at most once a second, whether the certificates' files say something else than when they were last read.

        Connections that hold are kept, whatever their certificate: etcd looks at it when they are made. So this is for after a failure.
        """
        now_s = self._clock.monotonic()
        if not self.config.is_secure or now_s - self._looked_s < _LOOK_PERIOD_S:
            return
        self._looked_s = now_s
        try:
            found = _files(self.config)
        except StoreError as error:
            log.warning("the certificates for etcd are left as they were: %s", error)
            return
        if found == self._files:
            return
        log.info("the certificates for etcd changed: connecting anew")
        self._files, left = found, self._channels
        self._channels = [None] * len(self._targets)
        for channel in left:
            if channel is not None:
                await channel.close()

    async def metadata(self) -> tuple[tuple[str, str], ...]:
        """Sent with each call: a member that has lost its leader refuses instead of waiting; who we are."""
        if self.config.username and self._token is None:
            request = messages.AuthenticateRequest(name=self.config.username, password=self._password)
            self._token = (await self._once(messages.AUTHENTICATE, request, ())).token
        return (("hasleader", "true"), *((("token", self._token),) if self._token else ()))

    def forget_token(self) -> None:
        """It is no longer taken: ask for a new one with the next call."""
        self._token = None

    async def call(self, method: str, request: Message, *, is_read: bool) -> Message:
        """The answer of whichever endpoint gives one.

        Raises: StoreUnavailable when nobody did in time, or a write's answer was lost; StoreFull; StoreClosed; grpc.aio.AioRpcError for
        what the caller knows how to tell (OUT_OF_RANGE).
        """
        deadline = self._clock.monotonic() + self.config.patience_s
        backoff = Backoff(initial_s=0.02, max_s=0.5)
        while True:
            endpoint = self.endpoint
            try:
                metadata = await self.metadata()
                endpoint = self.endpoint
                return await self._once(method, request, metadata)
            except grpc.aio.AioRpcError as e:
                if self._closed:
                    raise StoreClosed("the store is closed") from None
                last = e
            if not self._may_repeat(last, endpoint, is_read=is_read):
                await self.renew()
                raise self._as_error(last) from None
            await self.renew()
            delay_s = backoff.next_s()
            if self._clock.monotonic() + delay_s >= deadline:
                raise self._unavailable(last) from None
            await self._clock.sleep(delay_s)

    def _may_repeat(self, error: grpc.aio.AioRpcError, endpoint: str, *, is_read: bool) -> bool:
        details = error.details() or ""
        if any(text in details for text in _BAD_TOKEN):
            self.forget_token()
            return True
        if error.code() in _RETRIABLE:
            self.fail_over(endpoint)
        elif "too many requests" not in details:
            return False
        return is_read or any(text in details for text in _NOT_DONE)

    async def _once(self, method: str, request: Message, metadata: tuple[tuple[str, str], ...]) -> Message:
        call = self.channel().unary_unary(
            method, request_serializer=type(request).SerializeToString, response_deserializer=messages.ANSWERS[method].FromString
        )
        return await call(request, timeout=self.config.attempt_s, metadata=metadata)

    def _as_error(self, error: grpc.aio.AioRpcError) -> Exception:
        details = error.details() or ""
        match error.code():
            case grpc.StatusCode.RESOURCE_EXHAUSTED if "database space exceeded" in details:
                return StoreFull("etcd has no space left: compact and defragment it, then disarm its alarm (etcdctl alarm disarm)")
            case grpc.StatusCode.OUT_OF_RANGE:
                return error
            case grpc.StatusCode.INVALID_ARGUMENT if "authentication failed" in details or "user name is empty" in details:
                return StoreError(f"etcd does not know who we are ({details}): check --etcd-username and --etcd-password-file")
            case grpc.StatusCode.PERMISSION_DENIED:
                return StoreError(f"etcd user {self.config.username!r} may not do this: grant its role readwrite on the prefix")
            case code if code in _RETRIABLE:
                return self._unavailable(error)
        return StoreError(f"etcd at {self.endpoint}: {details or error.code().name}")

    def _unavailable(self, error: grpc.aio.AioRpcError) -> StoreUnavailable:
        return StoreUnavailable(f"etcd does not answer ({', '.join(self.config.endpoints)}): {error.details() or error.code().name}")


def _target(endpoint: str) -> str:
    return f"dns:///{urlsplit(endpoint).netloc}"


def _read(file: Path | None) -> bytes | None:
    try:
        return file.read_bytes() if file is not None else None
    except OSError as e:
        raise StoreError(f"cannot read {file}: {e.strerror}") from None


class _Files(NamedTuple):
    """What is in them."""

    authority: bytes | None
    key: bytes | None
    certificate: bytes | None


def _files(config: EtcdConfig) -> _Files:
    """Raises: StoreError for one that cannot be read."""
    return _Files(_read(config.ca_file), _read(config.key_file), _read(config.cert_file))


def _credentials(files: _Files) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(root_certificates=files.authority, private_key=files.key, certificate_chain=files.certificate)
