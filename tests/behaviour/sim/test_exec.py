"""`exec` and `attach` in simulated containers: programs, exit codes, files, input, terminals, protocols, refusals.

Source: KEP-4006, k8s.io/cri-streaming (statuses), pkg/registry/core/pod/rest/subresources.go.
"""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from tests.connections import Refused, Told, executed, told, websocket

from kcp.aio.clock import settle
from kcp.apimachinery.gvk import GVR
from kcp.client.transport import RawRequest, upgrade
from kcp.registry.backend import UserInfo
from kcp.streams.spdy import Session, Stream

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World

POD = "/api/v1/namespaces/default/pods/a"
EXEC = f"{POD}/exec"


async def pod(world: World, **container: Any) -> None:
    await world.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"color": "blue", "a.txt": "one\ntwo\n"}}
    )
    made = {
        "name": "c", "image": "busybox", "command": ["sh", "-c", "while true; do echo tick; sleep 10; done"],
        "ports": [{"containerPort": 8080, "name": "http"}],
        "env": [{"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}}],
        "volumeMounts": [{"name": "v", "mountPath": "/etc/settings"}], **container,
    }  # fmt: skip
    spec = {"containers": [made], "volumes": [{"name": "v", "configMap": {"name": "settings"}}]}
    await world.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"app": "a"}}, "spec": spec})
    await world.until(lambda: world.running())


async def done(world: World, *words: str, **more: Any) -> Told:
    """A command to its end, with time going on meanwhile."""
    running = asyncio.ensure_future(executed(world.client.transport, EXEC, *words, **more))
    for _ in range(50):
        await settle()
        if running.done():
            break
        await world.clock.advance(0.5)
    return await running


COMMANDS: list[tuple[list[str], bytes, bytes, int]] = [
    (["echo", "-n", "hi"], b"hi", b"", 0),
    (["cat", "/etc/settings/a.txt"], b"one\ntwo\n", b"", 0),
    (["ls", "/etc/settings"], b"a.txt\ncolor\n", b"", 0),
    (["ls", "/nowhere"], b"", b"ls: /nowhere: No such file or directory\n", 1),
    (["printenv", "COLOR"], b"blue\n", b"", 0),
    (["hostname"], b"a\n", b"", 0),
    (["date", "+%Y"], b"2026\n", b"", 0),
    (["false"], b"", b"", 1),
    (["sh", "-c", "echo $COLOR; nosuch; echo no >&2; exit 7"], b"blue\n", b"sh: nosuch: not found\nno\n", 7),
    (["sh", "-c", "cat /etc/settings/a.txt | grep two | wc -l"], b"1\n", b"", 0),
    (["sh", "-c", "sleep 2 && echo late"], b"late\n", b"", 0),
    (["sh", "-c", "cat <<EOF"], b"", b"this command line is not simulated: see docs/simulation.md\n", 2),
    (["test", "-d", "/etc/settings"], b"", b"", 0),
]


async def test_a_command_prints_and_ends_as_in_a_container(world: World) -> None:
    await pod(world)
    for words, out, err, code in COMMANDS:
        found = await done(world, *words)
        assert (found.out, found.err, found.code) == (out, err, code), words


async def test_what_is_not_in_the_image_cannot_be_run(world: World) -> None:
    await pod(world)
    for name, why in (("nosuch", "executable file not found in $PATH"), ("/bin/nosuch", "stat /bin/nosuch: no such file or directory")):
        status = (await done(world, name)).status
        assert (status["reason"], status["code"]) == ("InternalError", 500)
        assert f'exec: "{name}": {why}: unknown' in status["message"]


async def test_an_exit_code_is_told_as_upstream_tells_it(world: World) -> None:
    await pod(world)
    assert (await done(world, "true")).status == {"metadata": {}, "status": "Success"}
    assert (await done(world, "sh", "-c", "exit 42")).status == {
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": "command terminated with non-zero exit code: exit status 42",
        "details": {"causes": [{"reason": "ExitCode", "message": "42"}]},
    }  # fmt: skip


async def test_input_reaches_the_program_and_ends(world: World) -> None:
    await pod(world)
    assert (await done(world, "cat", stdin=b"there\x00\xff")).out == b"there\x00\xff"
    assert (await done(world, "sh", "-c", "wc -l", stdin=b"1\n2\n")).out == b"2\n"
    assert (await done(world, "sh", stdin=b"X=1\necho $X\nexit 3\n")).code == 3


async def test_what_is_copied_in_can_be_copied_out(world: World) -> None:
    """As `kubectl cp` does it."""
    await pod(world)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("data.bin")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"\x00\xffx"))
    assert (await done(world, "tar", "-xmf", "-", "-C", "/tmp", stdin=packed.getvalue())).code == 0
    assert (await done(world, "cat", "/tmp/data.bin")).out == b"\x00\xffx"
    back = await done(world, "tar", "cf", "-", "/tmp/data.bin")
    with tarfile.open(fileobj=io.BytesIO(back.out)) as archive:
        held = archive.extractfile("tmp/data.bin")
        assert held is not None
        assert held.read() == b"\x00\xffx"


async def test_a_terminal_echoes_edits_and_prompts(world: World) -> None:
    await pod(world)
    async with websocket(world.client.transport, EXEC, stdin="true", stdout="true", tty="true", command="sh") as (socket, protocol):
        assert protocol == "v5.channel.k8s.io"
        await socket.send(b"\x04" + json.dumps({"Width": 80, "Height": 24}).encode())
        await socket.send(b"\0echo $COLOXX\x7f\x7fR\r")
        running = asyncio.ensure_future(told(socket, until=b"blue\r\n/ # "))
        await settle()
        await world.clock.advance(1)
        assert b"/ # echo $COLOXX\b \b\b \bR\r\nblue\r\n/ # " in (await running).out
        await socket.send(b"\0exit 5\r")
        running = asyncio.ensure_future(told(socket))
        await settle()
        assert (await running).code == 5


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "channel.k8s.io", ""])
async def test_older_protocols_are_spoken(world: World, protocol: str) -> None:
    await pod(world)
    found = await done_in_words(world, protocol)
    assert found == (b"hi\n", b'{"metadata":{},"status":"Success"}' if protocol.startswith("v4") else b"")


async def done_in_words(world: World, protocol: str) -> tuple[bytes, bytes]:
    async with websocket(world.client.transport, EXEC, protocol, stdout="true", command=["echo", "hi"]) as (socket, chosen):
        assert chosen == protocol
        messages = aiter(socket.messages())
        assert (await anext(messages)).data == b"\x01", "says that the connection stands"
        await world.clock.advance(1)
        return (await anext(messages)).data[1:], (await anext(messages)).data[1:]


async def test_spdy_is_spoken_with_clients_before_1_31(world: World) -> None:
    await pod(world)
    headers = {"connection": "Upgrade", "upgrade": "SPDY/3.1", "x-stream-protocol-version": "v9.channel.k8s.io, v4.channel.k8s.io"}
    request = RawRequest("POST", f"{EXEC}?stdin=1&stdout=1&stderr=1&command=sh&command=-c&command=cat;+exit+2", headers=headers)
    async with upgrade(world.client.transport, request) as (response, wire):
        assert (response.status, response.headers["x-stream-protocol-version"]) == (101, "v4.channel.k8s.io")

        async def nobody(stream: Stream) -> None:
            raise AssertionError(stream)

        session = Session(wire, is_client=True, opened=nobody)
        reading = asyncio.ensure_future(session.run())
        streams = {name: await session.open((("streamtype", name),)) for name in ("error", "stdin", "stdout", "stderr")}
        await streams["stdin"].write(b"through")
        await streams["stdin"].close()
        await settle()
        await world.clock.advance(1)
        assert await streams["stdout"].read() == b"through"
        assert json.loads(await streams["error"].read())["details"]["causes"] == [{"reason": "ExitCode", "message": "2"}]
        await reading


async def test_what_cannot_be_connected_to_is_refused_with_a_reason(world: World) -> None:
    await pod(world)
    transport = world.client.transport
    for path, query, status, text in (
        (EXEC, {"command": "true"}, 400, "you must specify at least 1 of stdin, stdout, stderr"),
        (EXEC, {"command": "true", "stdout": "1", "container": "x"}, 400, "container x is not valid for pod a"),
        ("/api/v1/namespaces/default/pods/nobody/exec", {"stdout": "1"}, 404, 'pods "nobody" not found'),
    ):
        with pytest.raises(Refused) as refused:
            async with websocket(transport, path, **query):
                raise AssertionError
        assert (refused.value.status, text in refused.value.message) == (status, True)
    with pytest.raises(Refused, match="unable to upgrade"):
        async with websocket(transport, EXEC, "v9.channel.k8s.io", stdout="1", command="true"):
            raise AssertionError
    plain = await transport.request(RawRequest("GET", f"{EXEC}?stdout=1&command=true"))
    assert (plain.status, b"Upgrade request required" in plain.body) == (400, True)


async def test_a_client_that_goes_ends_what_it_started(world: World) -> None:
    await pod(world)
    async with websocket(world.client.transport, EXEC, stdout="true", command=["sleep", "infinity"]):
        await settle()
    await settle()


async def test_attached_one_sees_what_the_container_prints_from_now_on_until_it_ends(world: World) -> None:
    await pod(world, command=["sh", "-c", "echo before; sleep 20; echo after; sleep 5"])
    async with websocket(world.client.transport, f"{POD}/attach", stdout="true") as (socket, _):
        running = asyncio.ensure_future(told(socket))
        for _ in range(30):
            await settle()
            await world.clock.advance(1)
        found = await running
        assert (found.out, found.code) == (b"after\n", 0)


async def test_a_log_is_followed_until_its_container_ends(world: World) -> None:
    await pod(world, command=["sh", "-c", "echo before; sleep 20; echo after; sleep 5"])
    async with world.client.transport.stream(RawRequest("GET", f"{POD}/log?follow=true")) as (response, chunks):
        assert response.status == 200

        async def all_of_it() -> bytes:
            return b"".join([chunk async for chunk in chunks])

        reading = asyncio.ensure_future(all_of_it())
        for _ in range(30):
            await settle()
            await world.clock.advance(1)
        assert await reading == b"before\nafter\n"


async def test_a_followed_log_ends_with_its_bytes(world: World) -> None:
    await pod(world, command=["sh", "-c", "echo before; sleep 20; echo after; sleep 5"])
    async with world.client.transport.stream(RawRequest("GET", f"{POD}/log?follow=true&limitBytes=9")) as (_, chunks):

        async def all_of_it() -> bytes:
            return b"".join([chunk async for chunk in chunks])

        reading = asyncio.ensure_future(all_of_it())
        for _ in range(22):
            await settle()
            await world.clock.advance(1)
        assert await reading == b"before\naf"


async def test_who_may_only_get_cannot_run_programs_over_a_websocket(world: World) -> None:
    """A WebSocket is opened with GET. Source: pkg/registry/core/pod/rest/authorize.go."""
    await pod(world)
    roles = GVR("rbac.authorization.k8s.io", "v1", "roles"), GVR("rbac.authorization.k8s.io", "v1", "rolebindings")
    ann = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}
    for kind, gvr, parts in (
        ("Role", roles[0], {"rules": [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]}]}),
        ("RoleBinding", roles[1], {"roleRef": {"apiGroup": ann["apiGroup"], "kind": "Role", "name": "r"}, "subjects": [ann]}),
    ):
        made = {"apiVersion": gvr.api_version, "kind": kind, "metadata": {"name": "r"}, **parts}
        await world.client.resource(gvr).create(made, namespace="default")
    with pytest.raises(Refused, match='cannot create resource "pods/exec"'):
        async with websocket(world.cluster.client(UserInfo("ann", ())).transport, EXEC, stdout="true", command="date"):
            raise AssertionError


async def typed(world: World, command: list[str], *messages: bytes, once: bool = True, restarts: str = "Never") -> Told:
    """Attach to a container that reads, say something, and see what comes of it until the connection ends."""
    container = {"name": "c", "image": "busybox", "command": command, "stdin": True, "stdinOnce": once}
    spec = {"containers": [container], "restartPolicy": restarts}
    await world.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec})
    await world.until(lambda: world.running())
    async with websocket(world.client.transport, f"{POD}/attach", stdin="true", stdout="true") as (socket, _):
        running = asyncio.ensure_future(told(socket))
        for message in messages:
            await socket.send(b"\0" + message)
            await settle()
            await world.clock.advance(1)
        if not running.done():
            await socket.send(b"\xff\0")
        for _ in range(20):
            await settle()
            await world.clock.advance(0.5)
        return await running


async def test_what_the_container_itself_has_written_is_seen(world: World) -> None:
    await pod(world, command=["sh", "-c", "mkdir -p /root/foo && echo foobar > /root/foo/bar; sleep 3600"])
    assert (await done(world, "cat", "/root/foo/bar")).out == b"foobar\n"


async def log(world: World) -> bytes:
    return (await world.client.raw("GET", f"{POD}/log")).body


async def phase(world: World) -> str:
    return str((await world.resource("pods").get("a", namespace="default"))["status"]["phase"])


async def test_what_is_typed_into_an_attached_container_is_read_and_its_end_ends_the_program(world: World) -> None:
    found = await typed(world, ["sh", "-c", "echo -n read: && cat && echo 'stdin closed'"], b"value\n", b"abcd1234\n")
    assert (found.out, found.code) == (b"read:value\nabcd1234\nstdin closed\n", 0)
    assert await log(world) == b"read:value\nabcd1234\nstdin closed\n"
    assert await phase(world) == "Succeeded"


async def test_input_that_stays_open_leaves_the_container_running(world: World) -> None:
    found = await typed(world, ["sh", "-c", "cat && echo 'stdin closed'"], b"abcd1234\n", once=False)
    assert (found.out, found.code) == (b"abcd1234\n", 0)
    assert (await log(world), await phase(world)) == (b"abcd1234\n", "Running")


async def test_a_shell_that_is_attached_to_is_the_container_and_ends_it(world: World) -> None:
    found = await typed(world, ["sh"], b"echo hi\n", b"exit 3\n")
    assert (found.out, found.code) == (b"hi\n", 0)
    assert await phase(world) == "Failed"
    ended = (await world.resource("pods").get("a", namespace="default"))["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 3


async def test_a_container_without_input_reads_none(world: World) -> None:
    container = {"name": "c", "image": "busybox", "command": ["sh", "-c", "cat && echo 'stdin closed'"]}
    spec = {"containers": [container], "restartPolicy": "Never"}
    await world.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec})

    async def is_done() -> bool:
        return await phase(world) == "Succeeded"

    await world.until(is_done)
    assert await log(world) == b"stdin closed\n"
