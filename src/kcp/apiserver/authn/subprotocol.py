"""A bearer token among the subprotocols of a WebSocket: browsers can send no Authorization header with one.

Before: `authn.chain`. After: nothing.
Source: k8s.io/apiserver/pkg/authentication/request/websocket/protocol.go.
"""

from __future__ import annotations

import binascii

from kcp.apimachinery.errors import Unauthorized
from kcp.apiserver.connect.upgrades import BEARER, WEBSOCKET, offers, wanted, without_credentials
from kcp.apiserver.request import Request

_HEADER = "sec-websocket-protocol"


def subprotocol_token(req: Request) -> str:
    """The token, which is then taken off the request; "" without one.

    Raises: Unauthorized for one that cannot be read, for several, and where no other subprotocol is left to speak.
    """
    found = [offer.removeprefix(BEARER) for offer in offers(req, _HEADER) if offer.startswith(BEARER)]
    if not found or wanted(req) != WEBSOCKET:
        return ""
    rest = without_credentials(req)
    if len(found) > 1 or not rest:
        raise Unauthorized("Unauthorized")
    token = _decoded(found[0])
    req.headers = {**req.headers, _HEADER: rest}
    req.repeated = {name: values for name, values in (req.repeated or {}).items() if name != _HEADER}
    return token


def _decoded(text: str) -> str:
    """Base64 for URLs, without padding. Raises Unauthorized."""
    try:
        token = binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), strict_mode=True).decode()
    except ValueError:
        token = ""
    if not token:
        raise Unauthorized("Unauthorized")
    return token
