#!/usr/bin/env python3
"""Write what the product is made of, in CycloneDX's form, and sign it if a key is given: sbom.py FILE [KEY.pem].

Of this environment, without tools of development: kcp-tmc, and whatever it requires, directly or not. The signature is FILE.sig, to be
checked with `openssl dgst -sha256 -verify public.pem -signature FILE.sig FILE`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

PRODUCT = "kcp-tmc"
ROOT = Path(__file__).parents[2]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(name: str) -> set[str]:
    """Names of what is installed because `name` is."""
    found: set[str] = set()
    waiting = [normal(name)]
    while waiting:
        here = waiting.pop()
        if here in found:
            continue
        try:
            wanted = requires(here) or []
        except PackageNotFoundError:
            continue  # required elsewhere only: another platform, another Python
        found.add(here)
        waiting += [normal(re.split(r"[\s;<>=!~\[(]", line)[0]) for line in wanted if "extra ==" not in line]
    return found


def bill() -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "cyclonedx_py",
        "environment",
        "--pyproject",
        str(ROOT / "pyproject.toml"),
        "--output-reproducible",
        "--no-validate",
        sys.executable,
    ]
    document: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    inside = closure(PRODUCT)
    document["components"] = [c for c in document["components"] if normal(c["name"]) in inside]
    references = {c["bom-ref"] for c in document["components"]} | {document["metadata"]["component"]["bom-ref"]}
    kept = [d for d in document["dependencies"] if d["ref"] in references]
    document["dependencies"] = [{**d, "dependsOn": [r for r in d.get("dependsOn", ()) if r in references]} for d in kept]
    return document


def sign(content: bytes, key_file: Path) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(key_file.read_bytes(), None)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(content, ec.ECDSA(hashes.SHA256()))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(content, padding.PKCS1v15(), hashes.SHA256())
    sys.exit(f"{key_file}: must be an EC or an RSA key")


def main() -> None:
    path = Path(sys.argv[1])
    content = (json.dumps(bill(), indent=1, sort_keys=True) + "\n").encode()
    path.write_bytes(content)
    print(f"{path}: {len(json.loads(content)['components'])} components")
    if len(sys.argv) > 2:
        signature = path.with_name(path.name + ".sig")
        signature.write_bytes(sign(content, Path(sys.argv[2])))
        print(signature)


if __name__ == "__main__":
    main()
