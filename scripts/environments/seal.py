#!/usr/bin/env python3
"""Make the Secrets of an environment, and seal them for the Sealed Secrets controller of its cluster: what is written may be committed.

    kubectl -n kube-system get secret -l sealedsecrets.bitnami.com/sealed-secrets-key=active \\
      -o jsonpath='{.items[-1:].data.tls\\.crt}' | base64 -d > cluster.crt
    scripts/environments/seal.py --cert cluster.crt --namespace kcp-system > environments/production/sealed-secrets.yaml

Two Secrets: kcp-identity (authorities, signing key, administrators' tokens: what `kcp start` makes in its root directory) and
kcp-encryption (an EncryptionConfiguration with a new key). Each run makes new ones: seal once, and keep the plain ones nowhere but in the
cluster.
Source of the form: sealed-secrets pkg/crypto HybridEncrypt (2 bytes length, RSA-OAEP of a session key, AES-GCM), scope strict.
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kcp.aio.clock import SystemClock
from kcp.apiserver.pki import PKI
from kcp.server.tokens import AdminTokens

_NO_NONCE = bytes(12)
"""Each session key seals one text."""


def sealed(plain: bytes, key: rsa.RSAPublicKey, label: str) -> str:
    session = os.urandom(32)
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=label.encode())
    wrapped = key.encrypt(session, oaep)
    return base64.b64encode(len(wrapped).to_bytes(2, "big") + wrapped + AESGCM(session).encrypt(_NO_NONCE, plain, None)).decode()


def sealed_secret(name: str, namespace: str, data: dict[str, bytes], key: rsa.RSAPublicKey) -> dict[str, Any]:
    about = {"name": name, "namespace": namespace}
    hidden = {entry: sealed(plain, key, f"{namespace}/{name}") for entry, plain in sorted(data.items())}
    spec = {"encryptedData": hidden, "template": {"metadata": about, "type": "Opaque"}}
    return {"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": about, "spec": spec}


def identity() -> dict[str, bytes]:
    """What the chart's value identity.existingSecret asks for."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        pki = PKI.ensure(root, clock=SystemClock()).directory
        AdminTokens.ensure(root / "admin-token-store")
        names = ("ca.crt", "ca.key", "client-ca.crt", "client-ca.key", "sa.key")
        return {**{name: (pki / name).read_bytes() for name in names}, "admin-token-store": (root / "admin-token-store").read_bytes()}


def encryption() -> dict[str, bytes]:
    """What encryption.existingSecret asks for: Secrets and ConfigMaps are encrypted, what was stored before is read."""
    key = {"name": "key1", "secret": base64.b64encode(os.urandom(32)).decode()}
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets", "configmaps"], "providers": [{"aesgcm": {"keys": [key]}}, {"identity": {}}]}],
    }
    return {"encryption.yaml": yaml.safe_dump(document, sort_keys=False).encode()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cert", type=Path, required=True, help="certificate of the cluster's Sealed Secrets controller")
    parser.add_argument("--namespace", "-n", default="kcp-system")
    told = parser.parse_args()
    key = x509.load_pem_x509_certificate(told.cert.read_bytes()).public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        sys.exit(f"{told.cert}: the key of a Sealed Secrets controller is an RSA key")
    made = {"kcp-identity": identity(), "kcp-encryption": encryption()}
    print("# Made by scripts/environments/seal.py. Only the controller of the cluster that it was sealed for can read it.")
    yaml.safe_dump_all(
        [sealed_secret(name, told.namespace, data, key) for name, data in made.items()], sys.stdout, sort_keys=False, width=1 << 16
    )


if __name__ == "__main__":
    main()
