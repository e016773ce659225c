"""What a server begins with and under which names it is reached: `--batteries-included`, `--shard-*-url`, `--tls-cert-file`, gates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from kcp.aio.clock import SystemClock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound, Unauthorized
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.pki import PKI
from kcp.client.kubeconfig import connect
from kcp.exports.names import EXPORTS
from kcp.server.compose import KcpServer, run_server
from kcp.server.options import Options
from kcp.server.startoptions import ServingCertificate, ShardOptions
from kcp.tenancy import kinds
from kcp.tenancy.waiting import wait_for

REVIEWS = GVR("authentication.k8s.io", "v1", "selfsubjectreviews")


@asynccontextmanager
async def running(tmp_path: Path, *, with_socket: bool = False, **options: Any) -> AsyncIterator[KcpServer]:
    found = Options(root_directory=tmp_path / ".kcp", in_memory=True, secure_port=0, **options)
    assert found.problems() == []
    async with run_server(found, clock=SystemClock(), with_socket=with_socket) as server:
        yield server


async def make_workspace(server: KcpServer, name: str, kind: str = "universal") -> JSONObject:
    workspaces = server.client.cluster("root").resource(kinds.WORKSPACES)
    obj = {"apiVersion": kinds.WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name}}
    await workspaces.create({**obj, "spec": {"type": {"name": kind, "path": "root"}}})
    return await wait_for(workspaces, name, lambda w: meta.nested(w, "status", "phase") == "Ready", timeout_s=10.0, what=name)


async def test_a_server_behind_other_names_tells_those(tmp_path: Path) -> None:
    shard = ShardOptions(base_url="https://shard.test:1", external_url="https://front.test", virtual_workspace_url="https://views.test")
    async with running(tmp_path, shard=shard) as server:
        held = await server.client.cluster("root").resource(kinds.SHARDS).get("root")
        assert held["spec"] == {
            "baseURL": "https://shard.test:1", "externalURL": "https://front.test", "virtualWorkspaceURL": "https://views.test",
        }  # fmt: skip
        made = await make_workspace(server, "one")
        assert made["spec"]["URL"] == "https://front.test/clusters/root:one"
        cluster = await server.client.cluster("root:one").resource(kinds.LOGICAL_CLUSTERS).get("cluster")
        assert cluster["status"]["URL"].startswith("https://front.test/clusters/")
        export = await server.client.cluster("root").resource(EXPORTS).get("tenancy.kcp.io")
        assert export["status"]["virtualWorkspaces"][0]["url"] == "https://views.test/services/apiexport/root/tenancy.kcp.io"
        assert server.admin.server == "https://shard.test:1"


@pytest.mark.parametrize("url", ["http://front.test", "front.test", "https://front.test/"])
def test_urls_that_cannot_be_are_errors(url: str) -> None:
    assert any("--shard-external-url" in problem for problem in Options(shard=ShardOptions(external_url=url)).problems())
    assert any("--shard-name" in problem for problem in Options(shard=ShardOptions(name="other")).problems())


async def test_exports_list_no_urls_where_the_gate_is_closed(tmp_path: Path) -> None:
    async with running(tmp_path, export_urls=False) as server:
        export = await server.client.cluster("root").resource(EXPORTS).get("tenancy.kcp.io")
        assert export["status"]["virtualWorkspaces"] == []


async def certificate_of(server: KcpServer) -> str:
    """What the server shows in a handshake."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]), ssl=trusting)
    shown = ssl.DER_cert_to_PEM_cert(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
    writer.close()
    await writer.wait_closed()
    return shown


async def test_without_the_battery_there_are_no_further_types(tmp_path: Path) -> None:
    async with running(tmp_path, batteries=("admin",)) as server:
        types = server.client.cluster("root").resource(kinds.WORKSPACE_TYPES)
        assert sorted(meta.name(t) for t in (await types.list()).items) == ["home", "root", "universal"]
        assert (await types.get("root"))["spec"]["defaultChildWorkspaceType"]["name"] == "universal"


async def test_the_battery_user_is_somebody_without_rights(tmp_path: Path) -> None:
    async with running(tmp_path, with_socket=True, batteries=("+user",)) as server:
        client = connect(server.options.admin_kubeconfig, "user")
        review = await client.resource(REVIEWS).create({"apiVersion": REVIEWS.api_version, "kind": "SelfSubjectReview"})
        assert review["status"]["userInfo"] == {"username": "user", "groups": ["system:authenticated"]}
        await client.close()


async def test_without_the_battery_admin_nobody_is_one(tmp_path: Path) -> None:
    async with running(tmp_path, with_socket=True, batteries=("workspace-types",)) as server:
        assert not server.options.admin_kubeconfig.exists()
        token = server.admin.kcp_admin_token
        config = _kubeconfig(server.url, PKI(tmp_path / ".kcp" / "pki", clock=SystemClock()).ca_pem(), token)
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump(config))
        client = connect(file)
        with pytest.raises(Unauthorized):
            await client.resource(kinds.WORKSPACES).list()
        await client.close()


async def test_the_battery_metrics_viewer_may_read_metrics(tmp_path: Path) -> None:
    async with running(tmp_path, batteries=("+metrics-viewer",)) as server:
        root = server.client.cluster("root")
        secrets = root.resource(GVR("", "v1", "secrets"))
        async with asyncio.timeout(10):
            while not meta.nested(await secrets.get("metrics", namespace="default"), "data", "token"):
                await server.clock.sleep(0.02)
        binding = await root.resource(kinds.CLUSTER_ROLE_BINDINGS).get("metrics-viewer")
        assert binding["roleRef"]["name"] == "system:kcp:metrics-reader"
        assert [s["name"] for s in binding["subjects"]] == ["metrics", "metrics-viewer"]
    async with running(tmp_path / "other") as server:
        with pytest.raises(NotFound):
            await server.client.cluster("root").resource(kinds.CLUSTER_ROLE_BINDINGS).get("metrics-viewer")


async def test_a_certificate_of_one_s_own_is_served_and_trusted(tmp_path: Path) -> None:
    other = PKI.ensure(tmp_path / "other", hosts=["kcp.test"], clock=SystemClock())
    mine = tmp_path / "mine.crt"
    mine.write_bytes(other.serving.certificate.read_bytes() + other.ca.certificate.read_bytes())
    serving = ServingCertificate(certificate=mine, key=other.serving.key)
    async with running(tmp_path, with_socket=True, serving=serving) as server:
        shown = await certificate_of(server)
        assert shown.strip() == other.serving.certificate.read_text().strip()
        client = connect(server.options.admin_kubeconfig, "root")
        assert (await client.resource(kinds.SHARDS).get("root"))["spec"]["baseURL"] == server.url
        await client.close()
        assert (tmp_path / ".kcp" / "apiserver.crt").read_text().startswith(shown.strip())


async def test_a_pair_in_the_root_directory_is_served_and_stays_as_it_is(tmp_path: Path) -> None:
    other = PKI.ensure(tmp_path / "other", hosts=["kcp.test"], clock=SystemClock())
    root = tmp_path / ".kcp"
    root.mkdir()
    put = {"apiserver.crt": other.serving.certificate.read_bytes(), "apiserver.key": other.serving.key.read_bytes()}
    for name, content in put.items():
        (root / name).write_bytes(content)
    for _ in range(2):
        async with running(tmp_path, with_socket=True) as server:
            assert (await certificate_of(server)).strip() == put["apiserver.crt"].decode().strip()
    assert {name: (root / name).read_bytes() for name in put} == put


async def test_the_server_s_own_certificate_carries_the_names_it_is_told(tmp_path: Path) -> None:
    names = ServingCertificate(names=("kcp.your-domain.com", "kcp-internal.kcp-system.svc.cluster.local", "10.0.0.7"))
    async with running(tmp_path, with_socket=True, serving=names) as server:
        shown = x509.load_pem_x509_certificate((await certificate_of(server)).encode())
        told = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert {*names.names[:2], "localhost"} <= set(told.get_values_for_type(x509.DNSName))
        assert "10.0.0.7" in {str(address) for address in told.get_values_for_type(x509.IPAddress)}


def test_half_a_certificate_is_an_error(tmp_path: Path) -> None:
    problems = Options(serving=ServingCertificate(certificate=tmp_path / "none")).problems()
    assert "--tls-cert-file and --tls-private-key-file: give both or none" in problems
    assert any("no such file" in problem for problem in problems)


async def test_tokens_are_kept_where_the_operator_says(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    seen = []
    for _ in range(2):
        async with running(tmp_path, admin_token_path=path) as server:
            seen.append(server.admin.kcp_admin_token)
    assert seen[0] == seen[1]
    assert path.is_file()
    assert not (tmp_path / ".kcp" / ".admin-token-store").exists()


def _kubeconfig(server: str, ca_pem: str, token: str) -> JSONObject:
    import base64

    cluster = {"server": f"{server}/clusters/root", "certificate-authority-data": base64.b64encode(ca_pem.encode()).decode()}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "a",
        "clusters": [{"name": "a", "cluster": cluster}],
        "users": [{"name": "a", "user": {"token": token}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    }
