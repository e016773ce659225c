"""Users that a trusted proxy names in headers: it proves itself with a client certificate of an authority of its own.

Before: `authn.chain`, ahead of all other ways. After: nothing.
Source: k8s.io/apiserver/pkg/authentication/request/headerrequest/requestheader.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from kcp.apimachinery.errors import Unauthorized
from kcp.apiserver.authn.identity import as_authenticated
from kcp.apiserver.request import Request
from kcp.registry.backend import UserInfo


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """Names of headers, in lower case."""

    names: Sequence[str] = ("x-remote-user",)
    """The first with a value names the user."""
    uids: Sequence[str] = ()
    groups: Sequence[str] = ("x-remote-group",)
    extra_prefixes: Sequence[str] = ("x-remote-extra-",)
    allowed_proxies: frozenset[str] = frozenset()
    """Common names of proxies' certificates; empty: all that the authority signed."""

    def user(self, req: Request) -> UserInfo | None:
        """Whom the proxy names, whose headers are then taken off the request; None without a proxy or a name.

        Raises Unauthorized for a proxy that is not allowed to.
        """
        proxy = req.peer_proxy
        if proxy is None:
            return None
        if self.allowed_proxies and proxy not in self.allowed_proxies:
            raise Unauthorized(f"x509: subject with cn={proxy} is not in the allowed list")
        name = next(self._values(req, self.names), "")
        if not name:
            return None
        uid = next(self._values(req, self.uids), "")
        made = UserInfo(name, tuple(self._values(req, self.groups)), uid, self._extra(req))
        req.headers = {header: value for header, value in req.headers.items() if not self._is_ours(header)}
        return as_authenticated(made)

    def _extra(self, req: Request) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for prefix in self.extra_prefixes:
            for header in req.headers:
                if header.startswith(prefix):
                    key = unquote(header[len(prefix) :])
                    found[key] = (*found.get(key, ()), *req.values(header))
        return found

    @staticmethod
    def _values(req: Request, headers: Sequence[str]) -> Iterator[str]:
        return (value for header in headers for value in req.values(header) if value)

    def _is_ours(self, header: str) -> bool:
        return header in (*self.names, *self.uids, *self.groups) or header.startswith(tuple(self.extra_prefixes))
