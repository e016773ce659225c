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

    @classmethod
    def ensure(cls, root_directory: Path) -> AdminTokens:
        """The stored tokens; new ones where the file is missing or not readable as such."""
        path = root_directory / FILE
        try:
            stored = json.loads(path.read_text())
            return cls(stored["kcp-admin"], stored["shard-admin"])
        except (OSError, ValueError, KeyError, TypeError):
            made = cls(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
        write_private(path, json.dumps({"kcp-admin": made.kcp_admin, "shard-admin": made.shard_admin}).encode())
        return made
