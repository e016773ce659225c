"""Writes `admin.kubeconfig`, with which people and tools reach the server.

Before: `server.compose`, once the certificates and tokens are there. After: kubectl, `kubectl ws`, the TMC syncer.
Source: kcp pkg/server/options/adminauthentication.go (contexts and users), kcp main.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class AdminAccess:
    """What the file has to say."""

    server: str
    """`https://host:6443`, without a path."""
    ca_pem: bytes
    kcp_admin_token: str
    """Of group system:kcp:admin: every workspace, through the front door."""
    shard_admin_token: str
    """Of group system:masters: also what lies outside workspaces."""
    user_tokens: Mapping[str, str] = field(default_factory=dict)
    """Further users by name."""


def admin_kubeconfig(access: AdminAccess) -> str:
    """The file as YAML: contexts root (current), base, system:admin and shard-base."""
    base = access.server.rstrip("/")
    ca = base64.b64encode(access.ca_pem).decode()
    clusters = {"root": f"{base}/clusters/root", "base": base, "system:admin": f"{base}/clusters/system:admin"}
    contexts = [
        ("root", "root", "kcp-admin"),
        ("base", "base", "kcp-admin"),
        ("system:admin", "system:admin", "shard-admin"),
        ("shard-base", "base", "shard-admin"),
    ]
    contexts += [(user, "root", user) for user in sorted(access.user_tokens)]
    users = {"kcp-admin": access.kcp_admin_token, "shard-admin": access.shard_admin_token, **access.user_tokens}
    lines = ["apiVersion: v1", "kind: Config", f"current-context: {_quoted('root')}", "preferences: {}", "clusters:"]
    for name, url in clusters.items():
        lines += _entry(name, "cluster", [("certificate-authority-data", ca), ("server", url)])
    lines.append("contexts:")
    for name, cluster, user in contexts:
        lines += _entry(name, "context", [("cluster", cluster), ("user", user)])
    lines.append("users:")
    for name, token in users.items():
        lines += _entry(name, "user", [("token", token)])
    return "\n".join(lines) + "\n"


def _entry(name: str, kind: str, values: Sequence[tuple[str, str]]) -> list[str]:
    return [f"- name: {_quoted(name)}", f"  {kind}:", *(f"    {key}: {_quoted(value)}" for key, value in values)]


def _quoted(text: str) -> str:
    """A YAML double-quoted scalar; JSON's rules are a subset of it."""
    return json.dumps(text)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all: readers see the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_admin_kubeconfig(path: Path, access: AdminAccess) -> None:
    write_private(path, admin_kubeconfig(access))
