"""The certificates of a running server: files that are read again when they change, its own one made anew before it expires, and how long
all of them last, as a metric.

Before: `compose`. After: `apiserver.pki`, `apiserver.tls`. Source: k8s.io/apiserver/pkg/server/dynamiccertificates.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kcp.aio.clock import Clock
from kcp.apiserver.pki import PKI, PKIError, write_private
from kcp.apiserver.pki_handshake import Refused, authorities_expire, read_pair
from kcp.apiserver.tls import ServedTLS, ServingError, TLSFiles
from kcp.server.options import Options

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 5.0
_RENEW_EVERY_S = 3_600.0


class Certificates:
    """`pki` is there once this is made; run `run` as a task when the server listens."""

    def __init__(self, options: Options, *, clock: Clock) -> None:
        """Raises: PKIError, OSError."""
        self._options, self._clock = options, clock
        self.pki = PKI.ensure(options.root_directory, hosts=options.served_names, clock=clock)
        given = options.own_certificate
        self._is_own = given.certificate is None
        self.files = TLSFiles(
            certificate=given.certificate or self.pki.serving.certificate, key=given.key or self.pki.serving.key,
            client_ca=self.pki.client_ca.certificate, more_client_ca=options.authentication.client_ca_file,
            proxy_ca=options.authentication.request_header.client_ca_file, min_version=options.serving.min_version,
            ciphers=options.serving.ciphers,
        )  # fmt: skip
        self._expire: dict[str, float] = {}
        self._look()

    async def run(self, tls: ServedTLS) -> None:
        """Follow the files; what cannot be used changes nothing, and is said once."""
        told, looked_s = "", self._clock.monotonic()
        while True:
            await self._clock.sleep(_LOOK_EVERY_S)
            try:
                if self._is_own and self._clock.monotonic() - looked_s >= _RENEW_EVERY_S:
                    looked_s = self._clock.monotonic()
                    self.pki.renew(self._options.served_names)
                if tls.refresh():
                    self._look()
                    log.info("certificates changed and are in force", extra={"certificate": str(self.files.certificate)})
                told = ""
            except (PKIError, ServingError, OSError) as fault:
                if str(fault) != told:
                    told = str(fault)
                    log.error("certificates are kept as they were: %s", fault)

    def _look(self) -> None:
        """Tell everybody what is served, and remember how long it lasts."""
        served = self.files.certificate.read_bytes() + self.pki.ca_pem().encode()
        copy = self._options.serving_copy
        if copy != self.files.certificate and (not copy.is_file() or copy.read_bytes() != served):
            write_private(copy, served, mode=0o644)
        key_copy, key = self._options.serving_key_copy, self.files.key.read_bytes()
        if self._is_own and (not key_copy.is_file() or key_copy.read_bytes() != key):
            write_private(key_copy, key, mode=0o600)
        self._expire = dict(self._expirations())

    def _expirations(self) -> Iterator[tuple[str, float]]:
        authorities: dict[str, Path | None] = {
            "ca": self.pki.ca.certificate, "client-ca": self.pki.client_ca.certificate, "client-ca-file": self.files.more_client_ca,
            "requestheader-client-ca": self.files.proxy_ca,
        }  # fmt: skip
        try:
            yield "serving", read_pair(self.files.certificate, self.files.key).not_after.timestamp()
            for name, file in authorities.items():
                if file is not None:
                    yield name, authorities_expire(file).timestamp()
        except Refused as fault:
            log.warning("it is not known how long certificates last: %s", fault)

    def collect(self) -> Iterator[Metric]:
        """For one scrape."""
        from prometheus_client.metrics_core import GaugeMetricFamily

        family = GaugeMetricFamily(
            "kcp_certificate_expiration_timestamp_seconds", "When a certificate of this server expires.", labels=("certificate",)
        )
        for name, instant in self._expire.items():
            family.add_metric((name,), instant)
        yield family
