"""Three servers on one etcd while any of them is killed under load, or all are restarted one after the other: nothing acknowledged is lost,
nothing is told twice, work goes on, and controllers go on elsewhere within 15 seconds.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.e2e.processes import Kubectl, Process, eventually, free_port
from tests.etcd import Etcd

from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client import kubeconfig
from kcp.client.rest import Client
from kcp.client.transport import TransportError

pytestmark = pytest.mark.e2e
CONFIG_MAPS = GVR("", "v1", "configmaps")
LEASES = GVR("coordination.k8s.io", "v1", "leases")
RETRIABLE = (429, 500, 503, 504)


@dataclass
class Servers:
    """Processes that share an etcd and a root directory; each has a port and a kubeconfig of its own."""

    directory: Path
    etcd: Etcd
    processes: list[Process] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    ports: dict[int, int] = field(default_factory=dict)
    """What is started again comes back at the same one."""

    def start(self, number: int, *flags: str) -> Process:
        port = self.ports.setdefault(number, free_port())
        command = [
            "kcp", "start", *flags, "--root-directory=.kcp", f"--secure-port={port}", f"--etcd-servers={','.join(self.etcd.endpoints)}",
            f"--kubeconfig-path={self.kubeconfig(number)}",
        ]  # fmt: skip
        process = Process.start(command, cwd=self.directory)
        process.wait_for_line("kcp is ready", timeout_s=60)
        return process

    def kubeconfig(self, number: int) -> Path:
        return self.directory / f"server-{number}.kubeconfig"

    def client(self, number: int, context: str = "root") -> Client:
        client = kubeconfig.connect(self.kubeconfig(number), context)
        self.clients.append(client)
        return client

    async def leader(self) -> int:
        """Its index; told by the process id in the lease."""
        lease = await self.client(0, "system:admin").resource(LEASES).get("kcp-controllers", namespace="kcp-system")
        pid = int(lease["spec"]["holderIdentity"].split("_")[-2])
        return [process.popen.pid for process in self.processes].index(pid)


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    etcd = Etcd(tmp_path).start()
    servers = Servers(tmp_path, etcd)
    try:
        servers.processes += [servers.start(number) for number in range(3)]
        yield servers
    finally:
        for client in servers.clients:
            await client.close()
        for process in servers.processes:
            process.kill()
        etcd.stop()


@dataclass
class Written:
    """What the servers have acknowledged: name → version."""

    versions: dict[str, str] = field(default_factory=dict)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    _marks: list[tuple[int, asyncio.Event]] = field(default_factory=list)

    def add(self, name: str, version: str) -> None:
        self.versions[name] = version
        for count, event in self._marks:
            if len(self.versions) >= count:
                event.set()

    async def wait(self, more: int) -> None:
        event = asyncio.Event()
        self._marks.append((len(self.versions) + more, event))
        await event.wait()


async def write(client: Client, prefix: str, written: Written) -> None:
    """Create ConfigMaps one after the other; errors must be such that a client may try again. Ends with its server."""
    resource, number = client.resource(CONFIG_MAPS), 0
    while not written.stop.is_set():
        name = f"{prefix}-{number}"
        try:
            made = await resource.create(config_map(name), namespace="default")
            written.add(name, made["metadata"]["resourceVersion"])
            number += 1
        except AlreadyExists:
            number += 1  # it was done, and the answer got lost
        except TransportError:
            if prefix == "victim":
                return
            raise
        except StatusError as e:
            if e.code not in RETRIABLE:
                raise


def config_map(name: str) -> JSONObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


async def follow(clients: list[Client], version: str, last: str) -> list[tuple[str, int]]:
    """Watch as an informer does: after a broken connection at the next server, from the version reached, without listing again."""
    seen: list[tuple[str, int]] = []
    turn = 0
    while True:
        try:
            watch = clients[turn].resource(CONFIG_MAPS).watch(namespace="default", resource_version=version, bookmarks=False)
            async with aclosing(watch) as events:
                async for event in events:
                    version = event.object["metadata"]["resourceVersion"]
                    seen.append((meta.name(event.object), int(version)))
                    if meta.name(event.object) == last:
                        return seen
        except TransportError:
            turn = (turn + 1) % len(clients)


@pytest.mark.parametrize("victim", ["leader", "follower"])
async def test_one_of_three_killed_loses_and_doubles_nothing(servers: Servers, victim: str) -> None:
    leader = await servers.leader()
    dying = leader if victim == "leader" else (leader + 1) % 3
    living = [number for number in range(3) if number != dying]
    written, clients = Written(), [servers.client(number) for number in (dying, *living)]
    start = (await clients[0].resource(CONFIG_MAPS).list(namespace="default")).resource_version
    following = asyncio.ensure_future(follow(clients, start, "last"))
    names = ("victim", "b", "c")
    writing = [asyncio.ensure_future(write(client, name, written)) for client, name in zip(clients, names, strict=True)]
    await written.wait(150)
    servers.processes[dying].kill()
    if victim == "leader":
        async with asyncio.timeout(15):
            await led_by_another(servers.client(living[0], "system:admin"), servers.processes[dying].popen.pid)
    await written.wait(150)
    written.stop.set()
    await asyncio.gather(*writing)
    await clients[1].resource(CONFIG_MAPS).create(config_map("last"), namespace="default")
    async with asyncio.timeout(30):
        seen = await following
    objects = (await clients[2].resource(CONFIG_MAPS).list(namespace="default")).items
    listed = {meta.name(obj): obj["metadata"]["resourceVersion"] for obj in objects}
    acknowledged = set(written.versions.items())
    assert acknowledged <= set(listed.items())
    assert acknowledged <= {(name, str(version)) for name, version in seen}
    assert [version for _, version in seen] == sorted({version for _, version in seen})
    kubectl = Kubectl(servers.kubeconfig(living[0]), servers.directory)
    kubectl("create", "workspace", "after", "--timeout=30s")
    assert "Ready" in Kubectl(servers.kubeconfig(living[1]), servers.directory)("get", "workspace", "after")


async def led_by_another(client: Client, pid: int) -> None:
    """Until the lease of the controllers names another process."""
    leases = client.resource(LEASES)
    async with aclosing(leases.watch(namespace="kcp-system", resource_version="0")) as events:
        async for event in events:
            holder = meta.nested(event.object, "spec", "holderIdentity", default="")
            if meta.name(event.object) == "kcp-controllers" and holder and int(holder.split("_")[-2]) != pid:
                return


async def write_anywhere(clients: list[Client], prefix: str, written: Written) -> None:
    """As `write`, by a client with three addresses."""
    while not written.stop.is_set():
        turn = len(written.versions) % len(clients)
        name = f"{prefix}-{len(written.versions)}"
        for client in [*clients[turn:], *clients[:turn]]:
            try:
                made = await client.resource(CONFIG_MAPS).create(config_map(name), namespace="default")
            except (TransportError, AlreadyExists):
                continue  # told to nobody, so that nobody counts on it
            except StatusError as e:
                if e.code not in RETRIABLE:
                    raise
                continue
            written.add(name, made["metadata"]["resourceVersion"])
            break


async def test_a_rolling_restart_loses_and_doubles_nothing(servers: Servers) -> None:
    clients = [servers.client(number) for number in range(3)]
    start = (await clients[0].resource(CONFIG_MAPS).list(namespace="default")).resource_version
    followers = [asyncio.ensure_future(follow([*clients[n:], *clients[:n]], start, "last")) for n in range(3)]
    written = Written()
    writing = asyncio.ensure_future(write_anywhere(clients, "w", written))
    for number in range(3):
        await written.wait(30)
        assert await asyncio.to_thread(servers.processes[number].stop, signal.SIGTERM) == 0
        servers.processes[number] = await asyncio.to_thread(servers.start, number, "--shutdown-delay-duration=1s")
    await written.wait(30)
    written.stop.set()
    await writing
    await clients[1].resource(CONFIG_MAPS).create(config_map("last"), namespace="default")
    acknowledged = set(written.versions.items())
    async with asyncio.timeout(30):
        for seen in await asyncio.gather(*followers):
            assert acknowledged <= {(name, str(version)) for name, version in seen}
            assert [version for _, version in seen] == sorted({version for _, version in seen})
    kubectl = Kubectl(servers.kubeconfig(0), servers.directory)
    kubectl("create", "workspace", "after", "--timeout=30s")


def test_a_server_that_is_told_to_stop_is_not_ready_and_serves_on_for_a_while(tmp_path: Path) -> None:
    port = free_port()
    process = Process.start(["kcp", "start", f"--secure-port={port}", "--in-memory", "--shutdown-delay-duration=3s"], cwd=tmp_path)
    process.wait_for_line("kcp is ready")
    kubectl = Kubectl(tmp_path / ".kcp" / "admin.kubeconfig", tmp_path)
    assert kubectl("get", "--raw", "/readyz") == "ok"
    process.popen.send_signal(signal.SIGTERM)
    eventually(
        lambda: "shutdown failed" in kubectl.run("get", "--raw", "/readyz", check=False).stderr, timeout_s=3, what=lambda: "not ready"
    )
    kubectl("create", "configmap", "late")
    assert kubectl("get", "--raw", "/livez") == "ok"
    assert process.popen.wait(15) == 0
    process.kill()


def test_the_runbook_looks_at_each_server_and_says_which_said_what(tmp_path: Path) -> None:
    etcd = Etcd(tmp_path).start()
    servers = Servers(tmp_path, etcd)
    try:
        servers.processes += [servers.start(number, "--enable-tmc") for number in range(2)]
        hosts = [f"127.0.0.1:{servers.ports[number]}" for number in range(2)]
        command = [
            "kcp", "ops", "daily", "-o", "json", f"--kubeconfig={servers.kubeconfig(0)}", "--figures=figures.jsonl",
            f"--server=https://{hosts[1]}", "--server=https://127.0.0.1:1",
        ]  # fmt: skip
        for _ in range(2):
            process = Process.start(command, cwd=tmp_path)
            assert process.popen.wait(60) == 1, "nobody is at port 1"
            process.kill()
        said = [(check["name"], check["server"]) for check in json.loads(process.output)["checks"]]
        for name in ("Server", "Components", "Request errors", "Certificates"):
            assert [server for named, server in said if named == name][:2] == hosts
        assert ("Server", "127.0.0.1:1") in said
        assert [server for named, server in said if named == "Clusters"] == [""], "stored: every server says it alike"
        assert [json.loads(line)["server"] for line in (tmp_path / "figures.jsonl").read_text().splitlines()] == ["", hosts[1]] * 2
    finally:
        for process in servers.processes:
            process.kill()
        etcd.stop()
