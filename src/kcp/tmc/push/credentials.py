"""The kubeconfig in a SyncTarget's Secret, and what of it a server may follow: nothing that reads its files or runs its programs. Pure.

Before: `controller`. After: `client.kubeconfig`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.client import kubeconfig
from kcp.client.kubeconfig import KubeConfigEntry, KubeConfigError

KEYS = ("kubeconfig", "value")
"""Of the Secret's data; the first that is there. Source: Cluster API keeps it under `value`."""
_UNSAFE = {
    "cluster": ("certificate-authority",),
    "user": ("client-certificate", "client-key", "tokenFile", "exec", "auth-provider"),
}
"""They name files and programs of the server, which whoever may write a Secret must not reach."""


def entry_of(secret: JSONObject, endpoint: str = "") -> KubeConfigEntry:
    """The current context of a Secret's kubeconfig. Args: endpoint: the server's address, in place of the one it names.

    Raises: KubeConfigError with what is wrong.
    """
    where = f"Secret {meta.namespace(secret)}/{meta.name(secret)}"
    document = _document(secret, where)
    if unsafe := sorted(set(_unsafe(document))):
        raise KubeConfigError(f"{where}: {', '.join(unsafe)} may not be used here; put certificates and tokens into the kubeconfig itself")
    entry = kubeconfig.resolve(document, source=Path(where))
    return entry.at_server(endpoint) if endpoint else entry


def _document(secret: JSONObject, where: str) -> JSONObject:
    import yaml

    data = secret.get("data") or {}
    text = next((data[key] for key in KEYS if key in data), None)
    if text is None:
        raise KubeConfigError(f"{where} has no key {' or '.join(KEYS)}")
    try:
        document = yaml.safe_load(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, yaml.YAMLError) as error:
        raise KubeConfigError(f"{where} holds no kubeconfig: {error}") from error
    if not isinstance(document, dict):
        raise KubeConfigError(f"{where} holds no kubeconfig")
    return document


def _unsafe(document: Mapping[str, Any]) -> Iterator[str]:
    for kind, fields in _UNSAFE.items():
        for entry in document.get(f"{kind}s") or ():
            value = (entry.get(kind) if isinstance(entry, dict) else None) or {}
            yield from (field for field in fields if isinstance(value, dict) and value.get(field))
