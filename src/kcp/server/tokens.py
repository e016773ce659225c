"""The administrators' tokens, kept over restarts, so that syncers and kubeconfigs that were handed out go on working.

Source: kcp `.admin-token-store` (there only the shard administrator's token survives, and as a hash). The file is as secret as the admin
kubeconfig beside it, which holds the same tokens.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from kcp.apiserver.pki import write_private

FILE = ".admin-token-store"


@dataclass(frozen=True, slots=True)
class AdminTokens:
    kcp_admin: str
    shard_admin: str
    user: str
    """Of the battery `user`."""

    @classmethod
    def ensure(cls, path: Path) -> AdminTokens:
        """The stored tokens; new ones for those that are missing, or all where the file is not readable as such."""
        names = ("kcp-admin", "shard-admin", "user")
        try:
            stored = {name: str(token) for name, token in json.loads(path.read_text()).items()}
        except (OSError, ValueError, AttributeError):
            stored = {}
        tokens = {name: stored.get(name) or secrets.token_urlsafe(32) for name in names}
        if tokens != stored:
            write_private(path, json.dumps(tokens).encode())
        return cls(*(tokens[name] for name in names))
