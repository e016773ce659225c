"""The two filters of auditing: one behind authentication begins a record, one around everything ends it and tells its id.

Two, because who asks is known only inside, and what is answered, errors included, only outside.
Before: the composition root. After: `auditor`.
Source: k8s.io/apiserver/pkg/endpoints/filters/{audit,audit_init}.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from kcp.apiserver.request import Filter, Handler, Request, RequestInfo, Response, and_then

if TYPE_CHECKING:
    from kcp.apiserver.audit.auditor import Auditor
    from kcp.apiserver.audit.record import Record


def _as_parsed(req: Request) -> RequestInfo:
    return req.info


def with_audit(auditor: Auditor, info_of: Callable[[Request], RequestInfo] = _as_parsed) -> Filter:
    """Sets req.audit for requests that the policy wants recorded. Raises InternalError where that is a must and fails."""

    def wrap(handler: Handler) -> Handler:
        async def audited(req: Request) -> Response:
            if req.audit is None:
                req.audit = await auditor.begin(req, info_of(req))
            else:
                auditor.move(req.audit, info_of(req))
            return await handler(req)

        return audited

    return wrap


def with_audited_answers(auditor: Auditor) -> Filter:
    """Records what is answered, before it is sent."""

    def wrap(handler: Handler) -> Handler:
        async def answered(req: Request) -> Response:
            try:
                response = await handler(req)
            except BaseException:  # given up: whatever is an error has become an answer further inside
                if req.audit is not None:
                    auditor.end(req.audit)
                raise
            record = req.audit
            if record is None:
                return response
            if not response.is_open_ended:
                await auditor.complete(record, response.status, req.failure)
                return response
            if record.is_long_running:
                await auditor.start(record, response.status)
            if response.stream is not None:
                response.stream = _follow(auditor, record, response.status, response.stream)
            if response.upgrade is not None:
                response.upgrade = and_then(response.upgrade, lambda: auditor.end(record, response.status))
            return response

        return answered

    return wrap


async def _follow(auditor: Auditor, record: Record, code: int, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async with aclosing(stream) as chunks:  # type: ignore[type-var]  # every stream here is a generator
            async for chunk in chunks:
                yield chunk
    finally:
        auditor.end(record, code)
