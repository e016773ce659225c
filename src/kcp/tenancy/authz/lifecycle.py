"""Groups that only a virtual workspace may put on a request: nobody brings them along.

Before: `server.http`, after authentication and impersonation. After: authorization.
Source: kcp pkg/proxy/options/authentication.go (--authentication-drop-groups).
"""

from __future__ import annotations

from dataclasses import replace

from kcp.apiserver.request import Filter, Handler, Request, Response
from kcp.tenancy.kinds import INITIALIZER_GROUP_PREFIX, TERMINATOR_GROUP_PREFIX

_PREFIXES = (INITIALIZER_GROUP_PREFIX, TERMINATOR_GROUP_PREFIX)


def without_lifecycle_groups() -> Filter:
    """Takes the groups of initializers and terminators off whoever asks."""

    def wrap(handler: Handler) -> Handler:
        async def stripped(req: Request) -> Response:
            for group in req.user.groups:
                if group.startswith(_PREFIXES):
                    req.user = replace(req.user, groups=tuple(g for g in req.user.groups if not g.startswith(_PREFIXES)))
                    break
            return await handler(req)

        return stripped

    return wrap
