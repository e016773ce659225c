"""`kubectl tmc recover`: what it says while a recovery is done, how it ends, and what it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.behaviour.plugins.conftest import User, said
from tests.behaviour.tmc.world import QUIET, World, running

from kcp.cli.plugin_recover import recover
from kcp.cli.plugin_session import PluginError
from kcp.client import kubeconfig
from kcp.tmc.model.kinds import SYNC_TARGETS

LIVELY = replace(QUIET, heartbeat_period_s=0.1)


@pytest.fixture
async def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[World, User]]:
    document = kubeconfig.empty()
    kubeconfig.put(document, "clusters", "work", {"server": "https://h/clusters/root:work"})
    kubeconfig.put(document, "contexts", "work", {"cluster": "work"})
    document["current-context"] = "work"
    kubeconfig.save(tmp_path / "kubeconfig", document)
    async with running(tmp_path, monkeypatch, config=LIVELY) as world:
        yield world, User(world.server, tmp_path / "kubeconfig")


async def told(user: User, *words: str, strategy: str = "") -> tuple[int, list[str]]:
    session = user.session()
    code = await recover(session, list(words), "", strategy, 20.0)
    return code, said(session).splitlines()


async def test_what_is_done_and_how_it_ends(town: tuple[World, User]) -> None:
    code, lines = await told(town[1], "east", strategy="ClusterAuth")
    assert lines[0].startswith("recovery east-")
    assert lines[1:] == [
        "  asked the syncer of east to authenticate", "  verified permissions", "Completed: the credentials of east are accepted and suffice",
    ]  # fmt: skip
    assert code == 0


async def test_what_a_person_must_do_is_said(town: tuple[World, User]) -> None:
    world, user = town
    credentials = {"secretRef": {"name": "none", "namespace": "default"}}
    await world.create(SYNC_TARGETS, "SyncTarget", "far", spec={"workloadCluster": {"name": "far", "credentials": credentials}})
    code, lines = await told(user, "far")
    assert (code, lines[2]) == (1, "Failed: a person must act")
    assert lines[3].startswith("  ClusterConfiguration (Medium): ")
    assert lines[4].startswith("  to do: correct the kubeconfig of the cluster")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "name a cluster or an object"),
        (("north",), "root:work has no SyncTarget north; there is east, west"),
        (("workspace/x",), '"workspace/x" is neither a cluster nor something that clusters run: deployment'),
    ],
)
async def test_what_cannot_be_recovered_is_told_apart(town: tuple[World, User], words: tuple[str, ...], text: str) -> None:
    with pytest.raises(PluginError, match=text):
        await told(town[1], *words)
