"""What writers and watchers of an etcd cluster see while its members die, freeze and come back.

Aspects: one of three killed, one of three frozen (what a partition looks like from here), all restarted; client certificates; a password.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.etcd import Etcd

from kcp.aio.clock import SystemClock
from kcp.apiserver.pki import PKI
from kcp.storage.etcd.config import EtcdConfig
from kcp.storage.etcd.store import EtcdStore
from kcp.storage.interface import Event, KeyExists, Revision, StoreError, StoreUnavailable
from kcp.storage.keyspace import ROOT_PREFIX

P = b"/registry/core/configmaps/-/root/"
WRITERS, WRITES = 8, 60


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Etcd]:
    etcd = Etcd(tmp_path, size=3).start()
    yield etcd
    etcd.stop()


@dataclass
class Load:
    """Writers that go on whatever happens, and what they were told."""

    store: EtcdStore
    acknowledged: dict[bytes, int] = field(default_factory=dict)
    unknown: set[bytes] = field(default_factory=set)
    """Of these the answer was lost: they may be there or not."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        await asyncio.gather(*(self._write(number) for number in range(WRITERS)))

    async def _write(self, number: int) -> None:
        for i in range(WRITES):
            key = P + b"%d-%d" % (number, i)
            try:
                self.acknowledged[key] = await self.store.create(key, b"x" * 200)
            except StoreUnavailable:
                self.unknown.add(key)
            except KeyExists:
                pytest.fail("a write was repeated that had been done")
            if len(self.acknowledged) >= WRITERS * 5:
                self.reached.set()


async def follow(store: EtcdStore, until: bytes) -> list[Event]:
    events: list[Event] = []
    async with aclosing(store.watch(P, Revision(0))) as batches:
        async for batch in batches:
            events += [event for event in batch if not event.is_progress]
            if any(event.key == until for event in batch):
                return events
    return events


async def write_surely(store: EtcdStore, key: bytes) -> None:
    while await store.get(key) is None:
        try:
            await store.create(key, b"the end")
        except (StoreUnavailable, KeyExists):
            continue


def kill(etcd: Etcd) -> None:
    etcd.members[0].stop()


def freeze(etcd: Etcd) -> None:
    etcd.members[0].send(signal.SIGSTOP)


def restart_all(etcd: Etcd) -> None:
    for member in etcd.members:
        member.stop()
    for member in etcd.members:
        member.start()


@pytest.mark.parametrize("harm", [kill, freeze, restart_all])
async def test_no_acknowledged_write_and_no_event_is_lost_or_doubled(three: Etcd, harm: Callable[[Etcd], None]) -> None:
    config = EtcdConfig(endpoints=three.endpoints, attempt_s=2.0, patience_s=20.0)
    store = await EtcdStore.open(config, SystemClock())
    load, end = Load(store), P + b"~end"
    following = asyncio.ensure_future(follow(store, end))
    running = asyncio.ensure_future(load.run())
    await load.reached.wait()
    harm(three)
    async with asyncio.timeout(60):
        await running
        await write_surely(store, end)
        events = await following
    listed = {kv.key: kv.mod_revision for kv in (await store.list(P)).items}
    assert set(load.acknowledged.items()) <= set(listed.items())
    assert {key: revision for key, revision in listed.items() if key != end and key not in load.unknown} == load.acknowledged
    assert [event.revision for event in events] == sorted({event.revision for event in events})
    assert {event.key: event.revision for event in events} == listed
    await store.close()


async def test_a_watch_leaves_a_frozen_member_as_soon_as_a_call_found_it_frozen(three: Etcd) -> None:
    store = await EtcdStore.open(EtcdConfig(endpoints=three.endpoints, attempt_s=1.0, patience_s=60.0), SystemClock())
    async with aclosing(store.watch(P, Revision(0))) as batches:
        await write_surely(store, P + b"before")
        await anext(batches)
        freeze(three)
        await write_surely(store, P + b"after")
        async with asyncio.timeout(5):  # keepalive alone takes fifteen seconds
            events = await anext(batches)
    assert [event.key for event in events if not event.is_progress] == [P + b"after"]
    await store.close()


async def test_an_etcd_that_does_not_answer_is_named_with_its_address(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"etcd does not answer \(http://127\.0\.0\.1:1\)"):
        await EtcdStore.open(EtcdConfig(endpoints=["http://127.0.0.1:1"], attempt_s=0.5, patience_s=0.5), SystemClock())


async def test_user_and_password(tmp_path: Path) -> None:
    etcd = Etcd(tmp_path).start()
    try:
        await (await EtcdStore.open(EtcdConfig(endpoints=etcd.endpoints), SystemClock())).close()
        for command in (["user", "add", "root:secret"], ["user", "grant-role", "root", "root"], ["auth", "enable"]):
            etcd.control(*command)
        for text, name in (("secret\n", "right"), ("wrong", "wrong")):
            (tmp_path / name).write_text(text)
        right = EtcdConfig(endpoints=etcd.endpoints, username="root", password_file=tmp_path / "right")
        with pytest.raises(StoreError, match="check --etcd-username and --etcd-password-file"):
            await EtcdStore.open(replace(right, password_file=tmp_path / "wrong"), SystemClock())
        with pytest.raises(StoreError, match="check --etcd-username and --etcd-password-file"):
            await EtcdStore.open(EtcdConfig(endpoints=etcd.endpoints), SystemClock())
        store = await EtcdStore.open(right, SystemClock())
        following = asyncio.ensure_future(follow(store, P + b"a"))
        await store.create(P + b"a", b"1")
        assert len(await following) == 1
        await store.close()
    finally:
        etcd.stop()


async def test_client_certificates_both_ways(tmp_path: Path) -> None:
    pki = PKI.ensure(tmp_path / "server", hosts=["127.0.0.1"], clock=SystemClock())
    client = pki.issue_client("kcp")
    cert, key = tmp_path / "client.crt", tmp_path / "client.key"
    cert.write_text(client.certificate)
    key.write_text(client.key)
    arguments = [
        f"--cert-file={pki.serving.certificate}", f"--key-file={pki.serving.key}", "--client-cert-auth",
        f"--trusted-ca-file={pki.client_ca.certificate}",
    ]  # fmt: skip
    etcd = Etcd(tmp_path, arguments=arguments, scheme="https").start()
    (tmp_path / "ca.crt").write_text(pki.ca_pem())
    try:
        full = EtcdConfig(
            endpoints=etcd.endpoints, ca_file=tmp_path / "ca.crt", cert_file=cert, key_file=key, attempt_s=0.5, patience_s=0.5
        )  # fmt: skip
        store = await EtcdStore.open(replace(full, attempt_s=3.0, patience_s=10.0), SystemClock())
        await store.create(P + b"a", b"1")
        await store.close()
        for config in (replace(full, cert_file=None, key_file=None), replace(full, ca_file=None)):
            with pytest.raises(StoreUnavailable, match="etcd does not answer"):
                await EtcdStore.open(config, SystemClock())
    finally:
        etcd.stop()


async def test_a_renewed_client_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    first, second = (PKI.ensure(tmp_path / name, hosts=["127.0.0.1"], clock=SystemClock()) for name in ("first", "second"))
    cert, key, trusted = (tmp_path / name for name in ("client.crt", "client.key", "trusted.crt"))

    def take(pki: PKI) -> None:
        """Whom etcd trusts once it is started again, and the certificate that this makes."""
        client = pki.issue_client("kcp")
        cert.write_text(client.certificate)
        key.write_text(client.key)
        trusted.write_bytes(pki.client_ca.certificate.read_bytes())

    take(first)
    (tmp_path / "ca.crt").write_text(first.ca_pem())
    serving = first.serving
    arguments = [f"--cert-file={serving.certificate}", f"--key-file={serving.key}", "--client-cert-auth", f"--trusted-ca-file={trusted}"]
    etcd = Etcd(tmp_path, arguments=arguments, scheme="https").start()
    config = EtcdConfig(
        endpoints=etcd.endpoints, ca_file=tmp_path / "ca.crt", cert_file=cert, key_file=key, attempt_s=1.0, patience_s=20.0
    )  # fmt: skip
    store = await EtcdStore.open(config, SystemClock())
    try:
        async with asyncio.timeout(60):
            following = asyncio.ensure_future(follow(store, P + b"after"))
            await store.create(P + b"before", b"1")
            take(second)
            key.write_text("half written")
            restart_all(etcd)
            refused = asyncio.ensure_future(write_surely(store, P + b"after"))
            with pytest.raises(StoreUnavailable):
                await (await EtcdStore.open(replace(config, patience_s=1.0), SystemClock())).close()
            take(second)
            await refused
            assert [event.key for event in await following] == [P + b"before", P + b"after"]
    finally:
        await store.close()
        etcd.stop()


async def test_who_lists_where_others_write_need_not_wait_for_an_event(tmp_path: Path) -> None:
    etcd = Etcd(tmp_path).start()
    try:
        store = await EtcdStore.open(EtcdConfig(endpoints=etcd.endpoints), SystemClock())
        async with asyncio.timeout(20), aclosing(store.watch(ROOT_PREFIX, Revision(0))) as batches:
            following = asyncio.ensure_future(anext(batches))
            await store.create(P + b"a", b"1")
            await following
            etcd.control("put", "/elsewhere", "x")
            page = await store.list(P)
            reached = 0
            while reached < page.revision:
                reached = (await anext(batches))[-1].revision
        await store.close()
    finally:
        etcd.stop()
