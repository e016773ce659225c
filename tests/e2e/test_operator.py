"""The example operator: as its README says, run by a shell, and with fifty consumers, a server that is killed meanwhile."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
import yaml
from tests.e2e.fleet import EXAMPLES, Fleet
from tests.e2e.processes import Process

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client import kubeconfig
from kcp.client.rest import Client
from kcp.controller.endpoints import ENDPOINT_SLICES, endpoint_urls, view_of
from kcp.tenancy.waiting import wait_for

pytestmark = pytest.mark.e2e
EXAMPLE = EXAMPLES / "03-operator"
CONSUMERS = 50
PATIENCE_S = 60.0
WORKSPACES = GVR("tenancy.kcp.io", "v1alpha1", "workspaces")
BINDINGS = GVR("apis.kcp.io", "v1alpha2", "apibindings")
WIDGETS = GVR("example.com", "v1", "widgets")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path, kcp_flags=())
    try:
        made.start_kcp()
        (tmp_path / "examples").symlink_to(EXAMPLES)
        yield made
    finally:
        made.stop()


def document(name: str) -> JSONObject:
    loaded: JSONObject = yaml.safe_load((EXAMPLE / name).read_text())
    return loaded


def test_the_readme_does_what_it_says(fleet: Fleet) -> None:
    blocks = re.findall(r"```\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)
    script = "\n".join(["set -eo pipefail", "trap 'kill %1' EXIT", *blocks])
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=fleet.directory,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert re.search(r"^door +6", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"serving endpoint https://.*/services/apiexport/\w+/widgets", done.stderr), done.stderr


@asynccontextmanager
async def connected(fleet: Fleet) -> AsyncIterator[Client]:
    client = kubeconfig.connect(fleet.directory / ".kcp" / "admin.kubeconfig", "shard-base")
    try:
        yield client
    finally:
        await client.close()


async def consume(client: Client, number: int) -> None:
    """One workspace with a binding and a widget of its own size."""
    name = f"consumer-{number}"
    workspace = {"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name}}
    workspaces, mine = client.cluster("root").resource(WORKSPACES), client.cluster(f"root:{name}")
    await workspaces.create({**workspace, "spec": {"type": {"name": "universal", "path": "root"}}})
    await wait_for(workspaces, name, lambda w: phase(w) == "Ready", timeout_s=PATIENCE_S, what=name)
    await mine.resource(BINDINGS).create(document("consumer.yaml"))
    await wait_for(mine.resource(BINDINGS), "widgets", lambda b: phase(b) == "Bound", timeout_s=PATIENCE_S, what=f"binding of {name}")
    await mine.resource(WIDGETS).create({**document("widget.yaml"), "spec": {"width": 2, "height": number}})


def phase(obj: JSONObject) -> str:
    return str(meta.nested(obj, "status", "phase", default=""))


async def until_areas(client: Client, *, factor: int) -> None:
    """Every widget of every consumer has its area."""
    wanted = [factor * number for number in range(CONSUMERS)]
    provider = client.cluster("root:widgets-provider")
    found = await wait_for(
        provider.resource(ENDPOINT_SLICES), "widgets", lambda s: bool(endpoint_urls(s)), timeout_s=PATIENCE_S, what="the endpoint"
    )
    widgets = view_of(client, endpoint_urls(found)[0]).resource(WIDGETS)
    areas: dict[str, int] = {}
    async with asyncio.timeout(PATIENCE_S):
        listed = await widgets.list()
        areas.update({meta.cluster(w): meta.nested(w, "status", "area", default=-1) for w in listed.items})
        async with aclosing(widgets.watch(resource_version=listed.resource_version)) as events:
            while sorted(areas.values()) != wanted:
                event = await anext(events)
                areas[meta.cluster(event.object)] = meta.nested(event.object, "status", "area", default=-1)


async def widen(client: Client) -> None:
    async def one(number: int) -> None:
        await client.cluster(f"root:consumer-{number}").resource(WIDGETS).patch("door", {"spec": {"width": 3}}, namespace="default")

    async with asyncio.TaskGroup() as group:
        for number in range(CONSUMERS):
            group.create_task(one(number))


async def test_fifty_consumers_are_served_by_one_operator_also_after_a_crash_of_the_server(fleet: Fleet) -> None:
    assert fleet.kcp is not None
    fleet.kubectl("ws", "create", "widgets-provider", "--type=universal")
    fleet.at("root:widgets-provider")("apply", "-f", "examples/03-operator/export.yaml")
    flags = ["--kubeconfig", ".kcp/admin.kubeconfig", "--workspace", "root:widgets-provider"]
    operator = Process.start(["python", "examples/03-operator/widgets.py", *flags], cwd=fleet.directory)
    try:
        async with connected(fleet) as client, asyncio.TaskGroup() as group:
            for number in range(CONSUMERS):
                group.create_task(consume(client, number))
        async with connected(fleet) as client:
            await until_areas(client, factor=2)
        fleet.kcp.kill()
        fleet.start_kcp()
        async with connected(fleet) as client:
            await widen(client)
            await until_areas(client, factor=3)
        assert operator.output.count("serving endpoint") == 1
        assert operator.stop() == 0
    finally:
        operator.kill()
