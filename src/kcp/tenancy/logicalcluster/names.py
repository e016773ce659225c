"""Names derived for logical clusters: random-looking, but always computed from something, so that a retry finds the same one.

Called by the workspace controller (new clusters), `home` (home workspaces) and the initializer labels. Pure.
"""

from __future__ import annotations

import hashlib
import re

from kcp.apimachinery.keys import ClusterName
from kcp.tenancy.kinds import INITIALIZER_LABEL_PREFIX, TERMINATOR_LABEL_PREFIX

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_GENERATED = re.compile(r"^[0-9a-z]{16}$")
_LABEL_LIMIT = 63


def cluster_name(entropy: bytes) -> ClusterName:
    """The first 16 base-36 digits of the SHA-224 of `entropy`, 82 bits.

    Source: kcp pkg/reconciler/tenancy/workspace/workspace_reconcile_scheduling.go, randomClusterName.

    >>> cluster_name(b"one") == cluster_name(b"one"), len(cluster_name(b"one"))
    (True, 16)
    """
    return ClusterName(_base36(hashlib.sha224(entropy).digest())[:16])


def home_cluster_name(user: str) -> ClusterName:
    """Name of a user's home cluster: base 36 of the first 8 bytes of the SHA-224 of the user name.

    Source: kcp pkg/server/home_workspaces.go, indexrewriters UserRewriter.
    """
    return ClusterName(_base36(hashlib.sha224(user.encode()).digest()[:8]))


def looks_generated(name: str) -> bool:
    """Whether `name` could have come from `cluster_name`.

    >>> looks_generated("2lpvmbh5xyj8ljfs"), looks_generated("team-a")
    (True, False)
    """
    return bool(_GENERATED.match(name))


def initializer_label(initializer: str) -> tuple[str, str]:
    """Label key and value that mark an object as waiting for this initializer.

    The key carries as much of the hash as a label name allows. Source: kcp sdk/apis/tenancy/initialization/initialization.go.
    """
    return _hash_label(INITIALIZER_LABEL_PREFIX, initializer)


def terminator_label(terminator: str) -> tuple[str, str]:
    """The same for a terminator. Source: kcp sdk/apis/tenancy/termination/termination.go."""
    return _hash_label(TERMINATOR_LABEL_PREFIX, terminator)


def _hash_label(prefix: str, text: str) -> tuple[str, str]:
    digest = hashlib.sha224(text.encode()).hexdigest()
    return f"{prefix}{digest[: _LABEL_LIMIT - len(prefix)]}", digest


def _base36(digest: bytes) -> str:
    number, digits = int.from_bytes(digest, "big"), []
    while number:
        number, rest = divmod(number, 36)
        digits.append(_DIGITS[rest])
    return "".join(reversed(digits)) or "0"
