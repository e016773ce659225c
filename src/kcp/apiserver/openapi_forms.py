"""In which form a client wants an OpenAPI document: JSON, or the protobuf that client-go asks for.

Before: `openapi`. Source: kube-openapi pkg/handler/handler.go, pkg/handler3/handler.go.
"""

from __future__ import annotations

from typing import Final

from kcp.apimachinery.errors import NotAcceptable
from kcp.apiserver.negotiate import by_preference

PROTOBUF_V2: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
PROTOBUF_V3: Final = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
_JSON = "application/json"


def form_of(accept: str, protobuf: str) -> str:
    """JSON, or `protobuf`, which clients name with an "@" in the place of a dot, too. Raises NotAcceptable.

    >>> form_of("application/com.github.proto-openapi.spec.v2@v1.0+protobuf,application/json", PROTOBUF_V2) == PROTOBUF_V2
    True
    """
    for media, _ in by_preference(accept or "*/*"):
        if media in ("*/*", "application/*", _JSON):
            return _JSON
        if media.replace("@", ".") == protobuf:
            return protobuf
    raise NotAcceptable(f"only the following media types are accepted: {_JSON}, {protobuf}")
