"""Encryption at rest as an operator does it: turned on for what is there, its key changed while the server runs, with kubectl alone."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from tests.e2e.processes import Kubectl, Process, free_port

pytestmark = pytest.mark.e2e


def write(path: Path, *providers: tuple[str, str]) -> None:
    entries = [
        {kind: {"keys": [{"name": key, "secret": base64.b64encode(key.encode() * 16).decode()}]} if key else {}} for kind, key in providers
    ]
    rules = [{"resources": ["secrets"], "providers": entries}]
    path.write_text(yaml.safe_dump({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": rules}))


def stored(root: Path, name: str) -> bytes:
    with closing(sqlite3.connect(f"file:{root / 'kcp.db'}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT key, value FROM log WHERE value IS NOT NULL ORDER BY id").fetchall()
    return [bytes(value) for key, value in rows if b"/secrets/" in key and key.endswith(f"/default/{name}".encode())][-1]


def test_secrets_are_encrypted_and_their_key_changes_under_a_running_server(tmp_path: Path) -> None:
    config, flags = tmp_path / "encryption.yaml", ("--encryption-provider-config=encryption.yaml",)
    start = ["kcp", "start", f"--secure-port={free_port()}"]
    server = Process.start(start, cwd=tmp_path)
    server.wait_for_line("kcp is ready")
    kubectl = Kubectl(tmp_path / ".kcp" / "admin.kubeconfig", tmp_path)
    kubectl("create", "secret", "generic", "word", "--from-literal=word=hush")
    server.stop()
    assert stored(tmp_path / ".kcp", "word").startswith(b"{"), "nothing is encrypted where nobody asked for it"

    write(config, ("aescbc", "k1"), ("identity", ""))
    server = Process.start([*start, *flags, "--encryption-provider-config-automatic-reload"], cwd=tmp_path)
    server.wait_for_line("kcp is ready")

    def replace_all() -> None:
        kubectl("replace", "-f", "-", stdin=kubectl("get", "secrets", "-A", "-o", "json"))

    replace_all()
    assert stored(tmp_path / ".kcp", "word").startswith(b"k8s:enc:aescbc:v1:k1:")
    write(config, ("secretbox", "k2"), ("aescbc", "k1"))
    server.wait_for_line("changed and is in force")
    replace_all()
    assert kubectl("get", "secret", "word", "-o", "jsonpath={.data.word}") == base64.b64encode(b"hush").decode()
    assert stored(tmp_path / ".kcp", "word").startswith(b"k8s:enc:secretbox:v1:k2:")
    server.stop()
