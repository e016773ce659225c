"""Why a server could not be reached, for people: what is wrong, and what to do about it.

Before: `http`. After: nothing.
"""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

from kcp.client.endpoint import Endpoint
from kcp.client.transport import TransportError, UntrustedServer


def broken(error: BaseException, endpoint: Endpoint) -> TransportError:
    """What a client raises for an error of a socket, of TLS or of HTTP."""
    server = endpoint.root_url
    kind = UntrustedServer if isinstance(error, ssl.SSLCertVerificationError) else TransportError
    return kind(f"{server}: {_explain(error, endpoint)}", where=server)


def _explain(error: BaseException, endpoint: Endpoint) -> str:
    source = f" in {endpoint.origin}" if endpoint.origin else ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_certificate(error, source, given=bool(endpoint.ca_pem))
    if isinstance(error, socket.gaierror):
        return f"the host name {urlsplit(endpoint.server).hostname} cannot be resolved; check the server address{source}"
    if isinstance(error, ConnectionRefusedError):
        return f"connection refused: nothing listens there; start the server, or correct its address{source}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error}); is this an https port, and does the server accept the client certificate{source}?"
    if isinstance(error, TimeoutError):
        return f"no answer in time; check that the address{source} is right and not behind a firewall"
    return f"the connection broke ({type(error).__name__}: {error})" if str(error) else f"the connection broke ({type(error).__name__})"


def _explain_certificate(cause: ssl.SSLCertVerificationError, source: str, *, given: bool) -> str:
    why = cause.verify_message
    if cause.verify_code == 62:  # X509_V_ERR_HOSTNAME_MISMATCH
        return f"the server's certificate is for another name ({why}); use a name it is for, or tls-server-name{source}"
    if cause.verify_code == 10:  # X509_V_ERR_CERT_HAS_EXPIRED
        return "the server's certificate has expired; renew it on the server"
    remedy = "the certificate-authority data belongs to another server, replace it" if given else "set certificate-authority-data"
    return f"the server's certificate is signed by an unknown authority ({why}); {remedy}{source}"
