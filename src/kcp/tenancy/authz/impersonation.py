"""As whom nobody may act, and where: special groups stay with those who have them, and who is impersonated is so in one workspace only.

Before: `apiserver.authn.impersonation`. After: nothing.
Source: kcp pkg/server/filters/impersonation.go. Ours: warrants inside the impersonated user are held to the same rules.
"""

from __future__ import annotations

from collections.abc import Iterator

from kcp.apimachinery.errors import Forbidden
from kcp.apiserver.authz.effective import effective_groups, scoped, warrants
from kcp.apiserver.request import Request
from kcp.registry.backend import UserInfo
from kcp.tenancy import kinds

_SPECIAL = frozenset((kinds.MASTERS, "system:nodes"))
_SPECIAL_PREFIXES = ("system:kcp:", "apis.kcp.io:binding:system:")
_MAX_DEPTH = 8


def guard_impersonation(asking: UserInfo, wanted: UserInfo, req: Request) -> UserInfo:
    """The impersonated user, scoped to the request's cluster. Raises Forbidden."""
    cluster = req.info.cluster
    held = effective_groups(asking, cluster)
    if kinds.MASTERS in held:
        return wanted
    for group in _groups(wanted, 0):
        if _is_special(group) and group not in held:
            raise Forbidden(f'impersonation is not allowed for the requestor: only members of group "{group}" can act as one')
    return scoped(wanted, cluster)


def _is_special(group: str) -> bool:
    return group in _SPECIAL or group.startswith(_SPECIAL_PREFIXES)


def _groups(user: UserInfo, depth: int) -> Iterator[str]:
    """Those of the user and of all its warrants."""
    if depth > _MAX_DEPTH:
        raise Forbidden("impersonation is not allowed for the requestor: its warrants are nested too deeply")
    yield from user.groups
    for warrant in warrants(user):
        yield from _groups(warrant, depth + 1)
