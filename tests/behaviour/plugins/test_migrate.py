"""`kubectl tmc migrate`: what it says on the way, and what it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.behaviour.plugins.conftest import User, said
from tests.behaviour.tmc.test_migration_crash_points import at_home
from tests.behaviour.tmc.world import World, running

from kcp.apimachinery.errors import Invalid
from kcp.apimachinery.gvk import GVR
from kcp.cli.plugin_migrate import migrate, undo
from kcp.cli.plugin_session import PluginError
from kcp.client import kubeconfig
from kcp.tmc.migration.model import MIGRATIONS

JOBS = GVR("batch", "v1", "jobs")


@pytest.fixture
async def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[World, User]]:
    document = kubeconfig.empty()
    kubeconfig.put(document, "clusters", "work", {"server": "https://h/clusters/root:work"})
    kubeconfig.put(document, "contexts", "work", {"cluster": "work"})
    document["current-context"] = "work"
    kubeconfig.save(tmp_path / "kubeconfig", document)
    async with running(tmp_path, monkeypatch) as world:
        yield world, User(world.server, tmp_path / "kubeconfig")


async def told(user: User, *words: str, source: str = "east", target: str = "west") -> tuple[int, list[str]]:
    session = user.session()
    spec = {"from": source, "to": target, "strategy": "live", "timeout": "1m"}
    code = await migrate(session, list(words), "", spec, is_followed=True)
    return code, said(session).splitlines()


async def test_a_job_is_halted_first_without_being_told(town: tuple[World, User]) -> None:
    world, user = town
    pods = {"containers": [{"name": "main", "image": "nginx"}], "restartPolicy": "Never"}
    await world.create(JOBS, "Job", "report", namespace="default", spec={"template": {"spec": pods}})
    session = user.session()
    spec = {"from": "east", "to": "west", "strategy": "", "timeout": "1m"}
    assert await migrate(session, ["jobs", "report"], "", spec, is_followed=False) == 0
    (made,) = (await world.client.resource(MIGRATIONS).list(namespace="default")).items
    assert (made["spec"]["strategy"], made["spec"]["workload"]["kind"]) == ("halt-resume", "Job")
    with pytest.raises(Invalid, match="a DaemonSet runs on every node"):
        await migrate(session, ["ds/agent"], "", spec, is_followed=False)


async def test_there_and_back(town: tuple[World, User]) -> None:
    world, user = town
    await at_home(world)
    code, lines = await told(user, "deploy/shop")
    assert (code, lines[-1]) == (0, "  100%  Completed: west runs it")
    name = lines[0].split()[1]
    session = user.session()
    assert await undo(session, name, "") == 0
    assert said(session).splitlines()[-1] == "    0%  RolledBack: east runs it again"
    code, lines = await told(user, "deploy/shop", source="west", target="east")
    assert (code, lines[-1].startswith("  MigrationFailure (High): west does not run it")) == (1, True)


@pytest.mark.parametrize(
    ("words", "source", "text"),
    [
        ((), "east", "name a workload"),
        (("deploy",), "east", "names no object: write KIND/NAME"),
        (("unicorn/x",), "east", 'has no namespaced kind "unicorn"'),
        (("deploy/x",), "", "--from and --to: name the two clusters"),
    ],
)
async def test_what_cannot_be_moved_is_told_apart(town: tuple[World, User], words: tuple[str, ...], source: str, text: str) -> None:
    with pytest.raises(PluginError, match=text):
        await told(town[1], *words, source=source)
