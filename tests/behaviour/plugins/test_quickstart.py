"""`kubectl kcp quickstart`: what it makes, that it makes it once, and that it takes away only its own.

Source: kcp staging cli/pkg/quickstart.
"""

from __future__ import annotations

import pytest
from tests.behaviour.plugins.conftest import User

from kcp.apimachinery import meta
from kcp.cli.plugin_bind import BINDINGS
from kcp.cli.plugin_lookup import WORKSPACES
from kcp.cli.plugin_quickstart import _check, parser
from kcp.cli.plugin_scenarios import COWBOYS, Workspaces
from kcp.cli.plugin_session import PluginError
from kcp.client import kubeconfig


async def test_the_scenario_api_provider_makes_an_api_and_somebody_who_uses_it(user: User) -> None:
    told = await user.quickstart("--with-samples", "--enter")
    assert '[1/7] Creating organization workspace "quickstart-org"\n' in told
    assert '  Workspace "quickstart-org" created and ready at root:quickstart-org\n' in told
    assert '[7/7] Creating a sample Cowboy\n  Cowboy "john-wayne" created\n' in told
    assert "kubectl kcp quickstart --cleanup --name-prefix quickstart" in told
    consumer = "root:quickstart-org:quickstart-consumer"
    assert f'Current workspace is "{consumer}" (type root:universal).' in told
    document = kubeconfig.read(user.config)
    assert document["current-context"] == "workspace.kcp.io/current"
    binding = await user.resource(consumer, BINDINGS).get("cowboys")
    assert meta.nested(binding, "status", "phase") == "Bound"
    (cowboy,) = (await user.resource(consumer, COWBOYS).list(namespace="default")).items
    assert cowboy["spec"]["intent"]


async def test_a_second_run_makes_what_is_missing_and_keeps_the_rest(user: User) -> None:
    await user.quickstart()
    provider = "root:quickstart-org:quickstart-provider"
    kept = await user.resource("root:quickstart-org", WORKSPACES).get("quickstart-provider")
    await user.resource("root:quickstart-org:quickstart-consumer", BINDINGS).delete("cowboys")
    told = await user.quickstart()
    assert f'Workspace "quickstart-provider" already exists at {provider}' in told
    assert 'APIExport "cowboys" already exists' in told
    assert 'APIBinding "cowboys"' in told
    assert meta.uid(await user.resource("root:quickstart-org", WORKSPACES).get("quickstart-provider")) == meta.uid(kept)


async def test_cleanup_takes_away_everything_and_then_finds_nothing(user: User) -> None:
    await user.quickstart("--name-prefix", "demo")
    told = await user.quickstart("--cleanup", "--name-prefix", "demo")
    assert told == 'Deleting organization workspace "demo-org" with everything in it\nCleanup complete.\n'
    assert (await user.resource("root", WORKSPACES).list(field_selector="metadata.name=demo-org")).items == []
    assert "It does not exist; nothing to do." in await user.quickstart("--cleanup", "--name-prefix", "demo")


async def test_cleanup_leaves_what_somebody_else_made(user: User) -> None:
    await user.workspace("mine-org", "organization")
    with pytest.raises(PluginError, match="was not made by quickstart .*`kubectl ws delete mine-org`"):
        await user.quickstart("--cleanup", "--name-prefix", "mine")
    assert await user.resource("root", WORKSPACES).get("mine-org")


async def test_the_scenario_workspaces_grows_the_tree_of_its_seed(user: User) -> None:
    words = ("--scenario", "workspaces", "--tree-count", "6", "--tree-depth", "2", "--tree-seed", "7")
    told = await user.quickstart(*words)
    assert "[2/2] Creating 6 workspaces (max depth 2, seed 7)\n" in told
    assert "  Progress: 6/6 workspaces created (" in told
    for path in Workspaces(2, 6, 7).shape("root:quickstart-org", "quickstart"):
        parent, _, name = path.rpartition(":")
        assert meta.nested(await user.resource(parent, WORKSPACES).get(name), "status", "phase") == "Ready"


def test_the_same_seed_gives_the_same_tree_and_no_branch_is_deeper_than_allowed() -> None:
    first, second = (Workspaces(3, 50, 11).shape("root:o", "q") for _ in range(2))
    assert first == second
    assert first != Workspaces(3, 50, 12).shape("root:o", "q")
    assert max(path.count(":") for path in first) == 4
    assert Workspaces(1, 5, 1).shape("root:o", "q") == [f"root:o:q-ws-{number}" for number in range(1, 6)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--name-prefix", ""), "--name-prefix must not be empty"),
        (("--name-prefix", "A b"), "makes no valid names of workspaces"),
        (("--name-prefix", "a" * 60), "makes no valid names of workspaces"),
        (("--tree-depth", "0"), "--tree-depth must be >= 1, got 0"),
        (("--tree-count", "-1"), "--tree-count must be >= 0, got -1"),
    ],
)
def test_flags_that_make_no_sense_are_refused_before_anything_is_made(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(PluginError) as refused:
        _check(parser("kubectl kcp quickstart").parse_args(list(words)))
    assert told in str(refused.value)
