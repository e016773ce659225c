"""Workspaces that are mounts of what an object's status names: another workspace of this server, or another server.

Source: kcp test/e2e/mounts/mounts_machinery_test.go, docs/content/concepts/workspaces/mounts.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.behaviour.lifecycle.town import ADA, BOB, CONFIG_MAPS, EVERYTHING, Town, config_map, phase

from kcp.aio.clock import SystemClock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden, Invalid, NotFound, ServiceUnavailable
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver import pki_issue
from kcp.apiserver.audit.config import AuditConfig, LogConfig
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.client.transport import RawRequest, RawResponse
from kcp.registry.backend import UserInfo
from kcp.server.accessoptions import AuthenticationOptions, RequestHeaderOptions
from kcp.server.compose import KcpServer, run_server
from kcp.server.options import MountOptions, Options
from kcp.tenancy.kinds import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, LOGICAL_CLUSTERS, WORKSPACES
from kcp.tenancy.workspace.mounts import url_fault

CLUSTERS = GVR("contrib.kcp.io", "v1alpha1", "kubeclusters")
CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
IS_MOUNT = {"experimental.tenancy.kcp.io/is-mount": "true"}


@asynccontextmanager
async def towns(directory: Path, *, with_socket: bool = False, audit: AuditConfig | None = None, **mounts: Any) -> AsyncIterator[Town]:
    options = Options(
        root_directory=directory,
        in_memory=True,
        mounts=MountOptions(enabled=True, **mounts),
        secure_port=0 if with_socket else 6443,
        audit=audit or AuditConfig(),
    )
    async with run_server(options, clock=SystemClock(), with_socket=with_socket) as running:
        made = Town(running)
        await made.open()
        await define(made)
        yield made


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with towns(tmp_path) as made:
        yield made


async def define(town: Town) -> None:
    """A kind of mounts, as somebody's operator brings it."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    names = {"plural": "kubeclusters", "singular": "kubecluster", "kind": "KubeCluster", "listKind": "KubeClusterList"}
    spec = {"group": "contrib.kcp.io", "names": names, "scope": "Cluster", "versions": [version]}
    name = "kubeclusters.contrib.kcp.io"
    obj = {"apiVersion": CRDS.api_version, "kind": "CustomResourceDefinition", "metadata": {"name": name}, "spec": spec}
    annotated = {**obj, "metadata": {"name": name, "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"}}}
    await town.at().resource(CRDS).create(annotated)
    await town.until(town.at().resource(CRDS), name, lambda c: conditions.is_true(c, "Established"), "the definition")


async def cluster(town: Town, name: str, url: str = "", state: str = "Ready", annotations: Any = None) -> None:
    """An object to be mounted, with this status."""
    metadata = {"name": name, "annotations": IS_MOUNT if annotations is None else annotations}
    clusters = town.at().resource(CLUSTERS)
    await clusters.create({"apiVersion": CLUSTERS.api_version, "kind": "KubeCluster", "metadata": metadata})
    await report(town, name, url, state)


async def report(town: Town, name: str, url: str, state: str) -> None:
    status = {"phase": state, **({"URL": url} if url else {})}
    await town.at().resource(CLUSTERS).patch(name, {"status": status}, subresource="status")


def mount(name: str, of: str) -> JSONObject:
    ref = {"apiVersion": CLUSTERS.api_version, "kind": "KubeCluster", "name": of}
    return {"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name}, "spec": {"mount": {"ref": ref}}}


def told(reason: str, workspace: JSONObject) -> bool:
    condition = conditions.get(workspace, "WorkspaceMountReady")
    return condition is not None and (condition.get("reason") or condition["status"]) == reason


async def mounted(town: Town, name: str, of: str, reason: str = "True") -> JSONObject:
    """A mounted workspace whose condition says this."""
    workspaces = town.at(user=ADA).resource(WORKSPACES)
    await workspaces.create(mount(name, of))
    return await town.until(workspaces, name, partial(told, reason), f"{name}: {reason}")


async def test_a_mount_of_another_workspace_is_a_link_to_it(town: Town) -> None:
    await town.type("shop", extend={"with": [{"name": "universal", "path": "root"}]})
    url = (await town.workspace("shop", "shop"))["spec"]["URL"]
    await cluster(town, "away", url)
    linked = await mounted(town, "link", "away")
    assert (phase(linked), linked["spec"]["URL"], linked["spec"].get("cluster")) == ("Ready", url, None)
    assert meta.finalizers(linked) == []
    here, there = town.at("root:town:link", user=ADA), town.at("root:town:shop", user=ADA)
    await here.resource(CONFIG_MAPS).create(config_map("x"))
    found = await there.resource(CONFIG_MAPS).get("x", namespace="default")
    assert meta.cluster(found) == meta.cluster(await here.resource(LOGICAL_CLUSTERS).get("cluster"))
    async with asyncio.timeout(10), aclosing(here.resource(CONFIG_MAPS).watch(resource_version=meta.resource_version(found))) as events:
        await there.resource(CONFIG_MAPS).delete("x", namespace="default")
        assert (await anext(events)).type == "DELETED"
    await town.at(user=ADA).resource(WORKSPACES).delete("link")
    await town.gone(town.at().resource(WORKSPACES), "link")
    with pytest.raises(Forbidden):
        await here.resource(CONFIG_MAPS).list()
    assert await there.resource(CONFIG_MAPS).list(), "what was mounted stays"


async def test_the_workspace_says_what_its_mount_says(town: Town) -> None:
    await town.type("shop")
    url = (await town.workspace("shop", "shop"))["spec"]["URL"]
    workspaces = town.at().resource(WORKSPACES)
    missing = await mounted(town, "link", "away", "MountObjectNotFound")
    assert phase(missing) == "Unavailable"
    inside = town.at("root:town:link", user=ADA)
    with pytest.raises(ServiceUnavailable, match='workspace "root:town:link" is a mount that is not ready'):
        await once(inside)
    await cluster(town, "away", url, "Connecting")
    waiting = await town.until(workspaces, "link", partial(told, "MountObjectNotReady"), "NotReady")
    assert phase(waiting) == "Unavailable"
    await report(town, "away", url, "Ready")
    ready = await town.until(workspaces, "link", lambda w: phase(w) == "Ready", "Ready")
    assert meta.labels(await town.until(workspaces, "link", lambda w: "tenancy.kcp.io/phase" in meta.labels(w), "label"))
    assert ready["spec"]["URL"] == url
    assert await inside.resource(LOGICAL_CLUSTERS).get("cluster")
    await report(town, "away", url, "Unknown")
    await town.until(workspaces, "link", lambda w: phase(w) == "Unavailable", "Unavailable")
    with pytest.raises(ServiceUnavailable):
        await once(inside)
    await town.at().resource(CLUSTERS).delete("away")
    await town.until(workspaces, "link", partial(told, "MountObjectNotFound"), "the mount's end")


async def ask(client: Client) -> RawResponse:
    """A read that is not tried again."""
    return await client.transport.request(client.request("GET", "/apis/core.kcp.io/v1alpha1/logicalclusters/cluster"))


async def once(client: Client) -> None:
    """The same. Raises StatusError."""
    answer = await ask(client)
    if answer.status >= 400:
        raise client.error_of(answer)


async def test_a_mount_needs_no_annotation_and_a_safe_url(town: Town) -> None:
    await cluster(town, "plain", "https://kube.example.com", annotations={})
    assert phase(await mounted(town, "a", "plain")) == "Ready"
    await cluster(town, "open", "http://kube.example.com")
    refused = await mounted(town, "b", "open", "MountObjectInvalidURL")
    assert "URL" not in refused["spec"]
    await cluster(town, "nowhere")
    await mounted(town, "c", "nowhere", "MountObjectInvalidURL")


async def test_a_kind_that_is_defined_later_is_mounted_then(town: Town) -> None:
    await town.at().resource(CRDS).delete("kubeclusters.contrib.kcp.io")
    await town.gone(town.at().resource(CRDS), "kubeclusters.contrib.kcp.io")
    await mounted(town, "link", "away", "MountObjectNotFound")
    await define(town)
    await cluster(town, "away", "https://kube.example.com")
    await town.until(town.at().resource(WORKSPACES), "link", partial(told, "True"), "the mount")


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("https://kube:6443/a", ""), ("http://kube", "its scheme must be https"), ("https:///a", "it must name a host"),
        ("https://me:it@kube", "it must not contain user info"), ("https://kube?x=1", "it must not have a query or a fragment"),
        ("https://kube/#x", "it must not have a query or a fragment"), ("https://kube:port", "Port could not be cast"),
    ],
)  # fmt: skip
def test_urls_that_may_be_mounted(url: str, fault: str) -> None:
    assert url_fault(url).startswith(fault)
    assert bool(url_fault(url)) is bool(fault)


async def test_who_may_not_see_the_workspace_sees_no_mount(town: Town) -> None:
    await cluster(town, "away", "https://127.0.0.1:1")
    await mounted(town, "link", "away")
    for path in ("root:town:link", "root:town:none"):
        with pytest.raises(Forbidden) as refused:
            await once(town.at(path, user=BOB))
        assert "mount" not in str(refused.value)
        assert "access denied" in str(refused.value)


async def test_workspaces_below_a_mounted_workspace_are_reached_through_it(town: Town) -> None:
    await town.type("shop", extend={"with": [{"name": "universal", "path": "root"}]})
    url = (await town.workspace("shop", "shop"))["spec"]["URL"]
    workspaces = town.at("root:town:shop", user=ADA).resource(WORKSPACES)
    child = mount("child", "") | {"spec": {"type": {"name": "universal", "path": "root"}}}
    await workspaces.create(child)
    made = await town.until(workspaces, "child", lambda w: phase(w) == "Ready", "the child")
    await cluster(town, "away", url)
    await mounted(town, "link", "away")
    below = town.at("root:town:link:child", user=ADA)
    await below.resource(CONFIG_MAPS).create(config_map("x"))
    held = await town.at("root:town:shop:child", user=ADA).resource(CONFIG_MAPS).get("x", namespace="default")
    assert meta.cluster(held) == made["spec"]["cluster"]
    for path, user in (("root:town:link:none", ADA), ("root:town:link:child:none", ADA), ("root:town:link:child", BOB)):
        with pytest.raises(Forbidden):
            await once(town.at(path, user=user))
    await report(town, "away", url, "Connecting")
    await town.until(town.at().resource(WORKSPACES), "link", partial(told, "MountObjectNotReady"), "NotReady")
    with pytest.raises(ServiceUnavailable, match='workspace "root:town:link:child" is a mount that is not ready'):
        await once(below)


async def test_below_a_mount_that_is_no_workspace_nothing_exists(town: Town) -> None:
    await cluster(town, "away", "https://127.0.0.1:1")
    await mounted(town, "link", "away")
    with pytest.raises(Forbidden):
        await once(town.at("root:town:link:child", user=ADA))


async def test_circles_end(town: Town) -> None:
    url = town.server.admin.server
    await cluster(town, "round", f"{url}/clusters/root:town:link")
    await mounted(town, "link", "round")
    answer = await ask(town.at("root:town:link", user=ADA))
    assert answer.status == 508
    assert b"is mounted in a circle" in answer.body


async def test_nobody_impersonates_inside(town: Town) -> None:
    await cluster(town, "away", "https://127.0.0.1:1")
    await mounted(town, "link", "away")
    master = UserInfo("shard-admin", ("system:masters",))
    request = RawRequest("GET", "/clusters/root:town:link/api", headers={"impersonate-user": "ada", "impersonate-group": "system:masters"})
    answer = await AsgiTransport(town.server.app, master).request(request)
    assert answer.status == 403
    assert b"impersonation is not supported" in answer.body


async def test_an_unreachable_server_is_told(town: Town) -> None:
    await cluster(town, "away", "https://127.0.0.1:1")
    await mounted(town, "link", "away")
    answer = await ask(town.at("root:town:link", user=ADA))
    assert answer.status == 502
    assert b'the mount target of workspace \\"root:town:link\\" is unavailable' in answer.body


async def test_mounts_name_their_object_and_keep_it(town: Town) -> None:
    workspaces = town.at(user=ADA).resource(WORKSPACES)
    for field in ("kind", "name", "apiVersion"):
        wanted = mount("x", "away")
        del wanted["spec"]["mount"]["ref"][field]
        with pytest.raises((Forbidden, Invalid), match=field):
            await workspaces.create(wanted)
    with pytest.raises(Forbidden, match=r"spec\.type cannot be set"):
        await workspaces.create(
            {**(wanted := mount("x", "away")), "spec": {**wanted["spec"], "type": {"name": "universal", "path": "root"}}}
        )
    await mounted(town, "link", "away", "MountObjectNotFound")
    with pytest.raises(Forbidden, match=r"spec\.mount is immutable"):
        await workspaces.patch("link", {"spec": {"mount": {"ref": {"name": "other"}}}})
    with pytest.raises(Forbidden, match=r"spec\.URL can only be changed by system privileged users"):
        await workspaces.patch("link", {"spec": {"URL": "https://mine"}})


async def test_without_the_gate_nothing_is_mounted(tmp_path: Path) -> None:
    async with run_server(Options(root_directory=tmp_path, in_memory=True), clock=SystemClock(), with_socket=False) as server:
        with pytest.raises(Forbidden, match="--feature-gates=WorkspaceMounts=true"):
            await server.client.cluster("root").resource(WORKSPACES).create(mount("x", "away"))


@asynccontextmanager
async def mount_of_a_server(tmp_path: Path, **options: Any) -> AsyncIterator[tuple[KcpServer, Town]]:
    """A server that believes the town's mounts who asks, mounted as `link`. Args: options: of the town's server."""
    proxies = pki_issue.authority("proxies", now=datetime.now(UTC), lifetime=timedelta(days=1))
    issued = pki_issue.client((proxies.certificate, proxies.key), "mounts", (), now=datetime.now(UTC), lifetime=timedelta(days=1))
    files = {name: tmp_path / name for name in ("proxies.crt", "client.crt", "client.key", "server-ca.crt")}
    for name, content in (("proxies.crt", proxies.certificate), ("client.crt", issued.certificate), ("client.key", issued.key)):
        files[name].write_bytes(content)
    headers = RequestHeaderOptions(client_ca_file=files["proxies.crt"], allowed_names=("mounts",))
    behind = Options(
        root_directory=tmp_path / "behind", in_memory=True, secure_port=0, authentication=AuthenticationOptions(request_header=headers)
    )
    async with run_server(behind, clock=SystemClock()) as server:
        files["server-ca.crt"].write_bytes(server.admin.ca_pem)
        given: dict[str, Any] = {
            "client_cert_file": files["client.crt"],
            "client_key_file": files["client.key"],
            "server_ca_file": files["server-ca.crt"],
        }
        async with towns(tmp_path / "front", with_socket=True, **given, **options) as town:
            await cluster(town, "away", f"{server.url}/clusters/root")
            await mounted(town, "link", "away")
            yield server, town


async def test_another_server_gets_the_name_of_the_caller_and_nothing_else(tmp_path: Path) -> None:
    """Over HTTPS: reads, writes, errors and a watch."""
    async with mount_of_a_server(tmp_path) as (server, town):
        inside = town.at("root:town:link", user=ADA)
        with pytest.raises(Forbidden, match='User "ada" cannot list resource "configmaps"'):
            await inside.resource(CONFIG_MAPS).list()
        await admit(server.client.cluster("root"), ADA)
        await inside.resource(CONFIG_MAPS).create(config_map("mine"))
        held = await server.client.cluster("root").resource(CONFIG_MAPS).get("mine", namespace="default")
        reviewed = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        review = await inside.resource(GVR("authentication.k8s.io", "v1", "selfsubjectreviews")).create(reviewed)
        assert review["status"]["userInfo"]["username"] == "ada"
        assert set(review["status"]["userInfo"]["groups"]) == {"dev", "system:authenticated"}
        assert review["status"]["userInfo"]["extra"] == {"floor": ["1"]}
        with pytest.raises(NotFound, match='configmaps "none" not found'):
            await inside.resource(CONFIG_MAPS).get("none", namespace="default")
        listed = await inside.resource(CONFIG_MAPS).list(label_selector="a=b,c in (d,e)")
        assert listed.items == []
        watch = inside.resource(CONFIG_MAPS).watch(resource_version=meta.resource_version(held))
        async with asyncio.timeout(10), aclosing(watch) as events:
            await server.client.cluster("root").resource(CONFIG_MAPS).delete("mine", namespace="default")
            assert (await anext(events)).type == "DELETED"


async def test_what_goes_on_to_another_server_is_recorded_whole(tmp_path: Path) -> None:
    policy, log = tmp_path / "policy.yaml", tmp_path / "audit.log"
    policy.write_text(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\n"
        "rules: [{level: RequestResponse, users: [ada], resources: [{resources: [configmaps]}]}]\n"
    )
    async with mount_of_a_server(tmp_path, audit=AuditConfig(policy_file=policy, log=LogConfig(path=str(log)))) as (server, town):
        maps = town.at("root:town:link", user=ADA).resource(CONFIG_MAPS)
        with pytest.raises(Forbidden):
            await maps.create(config_map("mine"))
        await admit(server.client.cluster("root"), ADA)
        await maps.create(config_map("mine"))
        await maps.patch("mine", {"data": {"a": "b"}}, namespace="default")
        broken = RawRequest("POST", "/clusters/root:town:link/api/v1/namespaces/default/configmaps", body=b"{no json")
        assert (await AsgiTransport(town.server.app, ADA).request(broken)).status in (400, 415)
        assert (await maps.list()).items
    refused, created, patched, torn, listed = (orjson.loads(line) for line in log.read_bytes().splitlines())
    assert refused["requestObject"] == created["requestObject"] == config_map("mine")
    assert refused["objectRef"]["name"] == "mine"
    assert (refused["responseObject"]["reason"], refused["responseStatus"]["code"]) == ("Forbidden", 403)
    assert created["responseObject"]["metadata"]["uid"]
    assert patched["requestObject"] == {"data": {"a": "b"}} == {"data": patched["responseObject"]["data"]}
    assert "requestObject" not in torn
    assert listed["responseObject"]["kind"] == "ConfigMapList"


async def admit(root: Client, user: UserInfo) -> None:
    subject = {"apiGroup": CLUSTER_ROLES.group, "kind": "User", "name": user.name}
    role = {"apiVersion": CLUSTER_ROLES.api_version, "kind": "ClusterRole", "metadata": {"name": "guests"}, "rules": EVERYTHING}
    await root.resource(CLUSTER_ROLES).create(role)
    reference = {"apiGroup": CLUSTER_ROLES.group, "kind": "ClusterRole", "name": "guests"}
    binding = {"apiVersion": CLUSTER_ROLES.api_version, "kind": "ClusterRoleBinding", "metadata": {"name": "guests"}}
    await root.resource(CLUSTER_ROLE_BINDINGS).create({**binding, "roleRef": reference, "subjects": [subject]})


async def test_audit_says_which_mount_and_where_to(tmp_path: Path) -> None:
    policy, log = tmp_path / "policy.yaml", tmp_path / "audit.log"
    policy.write_text(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata, users: [ada]}]\n"
    )
    async with towns(tmp_path, audit=AuditConfig(policy_file=policy, log=LogConfig(path=str(log)))) as town:
        await cluster(town, "away", "https://127.0.0.1:1")
        await mounted(town, "link", "away")
        assert (await ask(town.at("root:town:link", user=ADA))).status == 502
    events = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    annotations = [event["annotations"] for event in events if event.get("responseStatus", {}).get("code") == 502]
    assert [a["mount.tenancy.kcp.io/workspace"] for a in annotations] == ["root:town:link"]
    assert [a["mount.tenancy.kcp.io/target"] for a in annotations] == ["https://127.0.0.1:1"]
