"""URLs.

Before: `overloads.standard`. Source: k8s.io/apiserver/pkg/cel/library/urls.go, Go's net/url (ParseRequestURI).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from kcp.apimachinery.cel.costs import walk
from kcp.apimachinery.cel.errors import EvaluationError
from kcp.apimachinery.cel.overloads import Overload, declare
from kcp.apimachinery.cel.types import Type, opaque

TYPE = opaque("kubernetes.URL")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:", re.ASCII)
_HOST = re.compile(r"(?:[^@]*@)?(?P<host>\[[0-9a-fA-F:.%]+\]|[^:\[\]\s<>\"%]*)(?::(?P<port>\d*))?", re.ASCII)
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class URL:
    parts: SplitResult

    @property
    def cel_type(self) -> Type:
        return TYPE

    @property
    def host(self) -> str:
        return self.parts.netloc.rpartition("@")[2]

    @property
    def hostname(self) -> str:
        found = _HOST.fullmatch(self.host)
        return found.group("host").strip("[]") if found else ""

    @property
    def port(self) -> str:
        found = _HOST.fullmatch(self.host)
        return (found.group("port") if found else "") or ""

    @property
    def escaped_path(self) -> str:
        return quote(self.parts.path, safe="/%:@!$&'()*+,;=~-._")

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.parts.query, keep_blank_values=True)


def fault(text: str) -> str:
    """Why `text` is neither an absolute URI nor an absolute path, "" if it is one."""
    if not text:
        return f'parse "{text}": empty url'
    if _CONTROL.search(text):
        return f'parse "{text}": net/url: invalid control character in URL'
    if not text.startswith("/") and not _SCHEME.match(text):
        return f'parse "{text}": invalid URI for request'
    try:
        parts = urlsplit(text)
    except ValueError as error:
        return f'parse "{text}": {error}'
    host = _HOST.fullmatch(parts.netloc)
    if host is None:
        return f'parse "{text}": invalid port or host in "{parts.netloc}"'
    bad = _BAD_ESCAPE.search(parts.path)
    return f'parse "{text}": invalid URL escape "{parts.path[bad.start() : bad.start() + 3]}"' if bad else ""


def parse(text: str) -> URL:
    wrong = fault(text)
    if wrong:
        raise EvaluationError(f"URL parse error during conversion from string: {wrong}")
    return URL(urlsplit(text))


OVERLOADS: tuple[Overload, ...] = (
    declare("url(string) -> kubernetes.URL", parse, walk(keeps_size=True)),
    declare("isURL(string) -> bool", lambda text: not fault(text), walk()),
    declare("kubernetes.URL.getScheme() -> string", lambda url: url.parts.scheme),
    declare("kubernetes.URL.getHost() -> string", lambda url: url.host),
    declare("kubernetes.URL.getHostname() -> string", lambda url: url.hostname),
    declare("kubernetes.URL.getPort() -> string", lambda url: url.port),
    declare("kubernetes.URL.getEscapedPath() -> string", lambda url: url.escaped_path),
    declare("kubernetes.URL.getQuery() -> map(string, list(string))", lambda url: url.query),
)
