"""Identities: logical clusters, workspace paths and object keys.

A *path* is what a user sees (`root:org:team`); a *name* is what the server stores an object under (`root`, `2lpvmbh5xyj8ljfs`).
Source: github.com/kcp-dev/logicalcluster/v3.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import NamedTuple, NewType

ClusterName = NewType("ClusterName", str)
"""Storage identity of a logical cluster: `root`, `system:admin`, `2lpvmbh5xyj8ljfs`."""

WILDCARD = ClusterName("*")
"""All logical clusters of this server; legal in reads only."""

LOCAL = ClusterName("local")
"""The one logical cluster of a server that has no workspaces, such as a simulated physical cluster."""

ROOT = ClusterName("root")

NOWHERE = ClusterName("~nowhere")
"""What a path stands for that leads to no workspace: a cluster that holds nothing and lets nobody in."""

CLUSTER_ANNOTATION = "kcp.io/cluster"
"""Annotation with the logical cluster's name, on every object that a kcp server answers."""

_SEGMENT = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_PATH = re.compile(rf"^(system:)?{_SEGMENT}(:{_SEGMENT})*$")


@dataclass(frozen=True, slots=True, order=True)
class ClusterPath:
    """A workspace path such as `root:org:team`; also a bare cluster name or `<name>:child`.

    >>> path = ClusterPath("root:org:team")
    >>> str(path.parent), path.base, str(path.join("web"))
    ('root:org', 'team', 'root:org:team:web')
    """

    value: str

    @property
    def is_valid(self) -> bool:
        return self.value == "*" or bool(_PATH.match(self.value))

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(self.value.split(":"))

    @property
    def parent(self) -> ClusterPath | None:
        head, sep, _ = self.value.rpartition(":")
        return ClusterPath(head) if sep else None

    @property
    def base(self) -> str:
        return self.value.rpartition(":")[2]

    def join(self, name: str) -> ClusterPath:
        return ClusterPath(f"{self.value}:{name}" if self.value else name)

    def __str__(self) -> str:
        return self.value


class ObjectKey(NamedTuple):
    """Identity of one object inside one resource. A named tuple: caches, queues and indexes hash nothing more often.

    >>> str(ObjectKey(ClusterName("33bab531"), "default", "web"))
    '33bab531|default/web'
    """

    cluster: ClusterName
    namespace: str
    """Empty for cluster-scoped resources."""
    name: str

    def __str__(self) -> str:
        return f"{self.cluster}|{self.namespace + '/' if self.namespace else ''}{self.name}"


_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _in_base(number: int, base: int) -> str:
    digits: list[str] = []
    while number:
        number, rest = divmod(number, base)
        digits.append(_DIGITS[rest])
    return "".join(reversed(digits)) or "0"


def base36_sha224(text: str) -> str:
    """Lower-case base-36 digits of the SHA-224 of `text`, most significant first (math/big.Int.Text(36))."""
    return _in_base(int.from_bytes(hashlib.sha224(text.encode()).digest(), "big"), 36)


def base62_sha224(text: str) -> str:
    """Base-62 digits (0-9a-zA-Z) of the SHA-224 of `text`, most significant first (math/big.Int.Text(62)).

    >>> base62_sha224("2lpvmbh5xyj8ljfs:east")
    '1A98M1rPFH8lPZW1Bb0QZAzG5rpRf1tO0dyVDN'
    """
    return base62(hashlib.sha224(text.encode()).digest())


def base62(number: bytes) -> str:
    """Base-62 digits of a big-endian number."""
    return _in_base(int.from_bytes(number, "big"), 62)
