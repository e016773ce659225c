"""What the workspace commands print and write, and how they fail. The server's answers come from a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.errors import AlreadyExists, Forbidden
from kcp.apimachinery.gvk import GroupResource
from kcp.cli import plugin_workspace as workspace
from kcp.cli.plugin_flags import ConnectionFlags
from kcp.cli.plugin_lookup import conditions_text
from kcp.cli.plugin_session import PluginError, Session, kubeconfig_paths, open_session
from kcp.cli.plugin_tree import show_tree
from kcp.cli.plugin_workspace import CreateOptions
from kcp.client import kubeconfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from kcp.apimachinery.meta import JSONObject

    Open = Callable[[], Session]

    class Table(Protocol):
        answers: dict[str, JSONObject | Exception]
        created: JSONObject | Exception | None
        events: list[JSONObject]
        requests: list[str]

        def workspace(self, path: str, *, phase: str = "Ready", type_: str = "universal") -> JSONObject: ...
        def forbid(self, path: str) -> None: ...


def out(session: Session) -> str:
    return session.out.getvalue()  # type: ignore[attr-defined, no-any-return]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def waiting(kind: str, reason: str, message: str) -> list[JSONObject]:
    return [{"type": kind, "status": "False", "reason": reason, "message": message}]


def current(config: Path) -> str:
    return kubeconfig.load(config).endpoint.server


async def use(open_: Open, argument: str) -> str:
    session = open_()
    await workspace.use(session, argument)
    return out(session)


async def test_moving_around_prints_where_one_is(open_: Open, table: Table, config: Path) -> None:
    table.workspace("root:org", type_="organization")
    table.workspace("root:org:team")
    assert await use(open_, "org") == 'Current workspace is "root:org" (type root:organization).\n'
    assert await use(open_, "team") == 'Current workspace is "root:org:team" (type root:universal).\n'
    assert current(config) == "https://h/clusters/root:org:team"
    assert await use(open_, "..") == 'Current workspace is "root:org" (type root:organization).\n'
    assert await use(open_, "-") == 'Current workspace is "root:org:team".\n'
    assert await use(open_, "-") == 'Current workspace is "root:org".\n'
    assert await use(open_, ".") == 'Current workspace is "root:org".\n'
    assert await use(open_, ":root:org:team") == 'Current workspace is "root:org:team" (type root:universal).\n'
    assert await use(open_, ":") == 'Current workspace is "root" (type root:root).\n'
    assert mode(config) == 0o600


async def test_short_prints_only_the_path(open_: Open) -> None:
    session = open_()
    workspace.show_current(session, short=True)
    assert out(session) == "root\n"


async def test_home_is_asked_for(open_: Open, table: Table, config: Path) -> None:
    home = table.workspace("user:alice", type_="home")
    table.answers["/clusters/root/apis/tenancy.kcp.io/v1alpha1/workspaces/~"] = home
    session = open_()
    await workspace.use(session, "")
    assert out(session) == 'Current workspace is "user:alice" (type root:home).\n'
    assert "cd" in session.err.getvalue()  # type: ignore[attr-defined]
    assert current(config) == "https://h/clusters/user:alice"


async def test_unknown_workspace_points_to_the_tree_and_changes_nothing(open_: Open, config: Path) -> None:
    before = kubeconfig.read(config)
    with pytest.raises(PluginError, match=r'workspace "root:nope" not found.*kubectl ws tree'):
        await use(open_, "nope")
    assert kubeconfig.read(config) == before


async def test_workspace_without_access_says_so(open_: Open, table: Table) -> None:
    table.workspace("root:closed")
    table.forbid("root:closed")
    with pytest.raises(PluginError, match='access to workspace "root:closed" denied'):
        await use(open_, "closed")


async def test_user_who_may_enter_but_not_read_logical_clusters_enters(open_: Open, table: Table) -> None:
    table.workspace("root:mine")
    table.forbid("root:mine")
    table.answers["/clusters/root:mine/apis"] = {"kind": "APIGroupList", "groups": [{"name": "apps"}]}
    assert await use(open_, "mine") == 'Current workspace is "root:mine" (type root:universal).\n'


async def test_workspace_that_is_not_ready_says_what_it_waits_for(open_: Open, table: Table) -> None:
    held = table.workspace("root:slow", phase="Initializing")
    held["status"]["conditions"] = waiting("WorkspaceInitialized", "InitializerExists", "still: [x]")
    with pytest.raises(PluginError, match=r"(?s)phase is Initializing.*WorkspaceInitialized: InitializerExists still: \[x\]"):
        await use(open_, "slow")


async def test_server_without_workspaces_is_explained(config: Path, open_: Open) -> None:
    document = kubeconfig.read(config)
    kubeconfig.put(document, "clusters", "root", {"server": "https://plain:6443"})
    kubeconfig.save(config, document)
    session = open_()
    workspace.show_current(session)
    assert out(session) == 'Current workspace is the URL "https://plain:6443".\n'
    with pytest.raises(PluginError, match="is not a workspace: its URL has no /clusters/<path>"):
        await workspace.create(open_(), CreateOptions(name="x"), VirtualClock())


async def test_create_waits_by_watching_and_enters(open_: Open, table: Table, config: Path) -> None:
    made = {**table.workspace("root:web", type_="organization")}
    table.created = {**made, "status": {"phase": "Scheduling"}}
    table.events = [
        {"type": "MODIFIED", "object": {**made, "status": {"phase": "Initializing"}}},
        {"type": "MODIFIED", "object": made},
    ]
    session = open_()
    await workspace.create(session, CreateOptions(name="web", enter=True), VirtualClock())
    assert out(session).splitlines() == [
        'Workspace "web" (type root:organization) created. Waiting for it to be ready...',
        'Workspace "web" (type root:organization) is ready to use.',
        'Current workspace is "root:web" (type root:organization).',
    ]
    assert current(config) == "https://h/clusters/root:web"
    assert [r.split()[0] for r in table.requests] == ["POST", "WATCH"]


async def test_create_that_takes_too_long_shows_conditions(open_: Open, table: Table) -> None:
    class Late(VirtualClock):
        def monotonic(self) -> float:
            self._elapsed_s += 25.0
            return super().monotonic()

    slow = table.workspace("root:slow", phase="Initializing")
    slow["status"]["conditions"] = waiting("APIBindingsInitialized", "APIBindingErrors", "no export")
    table.created = slow
    with pytest.raises(PluginError, match=r"(?s)not ready after 60 s, its phase is Initializing.*APIBindingErrors no export"):
        await workspace.create(open_(), CreateOptions(name="slow"), Late())


async def test_existing_workspace_is_an_error_unless_ignored(open_: Open, table: Table) -> None:
    table.workspace("root:web")
    table.created = AlreadyExists.of(GroupResource("tenancy.kcp.io", "workspaces"), "web")
    with pytest.raises(PluginError, match="already exists in root"):
        await workspace.create(open_(), CreateOptions(name="web"), VirtualClock())
    session = open_()
    await workspace.create(session, CreateOptions(name="web", ignore_existing=True, type="root:universal"), VirtualClock())
    assert out(session).splitlines()[0] == 'Workspace "web" (type root:universal) already exists.'
    with pytest.raises(PluginError, match="already exists with different type root:universal"):
        await workspace.create(open_(), CreateOptions(name="web", ignore_existing=True, type="root:team"), VirtualClock())
    with pytest.raises(PluginError, match="non-absolute type path"):
        await workspace.create(open_(), CreateOptions(name="web", ignore_existing=True, type="team"), VirtualClock())


async def test_a_path_is_no_name_of_a_new_workspace(open_: Open) -> None:
    with pytest.raises(PluginError, match=r'":root:a:b" is a path, .*`kubectl ws create b` there, or `-w :root:a` from here'):
        await workspace.create(open_(), CreateOptions(name=":root:a:b"), VirtualClock())


async def test_context_is_created(open_: Open, config: Path) -> None:
    session = open_()
    workspace.create_context(session, "", overwrite=True)
    assert out(session) == 'Updated context "root".\n'
    session = open_()
    workspace.create_context(session, "mine", overwrite=False)
    assert out(session) == 'Created context "mine" and switched to it.\n'
    assert kubeconfig.read(config)["current-context"] == "mine"


async def test_tree_is_drawn(open_: Open, table: Table) -> None:
    table.workspace("root:a")
    table.workspace("root:a:b")
    table.workspace("root:c")
    session = open_()
    table.answers["/clusters/root:c/apis/tenancy.kcp.io/v1alpha1/workspaces"] = Forbidden("no")
    await show_tree(session)
    assert out(session) == ".\n└── root\n    ├── a\n    │   └── b\n    └── c\n\n"
    session = open_()
    await show_tree(session, full=True)
    assert "└── root:a:b" in out(session)


async def test_delete_of_an_unknown_workspace_says_so(open_: Open) -> None:
    with pytest.raises(PluginError, match='workspace "x" not found in root'):
        await workspace.delete(open_(), "x", VirtualClock())


def test_missing_kubeconfig_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"no kubeconfig: .*/nope does not exist.*KUBECONFIG.*kcp start"):
        open_session(ConnectionFlags(), {"KUBECONFIG": str(tmp_path / "nope")})


def test_kubeconfig_is_found_as_kubectl_does(tmp_path: Path) -> None:
    assert kubeconfig_paths("x", {"KUBECONFIG": "a:b"}) == [Path("x")]
    assert kubeconfig_paths("", {"KUBECONFIG": "a:b"}) == [Path("a"), Path("b")]
    assert kubeconfig_paths("", {"HOME": "/home/u"}) == [Path("/home/u/.kube/config")]


def test_several_kubeconfigs_change_only_the_first(config: Path, open_: Open, tmp_path: Path) -> None:
    other = tmp_path / "other"
    document = kubeconfig.empty()
    kubeconfig.put(document, "contexts", "elsewhere", {"cluster": "root", "user": "kcp-admin"})
    kubeconfig.save(other, document)
    before = other.read_text()
    session = open_session(ConnectionFlags(), {"KUBECONFIG": f"{config}:{other}"})
    workspace.create_context(session, "mine", overwrite=False)
    assert other.read_text() == before
    assert kubeconfig.find(kubeconfig.read(config), "contexts", "elsewhere") is None


def test_true_conditions_are_not_trouble() -> None:
    assert conditions_text({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}) == ""
