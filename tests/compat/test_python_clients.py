"""Python clients against a simulated cluster and a workspace: `kubernetes` (typed, dynamic), `kubernetes_asyncio`, `kr8s`, `lightkube`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.compat.servers import WORKLOAD, Server
from tests.e2e.processes import Kubectl

REASON = "needs the clients: pip install -e .[compat]"
kubernetes: Any = pytest.importorskip("kubernetes", reason=REASON)
kubernetes_asyncio: Any = pytest.importorskip("kubernetes_asyncio", reason=REASON)
kr8s: Any = pytest.importorskip("kr8s", reason=REASON)
lightkube: Any = pytest.importorskip("lightkube", reason=REASON)

pytestmark = [
    pytest.mark.e2e,
    # kr8s leaves its connections to the garbage collector, which may come at any later test.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Kubernetes version .* is not supported:UserWarning"),  # kr8s, of servers newer than itself
]

CRD = yaml.safe_load((Path(__file__).parent / "chart" / "crds" / "sites.yaml").read_text())
DEPLOYMENT = yaml.safe_load(WORKLOAD.split("---")[0])
SERVERS = ["cluster", "workspace"]


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": "x"}}, "data": data}


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Server:
    """The server that a test asks for by name."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def api(server: Server) -> Iterator[Any]:
    """A client of `kubernetes` made from the kubeconfig."""
    with kubernetes.config.new_client_from_config(str(server.kubeconfig)) as client:
        yield client


def in_namespace(server: Server, request: pytest.FixtureRequest) -> str:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.removeprefix("test_"))[:55].strip("-")
    return server.namespace(name).flags[1]


# --- kubernetes


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_the_typed_client_creates_reads_changes_and_deletes(server: Server, api: Any, request: pytest.FixtureRequest) -> None:
    core, namespace = kubernetes.client.CoreV1Api(api), in_namespace(server, request)
    made = core.create_namespaced_config_map(namespace, config_map("a", color="blue"))
    assert (made.metadata.name, made.data, made.kind) == ("a", {"color": "blue"}, "ConfigMap")
    assert core.read_namespaced_config_map("a", namespace).metadata.uid == made.metadata.uid
    patched = core.patch_namespaced_config_map("a", namespace, {"data": {"size": "1"}})
    assert patched.data == {"color": "blue", "size": "1"}
    patched.data["color"] = "red"
    replaced = core.replace_namespaced_config_map("a", namespace, patched)
    assert replaced.data["color"] == "red"
    with pytest.raises(kubernetes.client.ApiException) as stale:
        core.replace_namespaced_config_map("a", namespace, patched)
    assert (stale.value.status, json.loads(stale.value.body)["reason"]) == (409, "Conflict")
    listed = core.list_namespaced_config_map(namespace, label_selector="app=x", field_selector="metadata.name=a")
    assert [item.metadata.name for item in listed.items] == ["a"]
    assert api.sanitize_for_serialization(core.delete_namespaced_config_map("a", namespace))["status"] == "Success"
    with pytest.raises(kubernetes.client.ApiException) as missing:
        core.read_namespaced_config_map("a", namespace)
    assert (missing.value.status, missing.value.reason) == (404, "Not Found")
    core.delete_collection_namespaced_config_map(namespace, label_selector="app=x")


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_the_typed_client_pages_and_watches(server: Server, api: Any, request: pytest.FixtureRequest) -> None:
    core, namespace = kubernetes.client.CoreV1Api(api), in_namespace(server, request)
    for number in range(5):
        core.create_namespaced_config_map(namespace, config_map(f"m{number}"))
    first = core.list_namespaced_config_map(namespace, limit=2, label_selector="app=x")
    rest = core.list_namespaced_config_map(namespace, limit=10, _continue=first.metadata._continue, label_selector="app=x")
    assert [item.metadata.name for item in (*first.items, *rest.items)] == [f"m{number}" for number in range(5)]
    revision = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.patch_namespaced_config_map("m0", namespace, {"data": {"a": "b"}})
    core.delete_namespaced_config_map("m1", namespace)
    watch = kubernetes.watch.Watch()
    seen = []
    for event in watch.stream(core.list_namespaced_config_map, namespace, resource_version=revision, timeout_seconds=5):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 2:
            watch.stop()
    assert seen == [("MODIFIED", "m0"), ("DELETED", "m1")]


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_the_typed_client_installs_a_custom_kind_and_uses_it(server: Server, api: Any, request: pytest.FixtureRequest) -> None:
    namespace = in_namespace(server, request)
    extensions, custom = kubernetes.client.ApiextensionsV1Api(api), kubernetes.client.CustomObjectsApi(api)
    extensions.create_custom_resource_definition(CRD)
    server.kubectl()("wait", "--for=condition=Established", "crd/sites.compat.example.com", "--timeout=5s")
    at = ("compat.example.com", "v1", namespace, "sites")
    body = {"apiVersion": "compat.example.com/v1", "kind": "Site", "metadata": {"name": "a"}, "spec": {"color": "blue"}}
    made = custom.create_namespaced_custom_object(*at, body)
    assert made["spec"] == {"color": "blue", "pages": 1}
    assert custom.patch_namespaced_custom_object(*at, "a", {"spec": {"pages": 2}})["spec"]["pages"] == 2
    with pytest.raises(kubernetes.client.ApiException) as invalid:
        custom.patch_namespaced_custom_object(*at, "a", {"spec": {"pages": "many"}})
    assert invalid.value.status == 422
    assert [o["metadata"]["name"] for o in custom.list_namespaced_custom_object(*at)["items"]] == ["a"]
    custom.delete_namespaced_custom_object(*at, "a")
    extensions.delete_custom_resource_definition("sites.compat.example.com")
    server.kubectl()("wait", "--for=delete", "crd/sites.compat.example.com", "--timeout=10s")


def test_the_typed_client_runs_a_workload(cluster: Server, kubectl: Kubectl) -> None:
    namespace = kubectl.flags[1]
    with kubernetes.config.new_client_from_config(str(cluster.kubeconfig)) as client:
        apps, core = kubernetes.client.AppsV1Api(client), kubernetes.client.CoreV1Api(client)
        apps.create_namespaced_deployment(namespace, DEPLOYMENT)
        ready = False
        for event in kubernetes.watch.Watch().stream(apps.list_namespaced_deployment, namespace, timeout_seconds=20):
            if event["object"].status.ready_replicas == 2:
                ready = True
                break
        assert ready
        assert apps.read_namespaced_deployment_scale("web", namespace).spec.replicas == 2
        apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 1}})
        kubectl("wait", "--for=jsonpath={.status.replicas}=1", "deployment/web", "--timeout=10s")
        (pod,) = core.list_namespaced_pod(namespace, field_selector="status.phase=Running").items
        assert "started" in core.read_namespaced_pod_log(pod.metadata.name, namespace)
        eviction = kubernetes.client.V1Eviction(metadata=kubernetes.client.V1ObjectMeta(name=pod.metadata.name))
        core.create_namespaced_pod_eviction(pod.metadata.name, namespace, eviction)
        assert len(core.list_node().items) == 3
        assert kubernetes.client.VersionApi(client).get_code().minor == "36"


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_the_typed_client_asks_who_it_is_and_what_it_may(server: Server, api: Any, request: pytest.FixtureRequest) -> None:
    namespace = in_namespace(server, request)
    reviews, core = kubernetes.client.AuthorizationV1Api(api), kubernetes.client.CoreV1Api(api)
    asked = {"spec": {"resourceAttributes": {"verb": "create", "resource": "configmaps", "namespace": namespace}}}
    assert reviews.create_self_subject_access_review(asked).status.allowed
    me = kubernetes.client.AuthenticationV1Api(api).create_self_subject_review({})
    assert me.status.user_info.username.endswith("admin")
    token = core.create_namespaced_service_account_token("default", namespace, {"spec": {"audiences": []}}).status.token
    asking = kubernetes.client.Configuration()
    asking.host, asking.ssl_ca_cert = api.configuration.host, api.configuration.ssl_ca_cert
    asking.api_key = {"authorization": f"Bearer {token}"}
    with kubernetes.client.ApiClient(asking) as other:
        with pytest.raises(kubernetes.client.ApiException) as refused:
            kubernetes.client.CoreV1Api(other).list_namespaced_config_map(namespace)
        assert refused.value.status == 403
        told = (
            f'configmaps is forbidden: User "system:serviceaccount:{namespace}:default" cannot list resource "configmaps" in API group ""'
        )
        assert told in json.loads(refused.value.body)["message"]


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_the_dynamic_client_finds_kinds_and_applies(server: Server, api: Any, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    namespace = in_namespace(server, request)
    dynamic = kubernetes.dynamic.DynamicClient(api, cache_file=str(tmp_path / "cache.json"))
    maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    applied = maps.server_side_apply(config_map("a", x="1"), namespace=namespace, field_manager="me")
    assert applied.data.x == "1"
    with pytest.raises(kubernetes.dynamic.exceptions.ConflictError):
        maps.server_side_apply(config_map("a", x="2"), namespace=namespace, field_manager="you")
    assert maps.server_side_apply(config_map("a", x="2"), namespace=namespace, field_manager="you", force_conflicts=True).data.x == "2"
    assert [m.metadata.name for m in maps.get(namespace=namespace, label_selector="app=x").items] == ["a"]
    maps.patch(name="a", namespace=namespace, body={"data": {"y": "1"}}, content_type="application/merge-patch+json")
    assert maps.get(name="a", namespace=namespace).data.to_dict() == {"x": "2", "y": "1"}
    seen = [e["type"] for e in maps.watch(namespace=namespace, timeout=1, label_selector="app=x")]
    assert seen == ["ADDED"]
    maps.delete(name="a", namespace=namespace)
    with pytest.raises(kubernetes.dynamic.exceptions.NotFoundError):
        maps.get(name="a", namespace=namespace)
    assert dynamic.resources.get(api_version="rbac.authorization.k8s.io/v1", kind="Role").namespaced


def test_objects_are_created_from_yaml(cluster: Server, kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(WORKLOAD)
    with kubernetes.config.new_client_from_config(str(cluster.kubeconfig)) as client:
        kubernetes.utils.create_from_yaml(client, str(tmp_path / "all.yaml"), namespace=kubectl.flags[1])
    assert kubectl("get", "deployment,service", "-o", "name").split() == ["deployment.apps/web", "service/web"]


# --- kubernetes_asyncio


@pytest.fixture
async def async_api(server: Server) -> AsyncIterator[Any]:
    client = await kubernetes_asyncio.config.new_client_from_config(config_file=str(server.kubeconfig))
    async with client:
        yield client


@pytest.mark.parametrize("server", SERVERS, indirect=True)
async def test_the_asyncio_client_reads_writes_and_watches(server: Server, async_api: Any, request: pytest.FixtureRequest) -> None:
    core, namespace = kubernetes_asyncio.client.CoreV1Api(async_api), in_namespace(server, request)
    await core.create_namespaced_config_map(namespace, config_map("a", x="1"))
    revision = (await core.list_namespaced_config_map(namespace)).metadata.resource_version
    patched = await core.patch_namespaced_config_map("a", namespace, [{"op": "replace", "path": "/data/x", "value": "2"}])
    assert patched.data == {"x": "2"}
    await core.delete_namespaced_config_map("a", namespace)
    seen = []
    async with kubernetes_asyncio.watch.Watch().stream(
        core.list_namespaced_config_map, namespace, resource_version=revision, timeout_seconds=5
    ) as events:
        async for event in events:
            seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == 2:
                break
    assert seen == [("MODIFIED", "a"), ("DELETED", "a")]
    with pytest.raises(kubernetes_asyncio.client.ApiException) as missing:
        await core.read_namespaced_config_map("a", namespace)
    assert missing.value.status == 404


@pytest.mark.parametrize("server", SERVERS, indirect=True)
async def test_the_dynamic_asyncio_client(server: Server, async_api: Any, request: pytest.FixtureRequest) -> None:
    namespace = in_namespace(server, request)
    dynamic = await kubernetes_asyncio.dynamic.DynamicClient(async_api)
    secrets = await dynamic.resources.get(api_version="v1", kind="Secret")
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}
    made = await secrets.create(body=body, namespace=namespace)
    assert made.data.a == "Yg=="
    assert made.type == "Opaque"
    await secrets.delete(name="s", namespace=namespace)


# --- kr8s


@pytest.mark.parametrize("server", SERVERS, indirect=True)
async def test_kr8s_handles_objects(server: Server, request: pytest.FixtureRequest) -> None:
    namespace = in_namespace(server, request)
    api = await kr8s.asyncio.api(kubeconfig=str(server.kubeconfig), namespace=namespace)
    held = await kr8s.asyncio.objects.ConfigMap({**config_map("a", x="1"), "metadata": {"name": "a", "namespace": namespace}}, api=api)
    await held.create()
    assert await held.exists()
    await held.patch({"data": {"y": "2"}})
    assert held.data == {"x": "1", "y": "2"}
    await held.label({"tier": "web"})
    assert held.labels == {"tier": "web"}
    await held.annotate({"note": "hi"})
    found = [o.name async for o in api.get("configmaps", namespace=namespace, label_selector={"tier": "web"})]
    assert found == ["a"]
    assert (await api.version())["minor"] == "36"
    assert await api.whoami()
    await held.delete()
    await held.wait("delete", timeout=5)
    assert not await held.exists()
    kinds = {resource["kind"] for resource in await api.api_resources()}
    assert {"ConfigMap", "Secret", "CustomResourceDefinition"} <= kinds


async def test_kr8s_runs_a_workload(cluster: Server, kubectl: Kubectl) -> None:
    namespace = kubectl.flags[1]
    api = await kr8s.asyncio.api(kubeconfig=str(cluster.kubeconfig), namespace=namespace)
    held = await kr8s.asyncio.objects.Deployment({**DEPLOYMENT, "metadata": {"name": "web", "namespace": namespace}}, api=api)
    await held.create()
    await held.wait("condition=Available", timeout=20)
    assert await held.ready()
    pods = await held.pods()
    assert len(pods) == 2
    assert [line async for line in pods[0].logs()] != []
    await held.scale(3)
    await held.wait("jsonpath='{.status.readyReplicas}'=3", timeout=20)
    assert held.replicas == 3
    node = await kr8s.asyncio.objects.Node.get("east-node-3", api=api)
    await node.cordon()
    assert node.unschedulable
    await node.uncordon()


# --- lightkube


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_lightkube_applies_and_watches(server: Server, request: pytest.FixtureRequest) -> None:
    namespace = in_namespace(server, request)
    config = lightkube.KubeConfig.from_file(str(server.kubeconfig))
    with lightkube.Client(config=config, namespace=namespace, field_manager="me") as client:
        apply_and_watch(client)


def apply_and_watch(client: Any) -> None:
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.core_v1 import ConfigMap

    wanted = ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name="a"), data={"x": "1"})
    assert client.apply(wanted).data == {"x": "1"}
    with pytest.raises(lightkube.ApiError) as conflict:
        client.apply(ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name="a"), data={"x": "2"}), field_manager="you")
    assert conflict.value.status.reason == "Conflict"
    assert client.patch(ConfigMap, "a", {"data": {"y": "2"}}).data == {"x": "1", "y": "2"}
    assert [m.metadata.name for m in client.list(ConfigMap, fields={"metadata.name": "a"})] == ["a"]
    event, seen = next(iter(client.watch(ConfigMap, fields={"metadata.name": "a"})))
    assert (event, seen.metadata.name) == ("ADDED", "a")
    client.delete(ConfigMap, "a")
    with pytest.raises(lightkube.ApiError) as missing:
        client.get(ConfigMap, "a")
    assert missing.value.status.code == 404


def test_lightkube_waits_for_a_workload(cluster: Server, kubectl: Kubectl) -> None:
    from lightkube.resources.apps_v1 import Deployment

    config = lightkube.KubeConfig.from_file(str(cluster.kubeconfig))
    with lightkube.Client(config=config, namespace=kubectl.flags[1]) as client:
        client.create(Deployment.from_dict(DEPLOYMENT))
        held = client.wait(Deployment, "web", for_conditions=["Available"])
        assert held.spec.replicas == 2
        scale = client.get(Deployment.Scale, "web")
        scale.spec.replicas = 1
        client.replace(scale, "web")
        kubectl("wait", "--for=jsonpath={.status.replicas}=1", "deployment/web", "--timeout=10s")
