"""kubectl and the Python clients over connections: logs, exec, attach, cp, port-forward, on a simulated cluster over TLS."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.compat.servers import Server
from tests.e2e.processes import Kubectl, eventually, free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Kubernetes version .* is not supported:UserWarning"),  # kr8s, of servers newer than itself
]

POD = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a.txt: "one\\ntwo\\n"}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - name: app
    image: busybox
    command: [sh, -c, "while true; do echo tick; sleep 1; done"]
    ports: [{containerPort: 8080}]
    volumeMounts: [{name: c, mountPath: /etc/settings}]
  volumes: [{name: c, configMap: {name: settings}}]
"""
SPDY = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}


@pytest.fixture(scope="module")
def web(cluster: Server) -> Kubectl:
    kubectl = cluster.namespace("connections")
    kubectl("apply", "-f", "-", stdin=POD)
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=20s")
    return kubectl


def test_exec_prints_takes_input_and_tells_the_exit_code(web: Kubectl) -> None:
    assert web("exec", "web", "--", "cat", "/etc/settings/a.txt") == "one\ntwo"
    assert web("exec", "-i", "web", "--", "cat", stdin="typed") == "typed"
    failed = web.run("exec", "web", "--", "sh", "-c", "echo oh >&2; exit 7", check=False)
    assert (failed.returncode, failed.stderr) == (7, "oh\ncommand terminated with exit code 7\n")


def test_cp_goes_in_and_out(web: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(bytes(range(256)) * 400)
    web("cp", str(tmp_path / "in"), "web:/tmp/there")
    web("cp", "web:/tmp/there", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == bytes(range(256)) * 400


@contextmanager
def going(kubectl: Kubectl, *words: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    command = ["kubectl", "--kubeconfig", str(kubectl.kubeconfig), *kubectl.flags, *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("words", [("logs", "-f", "--tail=1", "web"), ("attach", "web")])
def test_what_a_container_prints_is_seen_when_it_prints_it(web: Kubectl, words: tuple[str, ...]) -> None:
    with going(web, *words) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)] == ["tick\n"] * 3


@pytest.mark.parametrize("env", [{}, SPDY], ids=["websocket", "spdy"])
def test_a_port_is_forwarded(web: Kubectl, env: dict[str, str]) -> None:
    port = free_port()
    with going(web, "port-forward", "pod/web", f"{port}:8080", env=env) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for path in ("/a", "/b"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                assert answer.read().decode().startswith(f"GET {path}\nanswered by container app")


def test_exec_speaks_spdy_where_a_client_does(web: Kubectl) -> None:
    with going(web, "exec", "web", "--", "hostname", env=SPDY) as process:
        assert process.communicate(timeout=20)[0] == "web\n"


def test_the_python_client_streams(web: Kubectl) -> None:
    script = """
import sys
from kubernetes import client, config, stream
config.load_kube_config(sys.argv[1])
api = client.CoreV1Api()
print(stream.stream(api.connect_get_namespaced_pod_exec, "web", "connections", command=["echo", "hi"], stdout=True, stderr=True), end="")
ws = stream.stream(api.connect_get_namespaced_pod_exec, "web", "connections", command=["sh", "-c", "exit 3"], stdout=True, stderr=True,
                   _preload_content=False)
ws.run_forever(timeout=20)
print(ws.returncode)
forward = stream.portforward(api.connect_get_namespaced_pod_portforward, "web", "connections", ports="8080")
sock = forward.socket(8080)
sock.setblocking(True)
sock.sendall(b"GET /py HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
data = b""
while part := sock.recv(4096):
    data += part
print(data.decode().splitlines()[-2])
"""
    done = subprocess.run([sys.executable, "-c", script, str(web.kubeconfig)], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["hi", "3", "GET /py"], done.stderr


def test_kr8s_executes_and_forwards(web: Kubectl) -> None:
    import kr8s
    from kr8s.asyncio.objects import Pod

    async def talk() -> tuple[bytes, str]:
        api = await kr8s.asyncio.api(kubeconfig=str(web.kubeconfig), namespace="connections")
        pod = await Pod.get("web", namespace="connections", api=api)
        done = await pod.exec(["cat", "/etc/settings/a.txt"])
        async with pod.portforward(remote_port=8080) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /kr8s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
        return done.stdout, answer.decode()

    out, answer = asyncio.run(talk())
    assert out == b"one\ntwo\n"
    assert "GET /kr8s\n" in answer


def test_a_pod_that_is_not_there_is_told(web: Kubectl) -> None:
    eventually(
        lambda: 'pods "nope" not found' in web.run("exec", "nope", "--", "true", check=False).stderr, timeout_s=10, what=lambda: "it"
    )
