"""Certificates of a running server: files followed, its own one renewed in time, and how long they last, as a metric."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from kcp.aio.clock import VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.apiserver.pki_handshake import read_pair
from kcp.apiserver.tls import ServedTLS
from kcp.server.certificates import Certificates
from kcp.server.options import Options
from kcp.server.startoptions import ServingCertificate


async def test_the_own_certificate_is_renewed_a_month_before_it_expires(tmp_path: Path) -> None:
    first = Certificates(Options(root_directory=tmp_path), clock=VirtualClock()).pki.serving
    expires = read_pair(first.certificate, first.key).not_after
    clock = VirtualClock(expires - timedelta(days=30, minutes=10))
    certificates = Certificates(Options(root_directory=tmp_path), clock=clock)
    assert read_pair(first.certificate, first.key).not_after == expires, "not at the start"
    async with Supervisor() as supervisor:
        supervisor.spawn(certificates.run(ServedTLS(certificates.files)), name="certificates")
        await clock.advance(3_700)
    second = read_pair(certificates.files.certificate, certificates.files.key).not_after
    assert second - expires > timedelta(days=300)
    (family,) = certificates.collect()
    assert {sample.labels["certificate"]: sample.value for sample in family.samples}["serving"] == second.timestamp()
    assert certificates.files.certificate.read_bytes() in (tmp_path / "apiserver.crt").read_bytes()


def test_the_pair_in_the_root_directory_is_the_server_s_own_and_follows_it(tmp_path: Path) -> None:
    options = Options(root_directory=tmp_path)
    first = Certificates(options, clock=VirtualClock())
    crt, key = options.serving_copy, options.serving_key_copy
    assert key.read_bytes() == first.files.key.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    assert options.own_certificate.certificate is None
    first.files.key.unlink()
    second = Certificates(options, clock=VirtualClock())
    assert key.read_bytes() == second.files.key.read_bytes()
    assert crt.read_bytes().startswith(second.files.certificate.read_bytes())
    other = Certificates(Options(root_directory=tmp_path / "other"), clock=VirtualClock())
    crt.write_bytes(other.files.certificate.read_bytes())
    key.write_bytes(other.files.key.read_bytes())
    assert Certificates(options, clock=VirtualClock()).files.key == key


async def test_files_that_do_not_fit_are_told_once_and_change_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, given = VirtualClock(), Certificates(Options(root_directory=tmp_path / "given"), clock=VirtualClock())
    served = ServingCertificate(certificate=given.files.certificate, key=given.files.key)
    certificates = Certificates(Options(root_directory=tmp_path / "own", serving=served), clock=clock)
    tls = ServedTLS(certificates.files)
    async with Supervisor() as supervisor:
        supervisor.spawn(certificates.run(tls), name="certificates")
        await clock.advance(1)
        with caplog.at_level(logging.INFO):
            given.files.key.write_bytes(certificates.pki.serving.key.read_bytes())
            await clock.advance(12)
            assert caplog.text.count("kept as they were") == 1
            given.files.certificate.write_bytes(certificates.pki.serving.certificate.read_bytes())
            await clock.advance(6)
            assert "changed and are in force" in caplog.text


def test_faults_of_the_flags_are_named() -> None:
    wrong = ServingCertificate(min_version="VersionTLS10", ciphers=("TLS_RSA_WITH_RC4_128_SHA",))
    problems = list(wrong.problems())
    assert problems[0].startswith("--tls-min-version=VersionTLS10: must be one of VersionTLS12, VersionTLS13")
    assert problems[1].startswith("--tls-cipher-suites=TLS_RSA_WITH_RC4_128_SHA: not supported; choose of TLS_ECDHE")
