"""A keep-alive HTTPS client of the standard library: what it measures is the server, not a client library of ours.

Loopback only, so the server's certificate is not checked.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname = False
CONTEXT.verify_mode = ssl.CERT_NONE


class Plain:
    """One connection."""

    def __init__(self, url: str, token: str, context: ssl.SSLContext = CONTEXT) -> None:
        """Args: token: "" where `context` holds a client certificate."""
        self.url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection = http.client.HTTPSConnection(urlsplit(url).netloc, context=context, timeout=60)

    def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> tuple[int, bytes]:
        headers = {**self._headers, "Content-Type": content_type} if body is not None else self._headers
        self._connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = self._connection.getresponse()
        return response.status, response.read()

    def json(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """The answer's object. Raises SystemExit with the answer if it is an error: a benchmark of errors measures nothing."""
        status, answer = self.call(method, path, body, content_type)
        if status >= 400:
            raise SystemExit(f"{method} {path}: {status} {answer[:500].decode(errors='replace')}")
        return json.loads(answer)

    def close(self) -> None:
        self._connection.close()


@asynccontextmanager
async def watching(url: str, token: str, path: str, context: ssl.SSLContext = CONTEXT) -> AsyncIterator[AsyncIterator[bytes]]:
    """The lines of a watch. The watch is open when the block is entered.

    Args: token: "" where `context` holds a client certificate.
    """
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port, ssl=context, limit=1 << 22)
    credentials = f"Authorization: Bearer {token}\r\n" if token else ""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\n{credentials}Accept: application/json\r\n\r\n".encode())
    status = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in status.split(b"\r\n", 1)[0]:
        raise SystemExit(f"watch {path}: {status.decode(errors='replace')}{(await reader.read(500)).decode(errors='replace')}")
    try:
        yield _lines(reader)
    finally:
        writer.transport.abort()


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    while size := int(await reader.readline() or b"0", 16):
        chunk = rest + await reader.readexactly(size)
        await reader.readexactly(2)
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            if line:
                yield line
