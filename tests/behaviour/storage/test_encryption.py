"""Encryption at rest of a whole server: what is on the disk, what users see, rotation of keys, and keys that are gone.

Aspects: secrets are sealed on the disk and plain for readers and watchers; `replace` of what did not change writes it with the new key, once;
a key that is gone fails reading the objects that need it, with a clear error, and nothing else; a list with it names the object.
"""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from kcp.aio.clock import SystemClock
from kcp.apimachinery.errors import InternalError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import ResourceClient
from kcp.server.compose import KcpServer, run_server
from kcp.server.options import EncryptionOptions, Options

SECRETS, CONFIG_MAPS = GVR("", "v1", "secrets"), GVR("", "v1", "configmaps")


def configure(path: Path, *providers: tuple[str, str]) -> None:
    """Providers with the name of their one key, whose secret is made of it."""
    entries = [
        {kind: {"keys": [{"name": key, "secret": base64.b64encode(key.encode() * 32).decode()}]} if key else {}} for kind, key in providers
    ]
    rules = [{"resources": ["secrets"], "providers": entries}]
    path.write_text(yaml.safe_dump({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": rules}))


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[KcpServer]:
    encryption = EncryptionOptions(config_file=directory / "encryption.yaml")
    async with run_server(Options(root_directory=directory, encryption=encryption), clock=SystemClock(), with_socket=False) as server:
        yield server


def secret(name: str) -> JSONObject:
    value = base64.b64encode(b"hush").decode()
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default"}, "data": {"word": value}}


def resource(server: KcpServer, gvr: GVR = SECRETS) -> ResourceClient:
    return server.client.cluster("root").resource(gvr)


def on_disk(directory: Path) -> dict[str, bytes]:
    """The latest value of every secret of namespace default, by its name."""
    with closing(sqlite3.connect(f"file:{directory / 'kcp.db'}?mode=ro", uri=True)) as db:
        rows: list[Any] = db.execute("SELECT key, value FROM log WHERE value IS NOT NULL ORDER BY id").fetchall()
    return {key.decode().rpartition("/")[2]: value for key, value in rows if b"/core/secrets/" in key and b"/default/" in key}


async def test_secrets_are_sealed_on_the_disk_and_plain_for_everybody_else(tmp_path: Path) -> None:
    configure(tmp_path / "encryption.yaml", ("aescbc", "a"), ("identity", ""))
    async with running(tmp_path) as server:
        await resource(server).create(secret("one"))
        await resource(server, CONFIG_MAPS).create({**secret("two"), "kind": "ConfigMap", "data": {"a": "b"}})
        found = await resource(server).get("one", namespace="default")
        assert base64.b64decode(found["data"]["word"]) == b"hush"
        async with aclosing(resource(server).watch(namespace="default", resource_version="1")) as events:
            assert (await anext(events)).object["data"] == found["data"]
    stored = on_disk(tmp_path)["one"]
    assert stored.startswith(b"k8s:enc:aescbc:v1:a:")
    assert base64.b64encode(b"hush") not in (tmp_path / "kcp.db").read_bytes()


async def test_a_replace_that_changes_nothing_writes_with_the_new_key_once(tmp_path: Path) -> None:
    configure(tmp_path / "encryption.yaml", ("aescbc", "a"))
    async with running(tmp_path) as server:
        await resource(server).create(secret("one"))
    configure(tmp_path / "encryption.yaml", ("secretbox", "b"), ("aescbc", "a"))
    async with running(tmp_path) as server:
        old = await resource(server).get("one", namespace="default")
        assert on_disk(tmp_path)["one"].startswith(b"k8s:enc:aescbc:v1:a:"), "what is not written stays"
        new = await resource(server).update(old)
        again = await resource(server).update(new)
    assert old["metadata"]["resourceVersion"] != new["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]
    assert on_disk(tmp_path)["one"].startswith(b"k8s:enc:secretbox:v1:b:")
    configure(tmp_path / "encryption.yaml", ("secretbox", "b"))
    async with running(tmp_path) as server:
        assert (await resource(server).get("one", namespace="default"))["data"] == old["data"]


async def test_a_key_that_is_gone_fails_what_needs_it_and_nothing_else(tmp_path: Path) -> None:
    configure(tmp_path / "encryption.yaml", ("aesgcm", "a"))
    async with running(tmp_path) as server:
        await resource(server).create(secret("one"))
        await resource(server, CONFIG_MAPS).create({**secret("two"), "kind": "ConfigMap", "data": {"a": "b"}})
    configure(tmp_path / "encryption.yaml", ("aesgcm", "b"))
    async with running(tmp_path) as server:
        assert (await resource(server, CONFIG_MAPS).get("two", namespace="default"))["data"] == {"a": "b"}
        for ask in (resource(server).get("one", namespace="default"), resource(server).list(namespace="default")):
            with pytest.raises(
                InternalError, match='unable to transform key .*/default/one.*provider aesgcm with key "a", which is not there'
            ):
                await ask
    configure(tmp_path / "encryption.yaml", ("aesgcm", "b"), ("aesgcm", "a"))
    async with running(tmp_path) as server:
        assert (await resource(server).get("one", namespace="default"))["metadata"]["name"] == "one"
