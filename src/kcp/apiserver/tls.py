"""The server's side of TLS: certificate, client authorities, versions and ciphers, all of which may change under a running server.

Before: `serving`; `server.certificates`, which looks at the files. After: `peerauthorities`.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcp.apiserver.peerauthorities import PeerAuthorities
from kcp.apiserver.pki_handshake import NO_CHECK_TIME

log = logging.getLogger(__name__)

MIN_VERSIONS = {"VersionTLS12": ssl.TLSVersion.TLSv1_2, "VersionTLS13": ssl.TLSVersion.TLSv1_3}
"""Under the names that kube-apiserver has for them; older ones are broken."""
CIPHER_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
"""Of TLS 1.2: IANA's names, as kube-apiserver takes them, and OpenSSL's. All of them keep old sessions secret when a key is lost, and
authenticate what they encrypt. Those of TLS 1.3 are always on. Source: k8s.io/component-base/cli/flag/ciphersuites_flag.go."""


class ServingError(Exception):
    """The server cannot be started; the message says which file and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TLSFiles:
    """PEM files of the server's side of TLS."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    """Who signs client certificates. A client may show one; if it does, it must be valid."""
    more_client_ca: Path | None = None
    """Who else signs client certificates. Only beside `client_ca`."""
    proxy_ca: Path | None = None
    """Who signs the certificates of proxies that name users in headers. Only beside `client_ca`."""
    min_version: str = "VersionTLS12"
    ciphers: Sequence[str] = ()
    """Of `CIPHER_SUITES`; () for all of them."""

    @property
    def all(self) -> Sequence[Path]:
        """Every file that is read."""
        given = (self.certificate, self.key, self.client_ca, self.more_client_ca, self.proxy_ca)
        return [file for file in given if file is not None]


def _authorities(files: TLSFiles | None) -> PeerAuthorities | None:
    """None where there is one only. Raises ServingError."""
    if files is None or files.client_ca is None or files.proxy_ca is None:
        return None
    try:
        of_users = [files.client_ca] if files.more_client_ca is None else [files.client_ca, files.more_client_ca]
        return PeerAuthorities(of_users, [files.proxy_ca])
    except (OSError, ValueError) as fault:
        raise ServingError(f"cannot read the client CAs {files.client_ca} and {files.proxy_ca}: {fault}") from fault


class ServedTLS(ssl.SSLContext):
    """The context that a server listens with: each handshake is done by the one in force, which `refresh` replaces."""

    _current: ssl.SSLContext

    def __new__(cls, files: TLSFiles) -> ServedTLS:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, files: TLSFiles) -> None:
        """Raises ServingError."""
        self.files = files
        self._content = _read(files)
        self._current, self.authorities = tls_context(files), _authorities(files)

    def refresh(self) -> bool:
        """Take what the files hold now; True if that is something else. Connections that are open stay as they are.

        Raises: ServingError if it cannot be served with, and goes on with what it had: a pair may be half written.
        """
        content = _read(self.files)
        if content == self._content:
            return False
        self._current, self.authorities = tls_context(self.files), _authorities(self.files)
        self._content = content
        return True

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return self._current.wrap_bio(incoming, outgoing, *args, **kwargs)


def _read(files: TLSFiles) -> list[bytes]:
    return [_content(file) for file in files.all]


def _content(file: Path) -> bytes:
    """b"" of what cannot be read: whoever loads it says why."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


_NOT_TLS = b"Client sent an HTTP request to an HTTPS server.\n"
_TELL_NOT_TLS = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(_NOT_TLS)


class _ToldTLS(ssl.SSLContext):
    """Its handshakes have the way to the client without TLS at hand."""

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        made = super().wrap_bio(incoming, outgoing, *args, **kwargs)
        if isinstance(made, _LoggedTLS):
            made.plain = outgoing
        return made


class _LoggedTLS(ssl.SSLObject):
    """Says in the log why a client's certificate was refused: the client itself is told only an alert. Tells HTTP that it is not TLS."""

    plain: ssl.MemoryBIO | None = None
    """What is written here is sent as it is."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLError as fault:
            if fault.reason == "HTTP_REQUEST" and self.plain is not None:
                self.plain.write(_TELL_NOT_TLS + _NOT_TLS)
                self.plain = None
                raise ssl.SSLWantReadError from None  # sends it, and ends with the client's connection or the handshake's time
            self._log(fault)
            raise

    def _log(self, fault: ssl.SSLError) -> None:
        if isinstance(fault, ssl.SSLCertVerificationError):
            log.warning(
                "a client certificate was refused: %s; the client needs a new one from this server's client CA", fault.verify_message
            )


def tls_context(files: TLSFiles) -> ssl.SSLContext:
    """HTTP/1.1, session tickets; with a client CA, client certificates are asked for but not required.

    Whether a client certificate is valid in time is left to authentication, which answers 401 Unauthorized: a handshake that fails
    tells its client nothing, in TLS 1.3 not even that it has failed.
    Raises: ServingError.
    """
    context = _ToldTLS(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = MIN_VERSIONS[files.min_version]
    context.set_ciphers(":".join(CIPHER_SUITES[name] for name in files.ciphers or CIPHER_SUITES))
    context.set_alpn_protocols(["http/1.1"])
    context.sslobject_class = _LoggedTLS
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as fault:
        raise ServingError(f"cannot serve with certificate {files.certificate} and key {files.key}: {fault}") from fault
    for authority in (files.client_ca, files.more_client_ca, files.proxy_ca):
        if authority is None:
            continue
        try:
            context.load_verify_locations(authority)
        except (OSError, ssl.SSLError) as fault:
            raise ServingError(f"cannot read the client CA {authority}: {fault}") from fault
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= NO_CHECK_TIME
    return context
