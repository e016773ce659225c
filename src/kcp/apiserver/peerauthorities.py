"""Which authority signed a client's certificate: that of users, or that of proxies, who say in headers for whom they ask.

TLS trusts both; who may prove what is not the same, so the verified chain is looked at once per connection. A resumed session has no
chain: what its certificate proved in the full handshake is remembered.
Before: `protocol`. After: the ssl module.
Source: k8s.io/apiserver/pkg/authentication/request/x509/x509.go (NewDynamicCAVerifier).
"""

from __future__ import annotations

import re
import ssl
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_MOST_REMEMBERED = 4_096
_DER = 2
"""_ssl.ENCODING_DER."""


@dataclass(frozen=True, slots=True)
class Signer:
    of_users: bool
    of_proxies: bool


class PeerAuthorities:
    """Two sets of authorities, which may overlap."""

    def __init__(self, of_users: Sequence[Path], of_proxies: Sequence[Path]) -> None:
        """PEM bundles. Raises OSError, ValueError."""
        self._of_users, self._of_proxies = _certificates(of_users), _certificates(of_proxies)
        self._seen: OrderedDict[bytes, Signer] = OrderedDict()

    def signer(self, tls: ssl.SSLObject) -> Signer | None:
        """Who signed the peer's verified certificate; None where that is not known any more."""
        leaf = tls.getpeercert(binary_form=True) or b""
        chain = _verified_chain(tls)
        if not chain:
            return self._seen.get(leaf)
        found = Signer(not self._of_users.isdisjoint(chain), not self._of_proxies.isdisjoint(chain))
        self._seen[leaf] = found
        self._seen.move_to_end(leaf)
        if len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return found


def _certificates(bundles: Sequence[Path]) -> frozenset[bytes]:
    return frozenset(ssl.PEM_cert_to_DER_cert(block) for bundle in bundles for block in _BLOCK.findall(bundle.read_text("ascii")))


def _verified_chain(tls: Any) -> list[bytes]:
    """DER, the peer's own certificate first. Public since Python 3.13; before, the object below has it."""
    if hasattr(tls, "get_verified_chain"):
        return list(tls.get_verified_chain())
    return [certificate.public_bytes(_DER) for certificate in tls._sslobj.get_verified_chain() or ()]
