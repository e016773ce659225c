"""`/.well-known/openid-configuration` and `/openid/v1/jwks`: by which others verify the tokens of service accounts (KEP-1393).

Before: the router; service accounts may ask (ClusterRole system:service-account-issuer-discovery). After: `serviceaccounts`.
Source: k8s.io/kubernetes/pkg/serviceaccount/openidmetadata.go, pkg/routes/openidmetadata.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from kcp.apiserver.authn.serviceaccounts import ServiceAccountTokens
from kcp.apiserver.request import Handler, Request, Response

CONFIGURATION, KEYS = "/.well-known/openid-configuration", "/openid/v1/jwks"
_FOR_AN_HOUR = (("cache-control", "public, max-age=3600"),)


def issuer_discovery(tokens: ServiceAccountTokens) -> Mapping[str, Handler]:
    """Handlers by path; none for an issuer that is no URL for documents to be about."""
    parts = urlsplit(tokens.issuer)
    if parts.scheme != "https" or parts.query or parts.fragment:
        return {}

    async def configuration(req: Request) -> Response:
        told: dict[str, Any] = {
            "issuer": tokens.issuer,
            "jwks_uri": tokens.jwks_uri or f"https://{req.headers.get('host', '')}{KEYS}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({key["alg"] for key in tokens.keys.published()}),
        }
        return Response(body=orjson.dumps(told), headers=_FOR_AN_HOUR)

    async def keys(_: Request) -> Response:
        return Response(200, orjson.dumps({"keys": tokens.keys.published()}), "application/jwk-set+json", _FOR_AN_HOUR)

    return {CONFIGURATION: configuration, KEYS: keys}
