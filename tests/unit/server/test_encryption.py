"""The file of the encryption configuration is followed where that is asked for; one with faults changes nothing."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import pytest
import yaml

from kcp.aio.clock import VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.server.encryption import Encryption
from kcp.server.options import EncryptionOptions, Options
from kcp.storage.memory import MemoryStore

KEY = b"/registry/core/secrets/-/root/default/a"


def write(path: Path, name: str) -> None:
    keys = [{"name": name, "secret": base64.b64encode(name.encode() * 32).decode()}]
    rules = [{"resources": ["secrets"], "providers": [{"aescbc": {"keys": keys}}, {"identity": {}}]}]
    path.write_text(yaml.safe_dump({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": rules}))


@pytest.mark.parametrize("follows", [True, False])
async def test_a_changed_file_is_in_force_within_seconds_if_asked_for(tmp_path: Path, follows: bool) -> None:
    path, clock, store = tmp_path / "encryption.yaml", VirtualClock(), MemoryStore()
    write(path, "a")
    encryption = Encryption(store, EncryptionOptions(config_file=path, reload=follows), clock=clock)
    async with Supervisor() as supervisor:
        supervisor.spawn(encryption.run(), name="encryption")
        await clock.advance(1)
        write(path, "b")
        await clock.advance(6)
        await encryption.store.create(KEY, b"{}")
    kept = await store.get(KEY)
    assert kept is not None
    assert kept.value.startswith(b"k8s:enc:aescbc:v1:b:" if follows else b"k8s:enc:aescbc:v1:a:")


async def test_a_file_with_a_fault_changes_nothing_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, clock, store = tmp_path / "encryption.yaml", VirtualClock(), MemoryStore()
    write(path, "a")
    encryption = Encryption(store, EncryptionOptions(config_file=path, reload=True), clock=clock)
    async with Supervisor() as supervisor:
        supervisor.spawn(encryption.run(), name="encryption")
        await clock.advance(1)
        with caplog.at_level(logging.ERROR):
            path.write_text("{}")
            await clock.advance(6)
        await encryption.store.create(KEY, b"{}")
    assert "kept as it was" in caplog.text
    kept = await store.get(KEY)
    assert kept is not None
    assert kept.value.startswith(b"k8s:enc:aescbc:v1:a:")


def test_faults_of_the_flags_are_named(tmp_path: Path) -> None:
    for options in (EncryptionOptions(config_file=tmp_path / "gone.yaml"), EncryptionOptions(reload=True)):
        (problem,) = Options(root_directory=tmp_path, encryption=options).problems()
        assert problem.startswith("--encryption-provider-config")
