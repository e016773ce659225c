"""How values are sealed and opened: the formats that kube-apiserver writes, so that either program reads what the other has stored.

    k8s:enc:<provider>:v1:<key name>:<initialisation vector or nonce><ciphertext>

aesgcm also authenticates the key under which a value is stored: it cannot be moved to another. `cryptography` and PyNaCl are imported
with the first key of theirs. Before: `store`. After: nothing.
Source: k8s.io/apiserver/pkg/storage/value/encrypt/{aes,secretbox,identity}, value/transformer.go (prefixTransformers).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kcp.apimachinery.gvk import GroupResource
from kcp.storage.encryption.config import Key, Provider, Rule
from kcp.storage.interface import SEALED

_AES_BLOCK = 16
_GCM_NONCE = 12


class CannotOpenError(Exception):
    """No key opens the value; the message says which ones were tried."""


class Cipher(Protocol):
    """One key. `name` is the key under which the value is stored."""

    def seal(self, value: bytes, name: bytes) -> bytes: ...

    def open(self, sealed: bytes, name: bytes) -> bytes:
        """Raises ValueError."""


class _CBC:
    """AES in CBC mode with PKCS #7 padding; nothing authenticates it."""

    def __init__(self, secret: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import algorithms

        self._algorithm = algorithms.AES(secret)

    def seal(self, value: bytes, name: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher as Primitive
        from cryptography.hazmat.primitives.ciphers import modes

        vector, pad = os.urandom(_AES_BLOCK), _AES_BLOCK - len(value) % _AES_BLOCK
        encryptor = Primitive(self._algorithm, modes.CBC(vector)).encryptor()
        return vector + encryptor.update(value + bytes([pad]) * pad) + encryptor.finalize()

    def open(self, sealed: bytes, name: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher as Primitive
        from cryptography.hazmat.primitives.ciphers import modes

        decryptor = Primitive(self._algorithm, modes.CBC(sealed[:_AES_BLOCK])).decryptor()
        padded = decryptor.update(sealed[_AES_BLOCK:]) + decryptor.finalize()
        pad = padded[-1] if padded else 0
        if not 0 < pad <= _AES_BLOCK or padded[-pad:] != bytes([pad]) * pad:
            raise ValueError("its padding is wrong")
        return padded[:-pad]


class _GCM:
    def __init__(self, secret: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aead = AESGCM(secret)

    def seal(self, value: bytes, name: bytes) -> bytes:
        nonce = os.urandom(_GCM_NONCE)
        return nonce + self._aead.encrypt(nonce, value, name)

    def open(self, sealed: bytes, name: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(sealed[:_GCM_NONCE], sealed[_GCM_NONCE:], name)
        except InvalidTag:
            raise ValueError("its authentication is wrong") from None


class _SecretBox:
    """XSalsa20 and Poly1305."""

    def __init__(self, secret: bytes) -> None:
        from nacl.secret import SecretBox

        self._box = SecretBox(secret)

    def seal(self, value: bytes, name: bytes) -> bytes:
        return bytes(self._box.encrypt(value))

    def open(self, sealed: bytes, name: bytes) -> bytes:
        from nacl.exceptions import CryptoError

        try:
            return bytes(self._box.decrypt(sealed))
        except CryptoError:
            raise ValueError("its authentication is wrong") from None


_CIPHERS: dict[str, Callable[[bytes], Cipher]] = {"aescbc": _CBC, "aesgcm": _GCM, "secretbox": _SecretBox}


@dataclass(frozen=True, slots=True)
class _Named:
    prefix: bytes
    cipher: Cipher

    @classmethod
    def of(cls, kind: str, key: Key) -> _Named:
        return cls(SEALED + f"{kind}:v1:{key.name}:".encode(), _CIPHERS[kind](key.secret))


class Sealing:
    """What is done with the values of a resource. With no rule for it, and after the last one that opens, values are as they are."""

    def __init__(self, providers: Sequence[Provider] = ()) -> None:
        self._keys = [_Named.of(provider.kind, key) for provider in providers for key in provider.keys]
        self._first = self._keys[0] if providers and providers[0].keys else None
        self._takes_open = not providers or any(provider.kind == "identity" for provider in providers)

    def seal(self, value: bytes, name: bytes) -> bytes:
        if self._first is None:
            return value
        return self._first.prefix + self._first.cipher.seal(value, name)

    def open(self, value: bytes, name: bytes) -> bytes:
        """Raises CannotOpenError."""
        if not value.startswith(SEALED):
            if self._takes_open:
                return value
            raise CannotOpenError("it is not encrypted, and no provider identity of its resource takes that")
        tried = 0
        for key in self._keys:
            if not value.startswith(key.prefix):
                continue
            tried += 1
            try:
                return key.cipher.open(value[len(key.prefix) :], name)
            except ValueError:
                continue  # another key may have the same name
        why = "whose secret is another" if tried else "which is not there"
        raise CannotOpenError(f"it is encrypted by {_told(value)}, {why}")

    def is_current(self, value: bytes) -> bool:
        """Whether a stored value is as it would be written now."""
        return value.startswith(self._first.prefix) if self._first is not None else not value.startswith(SEALED)


class Sealings:
    """Those of a configuration, by resource."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = [(rule, Sealing(rule.providers)) for rule in rules]
        self._plain = Sealing()

    def of(self, resource: GroupResource) -> Sealing:
        if not resource.resource:
            return self._plain  # a mark of the store itself, see `storage.keyspace`
        return next((sealing for rule, sealing in self._rules if rule.names(resource)), self._plain)


def _told(value: bytes) -> str:
    """Provider and key of a sealed value, for people.

    >>> _told(b"k8s:enc:aescbc:v1:key1:...")
    'provider aescbc with key "key1"'
    """
    kind, _, rest = value[len(SEALED) :].partition(b":")
    name = rest.partition(b":")[2].partition(b":")[0]
    return f'provider {kind.decode(errors="replace")} with key "{name.decode(errors="replace")}"'
