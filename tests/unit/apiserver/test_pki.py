"""Certificates: made once, kept while valid, renewed when expired or wrong; keys private; loading without `cryptography`."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from kcp.aio.clock import SystemClock
from kcp.apiserver import pki_issue
from kcp.apiserver.pki import PKI, Pair, PKIError, write_private
from kcp.apiserver.pki_handshake import Handshake, Refused, handshake

CLOCK = SystemClock()
"""TLS itself looks at real time, so these tests do too."""


def contents(pki: PKI) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in pki.directory.iterdir()}


def meet(pki: PKI, client: Pair | None = None) -> Handshake:
    files = (client.certificate, client.key) if client else None
    server = (pki.serving.certificate, pki.serving.key)
    return handshake(server=server, trusted_by_client=pki.ca.certificate, client=files, trusted_by_server=pki.client_ca.certificate)


def test_everything_is_made_and_fits_together(tmp_path: Path) -> None:
    pki = PKI.ensure(tmp_path, hosts=["kcp.example.org", "10.0.0.7"], clock=CLOCK)
    assert sorted(contents(pki)) == [
        "apiserver.crt", "apiserver.key", "ca.crt", "ca.key", "client-ca.crt", "client-ca.key", "sa.key", "sa.pub",
    ]  # fmt: skip
    hosts = meet(pki).server.hosts
    assert {"localhost", "127.0.0.1", "::1", "kubernetes.default.svc", "kcp.example.org", "10.0.0.7"} <= hosts
    assert pki.ca_pem().startswith("-----BEGIN CERTIFICATE-----")


def test_an_authority_of_others_is_used_under_the_name_that_it_gives_its_key(tmp_path: Path) -> None:
    """Go names keys by SHA-256 since 1.25: authorities that Helm, kubeadm or cert-manager made."""
    key, name, now = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "helm")]), CLOCK.now()
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=99))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    made = made.add_extension(x509.SubjectKeyIdentifier(b"another hash of it. "), critical=False)
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca.crt").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    (tmp_path / "pki" / "ca.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    pki = PKI.ensure(tmp_path, clock=CLOCK)
    assert "localhost" in meet(pki).server.hosts
    first = contents(pki)
    assert contents(PKI.ensure(tmp_path, clock=CLOCK)) == first


def test_private_keys_are_private(tmp_path: Path) -> None:
    pki = PKI.ensure(tmp_path, clock=CLOCK)
    pki.ensure_client("ann", "ann")
    modes = {path.name: path.stat().st_mode & 0o777 for path in pki.directory.iterdir()}
    assert {mode for name, mode in modes.items() if name.endswith(".key")} == {0o600}
    assert pki.directory.stat().st_mode & 0o777 == 0o700


def test_a_second_start_changes_nothing(tmp_path: Path) -> None:
    first = contents(PKI.ensure(tmp_path, hosts=["a.example"], clock=CLOCK))
    assert contents(PKI.ensure(tmp_path, hosts=["a.example"], clock=CLOCK)) == first
    assert contents(PKI.ensure(tmp_path, hosts=[], clock=CLOCK)) == first, "a certificate with more names than needed is kept"


def test_a_new_host_name_renews_the_serving_certificate_only(tmp_path: Path) -> None:
    first = contents(PKI.ensure(tmp_path, clock=CLOCK))
    second = contents(PKI.ensure(tmp_path, hosts=["new.example"], clock=CLOCK))
    assert {name for name in first if first[name] != second[name]} == {"apiserver.crt", "apiserver.key"}


@pytest.mark.parametrize("lifetime", [timedelta(days=-1), timedelta(days=3)])
def test_an_expired_or_soon_expiring_serving_certificate_is_renewed(tmp_path: Path, lifetime: timedelta) -> None:
    pki = PKI.ensure(tmp_path, clock=CLOCK)
    ca = (pki.ca.certificate.read_bytes(), pki.ca.key.read_bytes())
    now = CLOCK.now() - timedelta(days=2)
    old = pki_issue.serving(ca, sorted(meet(pki).server.hosts), now=now, lifetime=lifetime + timedelta(days=1))
    pki.serving.certificate.write_bytes(old.certificate)
    pki.serving.key.write_bytes(old.key)
    assert meet(PKI.ensure(tmp_path, clock=CLOCK)).server.not_after > CLOCK.now() + timedelta(days=300)


@pytest.mark.parametrize("damaged", ["apiserver.crt", "apiserver.key"])
def test_a_damaged_or_foreign_file_is_replaced(tmp_path: Path, damaged: str) -> None:
    pki = PKI.ensure(tmp_path, clock=CLOCK)
    (pki.directory / damaged).write_text("not a certificate")
    meet(PKI.ensure(tmp_path, clock=CLOCK))
    (pki.directory / damaged).write_bytes((pki.directory / f"client-ca.{damaged[-3:]}").read_bytes())
    meet(PKI.ensure(tmp_path, clock=CLOCK))


def test_a_lost_ca_key_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    pki = PKI.ensure(tmp_path, clock=CLOCK)
    pki.ca.key.unlink()
    with pytest.raises(PKIError, match=r"ca\.key is not: put it back, or remove ca\.crt too"):
        PKI.ensure(tmp_path, clock=CLOCK)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "pki").write_text("a file")
    with pytest.raises(PKIError, match=str(tmp_path / "pki")):
        PKI.ensure(tmp_path, clock=CLOCK)


def test_a_client_certificate_names_user_and_groups(tmp_path: Path) -> None:
    pki = PKI.ensure(tmp_path, clock=CLOCK)
    long_name = "system:serviceaccount:a-namespace-with-a-long-name:an-account-with-a-very-long-name-indeed"
    client = meet(pki, pki.ensure_client("ann", long_name, ["system:masters", "devs"])).client
    assert client is not None
    assert dict(client.subject) == {"CN": (long_name,), "O": ("system:masters", "devs")}


def test_a_client_certificate_is_kept_until_it_should_say_something_else(tmp_path: Path) -> None:
    pki = PKI.ensure(tmp_path, clock=CLOCK)
    first = pki.ensure_client("ann", "ann", ["a", "b"]).certificate.read_bytes()
    assert pki.ensure_client("ann", "ann", ["b", "a"]).certificate.read_bytes() == first
    assert pki.ensure_client("ann", "ann", ["c"]).certificate.read_bytes() != first


def test_a_client_certificate_of_another_authority_or_time_is_refused(tmp_path: Path) -> None:
    ours, theirs = PKI.ensure(tmp_path / "ours", clock=CLOCK), PKI.ensure(tmp_path / "theirs", clock=CLOCK)
    with pytest.raises(Refused, match="certificate verify failed|self-signed|unable to get"):
        meet(ours, theirs.ensure_client("ann", "ann"))
    issued = ours.issue_client("ann", lifetime=timedelta(seconds=-60))
    expired = Pair(tmp_path / "c.crt", tmp_path / "c.key")
    expired.certificate.write_text(issued.certificate)
    expired.key.write_text(issued.key)
    with pytest.raises(Refused, match="expired"):
        meet(ours, expired)


def test_loading_needs_no_cryptography(tmp_path: Path) -> None:
    PKI.ensure(tmp_path, clock=CLOCK).ensure_client("ann", "ann")
    code = (
        "import sys; from pathlib import Path; from kcp.aio.clock import SystemClock; from kcp.apiserver.pki import PKI;"
        f"PKI.ensure(Path({str(tmp_path)!r}), clock=SystemClock()).ensure_client('ann', 'ann'); print('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["secret"]
