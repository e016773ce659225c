"""Gives back what compaction has freed inside etcd's files: one member after the other, the leader last.

A member that is being defragmented answers nobody; its clients go to the others meanwhile. So a member is left alone that has little to
give back, and the next one has its turn only when this one answers again.
Before: `server.compose` runs it where the controllers run. After: `storage.etcd.connection`.
Source: etcd docs op-guide/maintenance.md (defragmentation), etcdctl defrag.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import grpc.aio

from kcp.aio.clock import Clock
from kcp.storage.etcd import messages
from kcp.storage.etcd.config import EtcdConfig
from kcp.storage.etcd.connection import Connection
from kcp.storage.interface import StoreError

log = logging.getLogger(__name__)

_LONGEST_S = 300.0
"""One member may take so long: about a second for 100 MB."""
_REST_S = 5.0
"""Between two members."""
_LEAST_BYTES = 16 << 20
_LEAST_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Member:
    endpoint: str
    is_leader: bool
    bytes: int
    used_bytes: int

    @property
    def is_worth_it(self) -> bool:
        """
        >>> Member("a", False, 100 << 20, 90 << 20).is_worth_it, Member("a", False, 100 << 20, 60 << 20).is_worth_it
        (False, True)
        """
        free = self.bytes - self.used_bytes
        return free >= max(_LEAST_BYTES, self.bytes * _LEAST_SHARE)


class Defragmenter:
    def __init__(self, config: EtcdConfig, clock: Clock, interval_s: float) -> None:
        self._config, self._clock, self._interval_s = config, clock, interval_s

    async def run(self) -> None:
        """Each `interval_s`, until cancelled. Failures are logged, and tried again the next time."""
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                await self.step()
            except StoreError as error:
                log.warning("etcd was not defragmented: %s", error)

    async def step(self) -> list[str]:
        """Defragment the members that are worth it; their endpoints, in order.

        Raises: StoreError, at the first member that does not answer: two of them away would stop everybody's writes.
        """
        members = [await self._look(endpoint) for endpoint in self._config.endpoints]
        done: list[str] = []
        for member in sorted(members, key=lambda m: m.is_leader):
            if not member.is_worth_it:
                continue
            if done:
                await self._clock.sleep(_REST_S)
            await self._ask(member.endpoint, messages.DEFRAGMENT, messages.DefragmentRequest())
            after = await self._look(member.endpoint)
            log.info("etcd at %s defragmented: %d MiB, were %d", member.endpoint, after.bytes >> 20, member.bytes >> 20)
            done.append(member.endpoint)
        return done

    async def _look(self, endpoint: str) -> Member:
        status = await self._ask(endpoint, messages.STATUS, messages.StatusRequest())
        return Member(endpoint, status.leader == status.header.member_id, status.dbSize, status.dbSizeInUse)

    async def _ask(self, endpoint: str, method: str, request: messages.Message) -> messages.Message:
        """One member, and no other. Raises: StoreError."""
        connection = Connection(replace(self._config, endpoints=(endpoint,), attempt_s=_LONGEST_S, patience_s=_LONGEST_S), self._clock)
        try:
            return await connection.call(method, request, is_read=method == messages.STATUS)
        except grpc.aio.AioRpcError as error:
            raise StoreError(f"etcd at {endpoint}: {error.details()}") from None
        finally:
            await connection.close()
