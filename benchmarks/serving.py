"""How many small answers per second the HTTP layer gives over TLS, without any API server behind it.

    python benchmarks/serving.py [seconds] [connections]

Compares `kcp.apiserver.serving` with plain uvicorn (same loop, parser and application). Needs `wrk`. The load generator runs on the same
machine: read the figures as ratios. With 2 cores one is the server's. On 2026-11-21 (2 cores, 32 connections, TLS 1.3): kcp serving
59,000-64,000 GET/s, 16 µs of CPU each, p99 1.0 ms; uvicorn 40,000-44,000 GET/s, 24 µs, p99 1.5 ms.
"""

from __future__ import annotations

import multiprocessing
import re
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

BODY = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"tiny"}}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


def run_ours(root: str, ready: Connection) -> None:
    import asyncio

    import uvloop

    from kcp.aio.clock import SystemClock
    from kcp.apiserver.pki import PKI
    from kcp.apiserver.serving import ServingConfig, TLSFiles, serve

    async def main() -> None:
        pki = PKI.ensure(Path(root), clock=SystemClock())
        tls = TLSFiles(certificate=pki.serving.certificate, key=pki.serving.key, client_ca=pki.client_ca.certificate)
        handle = await serve(app, ServingConfig(port=0, tls=tls), clock=SystemClock())
        ready.send(handle.url)
        await asyncio.Event().wait()

    uvloop.run(main())


def run_uvicorn(root: str, ready: Connection) -> None:
    import socket

    import uvicorn

    from kcp.aio.clock import SystemClock
    from kcp.apiserver.pki import PKI

    pki = PKI.ensure(Path(root), clock=SystemClock())
    listener = socket.create_server(("127.0.0.1", 0))
    ready.send(f"https://127.0.0.1:{listener.getsockname()[1]}")
    certificate = {"ssl_certfile": pki.serving.certificate, "ssl_keyfile": pki.serving.key}
    config = uvicorn.Config(app, loop="uvloop", http="httptools", log_config=None, access_log=False, lifespan="off", **certificate)  # type: ignore[arg-type]
    uvicorn.Server(config).run([listener])


def measure(url: str, pid: int, seconds: int, connections: int) -> str:
    before = cpu_ticks(pid)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", f"{url}/tiny"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used_s = (cpu_ticks(pid) - before) / 100
    found = {
        name: re.search(pattern, output)
        for name, pattern in {"rps": r"Requests/sec:\s+(\S+)", "p50": r"\s50%\s+(\d\S+)", "p99": r"\s99%\s+(\d\S+)"}.items()
    }
    figures = {name: match.group(1) if match else "?" for name, match in found.items()}
    total = re.search(r"(\d+) requests in", output)
    each_us = used_s / int(total.group(1)) * 1e6 if total else 0.0
    return f"{float(figures['rps']):9,.0f} GET/s   p50 {figures['p50']:>8}   p99 {figures['p99']:>8}   {each_us:5.1f} µs of CPU each"


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    connections = int(sys.argv[2]) if len(sys.argv) > 2 else 32
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as root:
        for round_ in range(3):
            for name, target in (("kcp serving", run_ours), ("uvicorn", run_uvicorn)):
                here, there = spawn.Pipe()
                server = spawn.Process(target=target, args=(root, there), daemon=True)
                server.start()
                url = here.recv()
                assert server.pid is not None
                print(f"{round_ + 1}  {name:12} {measure(url, server.pid, seconds, connections)}", flush=True)
                server.kill()
                server.join()


if __name__ == "__main__":
    main()
