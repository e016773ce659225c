"""Home workspaces: `~` and `user:<name>`, for whom they are made, and what is said while they are not there.

Source: kcp test/e2e/homeworkspaces, pkg/server/home_workspaces.go.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.behaviour.lifecycle.town import CONFIG_MAPS, config_map, phase

from kcp.aio.clock import SystemClock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.registry.backend import UserInfo
from kcp.server.compose import KcpServer, run_server
from kcp.server.options import Options
from kcp.tenancy.kinds import CLUSTER_ROLE_BINDINGS, LOGICAL_CLUSTERS, WORKSPACES

ONE = UserInfo("user-1", ("team-1", "system:authenticated"))
TWO = UserInfo("user-2", ("team-2", "system:authenticated"))


def as_user(server: KcpServer, user: UserInfo, path: str = "root") -> Client:
    return Client(AsgiTransport(server.app, user)).cluster(path)


async def test_members_of_the_groups_get_one_and_others_are_told_why_not(tmp_path: Path) -> None:
    options = Options(root_directory=tmp_path, in_memory=True, home_creator_groups=("team-1",))
    async with run_server(options, clock=SystemClock(), with_socket=False) as server:
        home = await as_user(server, ONE).resource(WORKSPACES).get("~")
        assert phase(home) == "Ready"
        assert meta.creation_timestamp(home)
        assert conditions.is_true(home, "WorkspaceInitialized")
        assert home["spec"]["URL"].endswith("/clusters/user:user-1")
        inside = as_user(server, ONE, "user:user-1")
        assert meta.cluster(await inside.resource(LOGICAL_CLUSTERS).get("cluster")) == home["spec"]["cluster"]
        await inside.resource(CONFIG_MAPS).create(config_map("mine"))
        admins = await inside.resource(CLUSTER_ROLE_BINDINGS).get("workspace-admin")
        assert [subject["name"] for subject in admins["subjects"]] == ["user-1"]
        with pytest.raises(Forbidden) as refused:
            await as_user(server, TWO).resource(WORKSPACES).get("~")
        assert str(refused.value) == (
            'workspaces.tenancy.kcp.io "~" is forbidden: User "user-2" cannot create resource "workspaces" in API group "tenancy.kcp.io" '
            "at the cluster scope: workspace access not permitted"
        )
        for path in ("user:user-1", "user:user-2"):
            with pytest.raises(Forbidden, match="access denied"):
                await as_user(server, TWO, path).resource(CONFIG_MAPS).list()


async def test_the_flag_holds_at_the_next_start(tmp_path: Path) -> None:
    async with run_server(Options(root_directory=tmp_path), clock=SystemClock(), with_socket=False) as server:
        assert await as_user(server, ONE).resource(WORKSPACES).get("~")
    options = Options(root_directory=tmp_path, home_creator_groups=("team-2",))
    async with run_server(options, clock=SystemClock(), with_socket=False) as server:
        assert await as_user(server, TWO).resource(WORKSPACES).get("~")
        assert await as_user(server, ONE).resource(WORKSPACES).get("~"), "what is there stays"
        with pytest.raises(Forbidden):
            await as_user(server, UserInfo("user-3", ("team-1", "system:authenticated"))).resource(WORKSPACES).get("~")


async def test_without_the_feature_there_is_no_such_workspace(tmp_path: Path) -> None:
    options = Options(root_directory=tmp_path, in_memory=True, home_workspaces=False)
    async with run_server(options, clock=SystemClock(), with_socket=False) as server:
        with pytest.raises(NotFound):
            await as_user(server, ONE).resource(WORKSPACES).get("~")
