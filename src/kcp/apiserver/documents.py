"""Documents that a server makes once and serves often: an ETag, 304 for who has it, and a bounded memory of them.

Before: `discovery`, `openapi`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from kcp.apiserver.request import Request, Response


@dataclass(frozen=True, slots=True)
class Document:
    body: bytes
    content_type: str
    etag: str

    @classmethod
    def of(cls, body: bytes, content_type: str = "application/json") -> Document:
        return cls(body, content_type, hashlib.sha256(body).hexdigest()[:32].upper())


class DocumentCache:
    """Keeps the documents used last. Keys say everything the document depends on, so nothing in here is ever stale."""

    def __init__(self, limit: int = 128) -> None:
        self._limit = limit
        self._documents: OrderedDict[Hashable, Document] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Document]) -> Document:
        found = self._documents.get(key)
        if found is not None:
            self._documents.move_to_end(key)
            return found
        made = self._documents[key] = make()
        if len(self._documents) > self._limit:
            self._documents.popitem(last=False)
        return made

    def statistics(self) -> dict[str, int]:
        return {"documents": len(self._documents), "bytes": sum(len(d.body) for d in self._documents.values())}


def respond(request: Request, document: Document, *further: tuple[str, str]) -> Response:
    """The document, or 304 Not Modified for a client that has it. Source: k8s.io/apiserver/pkg/endpoints/discovery/aggregated/etag.go."""
    headers = (("etag", f'"{document.etag}"'), ("vary", "Accept"), *further)
    if request.headers.get("if-none-match", "").strip('W/"') == document.etag:
        return Response(304, headers=headers, content_type="")
    return Response(body=document.body, content_type=document.content_type, headers=headers)
