"""Making keys and certificates (ECDSA P-256). The only importer of `cryptography.x509`; imported only when something must be made.

Before: `pki`, `pki_files`. Source of the shapes: kubeadm's phases/certs, k8s.io/client-go/util/cert.
"""

from __future__ import annotations

import ipaddress
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Authority: TypeAlias = tuple[bytes, bytes]
"""PEM of a CA certificate and of its key."""
_PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

USAGES = {"server auth": ExtendedKeyUsageOID.SERVER_AUTH, "client auth": ExtendedKeyUsageOID.CLIENT_AUTH}
"""By cert-manager's names. What is signed and agreed on keys with is the same for all: digital signature, key encipherment."""
_BACKDATE = timedelta(minutes=5)
"""So that machines whose clocks differ a little accept a new certificate."""


@dataclass(frozen=True, slots=True)
class Issued:
    """PEM texts."""

    certificate: bytes
    """Of a key pair: the public key."""
    key: bytes


@dataclass(frozen=True, slots=True)
class Described:
    """What a certificate says."""

    common_name: str
    names: tuple[str, ...]
    usages: tuple[str, ...]
    """Of `USAGES`, or an object identifier."""
    not_after: datetime
    is_authority: bool


def authority(name: str, *, now: datetime, lifetime: timedelta) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"{name}@{int(now.timestamp())}", ())
    builder = _builder(subject, subject, key.public_key(), now, lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(_usage(is_ca=True), critical=True)
    return Issued(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), _pem(key))


def serving(signer: Authority, hosts: Sequence[str], *, now: datetime, lifetime: timedelta) -> Issued:
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    return _leaf(signer, _name("kcp-apiserver", ()), ExtendedKeyUsageOID.SERVER_AUTH, names, now=now, lifetime=lifetime)


def client(signer: Authority, name: str, groups: Sequence[str], *, now: datetime, lifetime: timedelta) -> Issued:
    return _leaf(signer, _name(name, groups), ExtendedKeyUsageOID.CLIENT_AUTH, None, now=now, lifetime=lifetime)


def leaf(signer: Authority, common_name: str, hosts: Sequence[str], usages: Sequence[str], *, now: datetime, lifetime: timedelta) -> Issued:
    """Args: usages: of `USAGES`."""
    key, names = ec.generate_private_key(ec.SECP256R1()), x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    oids = [USAGES[usage] for usage in usages]
    signed = _signed(signer, _name(common_name, ()), key.public_key(), oids, names if hosts else None, now=now, lifetime=lifetime)
    return Issued(signed, _pem(key))


def renewed(signer: Authority, old: bytes, *, now: datetime, lifetime: timedelta) -> Issued:
    """A certificate that says what `old` does, with a key of its own, valid from now."""
    held, key = x509.load_pem_x509_certificate(old), ec.generate_private_key(ec.SECP256R1())
    names = _extension(held, x509.SubjectAlternativeName)
    usages = _extension(held, x509.ExtendedKeyUsage) or ()
    return Issued(_signed(signer, held.subject, key.public_key(), list(usages), names, now=now, lifetime=lifetime), _pem(key))


def describe(certificate: bytes) -> Described:
    """What a PEM certificate says, the first one of a file. Raises ValueError."""
    held = x509.load_pem_x509_certificate(certificate)
    common = held.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    names = _extension(held, x509.SubjectAlternativeName) or ()
    usages = {oid: name for name, oid in USAGES.items()}
    constraints = _extension(held, x509.BasicConstraints)
    return Described(
        str(common[-1].value) if common else "",
        tuple(str(name.value) for name in names),
        tuple(usages.get(oid, oid.dotted_string) for oid in _extension(held, x509.ExtendedKeyUsage) or ()),
        held.not_valid_after_utc,
        constraints is not None and constraints.ca,
    )


def is_signed_by(certificate: bytes, authority_certificate: bytes) -> bool:
    held, signer = x509.load_pem_x509_certificate(certificate), x509.load_pem_x509_certificate(authority_certificate)
    try:
        held.verify_directly_issued_by(signer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def is_key_of(certificate: bytes, key: bytes) -> bool:
    try:
        return load_pem_private_key(key, None).public_key() == x509.load_pem_x509_certificate(certificate).public_key()
    except ValueError:
        return False


def sign_request(signer: Authority, request: bytes, *, now: datetime, lifetime: timedelta) -> bytes:
    """The client certificate that a PEM request asks for: its subject and key, nothing else of it. Raises ValueError."""
    asked = x509.load_pem_x509_csr(request)
    key = asked.public_key()
    if not asked.is_signature_valid or not isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey, ed25519.Ed25519PublicKey)):
        raise ValueError("the request is not signed by its own EC, RSA or Ed25519 key")
    return _signed(signer, asked.subject, key, [ExtendedKeyUsageOID.CLIENT_AUTH], None, now=now, lifetime=lifetime)


def key_pair() -> Issued:
    """A bare key pair, for signing tokens."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Issued(_public_pem(key), _pem(key))


def public_key(private_pem: bytes) -> bytes:
    key = load_pem_private_key(private_pem, None)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


_E = TypeVar("_E", bound=x509.ExtensionType)


def _extension(held: x509.Certificate, kind: type[_E]) -> _E | None:
    try:
        return held.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _leaf(
    signer: Authority, subject: x509.Name, usage: x509.ObjectIdentifier, names: x509.SubjectAlternativeName | None, *,
    now: datetime, lifetime: timedelta,
) -> Issued:  # fmt: skip
    key = ec.generate_private_key(ec.SECP256R1())
    return Issued(_signed(signer, subject, key.public_key(), [usage], names, now=now, lifetime=lifetime), _pem(key))


def _signed(
    signer: Authority, subject: x509.Name, key: _PublicKey, usages: Sequence[x509.ObjectIdentifier],
    names: x509.SubjectAlternativeName | None, *, now: datetime, lifetime: timedelta,
) -> bytes:  # fmt: skip
    issuer = x509.load_pem_x509_certificate(signer[0])
    signing_key = load_pem_private_key(signer[1], None)
    if not isinstance(signing_key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise ValueError("the key of the certificate authority is neither an EC nor an RSA key")
    builder = _builder(subject, issuer.subject, key, now, lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(is_ca=False), critical=True)
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    builder = builder.add_extension(_key_identifier(issuer), critical=False)
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signing_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """What the authority calls its own key: others than us hash it otherwise (Go since 1.25), and OpenSSL compares."""
    try:
        named = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(named)


def _builder(subject: x509.Name, issuer: x509.Name, key: _PublicKey, now: datetime, lifetime: timedelta) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - _BACKDATE).not_valid_after(now + lifetime)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=not is_ca, data_encipherment=False, key_agreement=False,
        key_cert_sign=is_ca, crl_sign=is_ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(common_name: str, organizations: Sequence[str]) -> x509.Name:
    """The lengths X.509 sets for names do not hold for Kubernetes' users and groups."""
    parts = [_attribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
    return x509.Name([*parts, _attribute(NameOID.COMMON_NAME, common_name)])


def _attribute(oid: x509.ObjectIdentifier, value: str) -> x509.NameAttribute[str]:
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # it warns of the length where it does not refuse it
        return x509.NameAttribute(oid, value, _validate=False)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
