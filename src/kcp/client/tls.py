"""The TLS side of an endpoint: an `ssl.SSLContext` from PEM in memory.

Before: `http.HttpTransport`, on its first request; the server's clients of webhooks.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path

from kcp.client.endpoint import Endpoint
from kcp.client.transport import TransportError


def trusting(ca_pem: bytes) -> ssl.SSLContext:
    """Trust these certificates, or the system's if there are none. Raises ssl.SSLError, UnicodeDecodeError.

    Each counts as it is, even if it is no authority's: the certificate that a server shows will do. Clients in Go take it so, and envtest,
    cert-manager's self-signed certificates and many a `caBundle` count on it. Source: Go's crypto/x509, Certificate.Verify.
    """
    context = ssl.create_default_context(cadata=ca_pem.decode("ascii") if ca_pem else None)
    context.verify_flags = context.verify_flags & ~ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def make_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Raises TransportError for certificates or keys that cannot be used."""
    try:
        context = trusting(endpoint.ca_pem)
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
