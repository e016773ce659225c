"""admin.kubeconfig: kcp's contexts and users, private and atomic."""

from __future__ import annotations

from pathlib import Path

import yaml

from kcp.client import kubeconfig as reader
from kcp.tenancy.kubeconfig import AdminAccess, admin_kubeconfig, write_admin_kubeconfig

ACCESS = AdminAccess(
    server="https://127.0.0.1:6443", ca_pem=b"-----PEM-----", kcp_admin_token="a:b", shard_admin_token="s", user_tokens={"user": "u"}
)  # fmt: skip


def test_contexts_are_kcps_and_root_is_current() -> None:
    document = yaml.safe_load(admin_kubeconfig(ACCESS))
    contexts = {c["name"]: (c["context"]["cluster"], c["context"]["user"]) for c in document["contexts"]}
    assert contexts == {
        "root": ("root", "kcp-admin"),
        "base": ("base", "kcp-admin"),
        "system:admin": ("system:admin", "shard-admin"),
        "shard-base": ("base", "shard-admin"),
        "user": ("root", "user"),
    }
    assert document["current-context"] == "root"
    servers = {c["name"]: c["cluster"]["server"] for c in document["clusters"]}
    assert servers["root"] == "https://127.0.0.1:6443/clusters/root"
    assert servers["base"] == "https://127.0.0.1:6443"
    assert servers["system:admin"] == "https://127.0.0.1:6443/clusters/system:admin"


def test_file_is_private_and_readable_by_our_client(tmp_path: Path) -> None:
    path = tmp_path / "new" / "admin.kubeconfig"
    write_admin_kubeconfig(path, ACCESS)
    assert path.stat().st_mode & 0o777 == 0o600
    entry = reader.load(path)
    assert (entry.endpoint.server, entry.endpoint.token) == ("https://127.0.0.1:6443/clusters/root", "a:b")
    assert [p.name for p in path.parent.iterdir()] == ["admin.kubeconfig"]
