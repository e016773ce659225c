"""An HTTPS server of a test's own on loopback: webhooks, converters and aggregated APIs that answer as the test says."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from aiohttp import web

from kcp.aio.clock import SystemClock
from kcp.apiserver.pki import PKI


class Answering(Protocol):
    """Whose `handle` answers every request."""

    port: int

    async def handle(self, request: web.Request) -> web.StreamResponse: ...


A = TypeVar("A", bound=Answering)


@asynccontextmanager
async def listening(directory: Path, hosts: Sequence[str], make: Callable[[str], A], *, client_authority: str = "") -> AsyncIterator[A]:
    """What `make` makes of the CA bundle (base64 of PEM) with which its clients can trust it, and serving.

    Args: directory: of its keys. hosts: names in its certificate. client_authority: PEM; with it, clients must show a certificate.
    """
    pki = PKI.ensure(directory, hosts=list(hosts), clock=SystemClock())
    served = make(base64.b64encode(pki.ca_pem().encode()).decode())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=client_authority or None)
    context.load_cert_chain(pki.serving.certificate, pki.serving.key)
    context.verify_mode = ssl.CERT_REQUIRED if client_authority else ssl.CERT_NONE
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", served.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    served.port = runner.addresses[0][1]
    try:
        yield served
    finally:
        await runner.cleanup()
