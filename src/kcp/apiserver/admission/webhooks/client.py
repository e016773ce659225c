"""HTTPS to webhooks: connections are kept and used again, as long as server and authorities are the same.

aiohttp is imported with the first call. Before: `caller`, `apiserver.conversion`. After: the network.
Source: k8s.io/apiserver/pkg/util/webhook/client.go.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kcp.client.tls import trusting

if TYPE_CHECKING:
    from aiohttp import ClientSession

_LONGEST_ANSWER = 8 * 1024 * 1024
_CONTEXTS = 256


class Unreachable(Exception):
    """No usable answer came; the text says why."""


class Refused(Unreachable):
    """It answered, but with another status than 200."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"the server answered {status}: {text}")
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook is."""

    url: str
    ca_pem: bytes
    host: str = ""
    """The name to expect in the certificate, where it is not the URL's."""


class WebhookClient:
    def __init__(self) -> None:
        self._session: ClientSession | None = None
        self._contexts: OrderedDict[bytes, ssl.SSLContext] = OrderedDict()

    async def post(self, target: Target, body: bytes, *, timeout_s: int) -> bytes:
        """The body of a 200 answer. Raises Unreachable."""
        import aiohttp

        joiner = "&" if "?" in target.url else "?"
        url = f"{target.url}{joiner}timeout={timeout_s}s"
        headers = {"content-type": "application/json", "accept": "application/json", "user-agent": "kube-apiserver-admission"}
        if target.host:
            headers["host"] = target.host
        try:
            async with self._open().post(
                url, data=body, headers=headers, ssl=self._context(target.ca_pem), server_hostname=target.host or None,
                timeout=aiohttp.ClientTimeout(total=timeout_s), allow_redirects=False,
            ) as response:  # fmt: skip
                answer = await response.content.read(_LONGEST_ANSWER + 1)
                while not response.content.at_eof() and len(answer) <= _LONGEST_ANSWER:
                    answer += await response.content.read(_LONGEST_ANSWER + 1 - len(answer))
        except TimeoutError:
            raise Unreachable(f'Post "{url}": context deadline exceeded') from None
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            raise Unreachable(f'Post "{url}": {error or type(error).__name__}') from error
        if response.status != 200:
            raise Refused(response.status, answer[:200].decode(errors="replace").strip())
        if len(answer) > _LONGEST_ANSWER:
            raise Unreachable(f"the answer is larger than {_LONGEST_ANSWER} bytes")
        return answer

    def _open(self) -> ClientSession:
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, limit_per_host=64), auto_decompress=True)
        return self._session

    def _context(self, ca_pem: bytes) -> ssl.SSLContext:
        """One context for each bundle of authorities: connections are shared among calls with the same one. Raises Unreachable."""
        context = self._contexts.get(ca_pem)
        if context is None:
            try:
                context = trusting(ca_pem)
            except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
                raise Unreachable(f"unable to load root certificates: {error}") from error
            self._contexts[ca_pem] = context
            if len(self._contexts) > _CONTEXTS:
                self._contexts.popitem(last=False)
        else:
            self._contexts.move_to_end(ca_pem)
        return context

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
