"""The TLS side of an endpoint: an `ssl.SSLContext` from PEM in memory.

Before: `http.HttpTransport`, on its first request.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path

from kcp.client.endpoint import Endpoint
from kcp.client.transport import TransportError


def make_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Raises TransportError for certificates or keys that cannot be used."""
    try:
        authorities = endpoint.ca_pem.decode("ascii") if endpoint.ca_pem else None
        context = ssl.create_default_context(cadata=authorities)
        if endpoint.insecure_skip_tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if endpoint.cert_pem:
            _load_pair(context, endpoint.cert_pem, endpoint.key_pem)
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise TransportError(
            f"the certificates of {endpoint.origin or endpoint.server} cannot be used: {error}", where=endpoint.server
        ) from error
    return context


def _load_pair(context: ssl.SSLContext, cert_pem: bytes, key_pem: bytes) -> None:
    """Python takes client certificates from files only: one that others cannot read, gone before this returns."""
    descriptor, path = tempfile.mkstemp(prefix="kcp-client-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(cert_pem.rstrip() + b"\n" + key_pem)
        context.load_cert_chain(path)
    finally:
        Path(path).unlink()
