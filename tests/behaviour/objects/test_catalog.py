"""What a cluster serves from the start: groups, versions, resources, subresources and their verbs, as Kubernetes 1.36 does.

Source: k8s.io/kubernetes/api/discovery/*.json; pkg/controlplane/instance.go (which versions are on by default).
"""

from __future__ import annotations

import orjson
from tests.behaviour.objects.world import World

from kcp.apimachinery import meta
from kcp.apimachinery.errors import StatusError

GROUPS = {
    "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "apps", "authentication.k8s.io",
    "authorization.k8s.io", "autoscaling", "batch", "certificates.k8s.io", "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io",
    "flowcontrol.apiserver.k8s.io", "networking.k8s.io", "node.k8s.io", "policy", "rbac.authorization.k8s.io", "resource.k8s.io",
    "scheduling.k8s.io", "storage.k8s.io",
}  # fmt: skip
SUBRESOURCES = {
    "namespaces/finalize": ("Namespace", ["update"]),
    "nodes/proxy": ("NodeProxyOptions", ["create", "delete", "get", "patch", "update"]),
    "pods/attach": ("PodAttachOptions", ["create", "get"]),
    "pods/binding": ("Binding", ["create"]),
    "pods/ephemeralcontainers": ("Pod", ["get", "patch", "update"]),
    "pods/eviction": ("Eviction", ["create"]),
    "pods/exec": ("PodExecOptions", ["create", "get"]),
    "pods/log": ("Pod", ["get"]),
    "pods/portforward": ("PodPortForwardOptions", ["create", "get"]),
    "pods/proxy": ("PodProxyOptions", ["create", "delete", "get", "patch", "update"]),
    "pods/resize": ("Pod", ["get", "patch", "update"]),
    "replicationcontrollers/scale": ("Scale", ["get", "patch", "update"]),
    "serviceaccounts/token": ("TokenRequest", ["create"]),
    "services/proxy": ("ServiceProxyOptions", ["create", "delete", "get", "patch", "update"]),
}
STORAGE_HASHES = {"configmaps": "qFsyl6wFWjQ=", "pods": "xPOwRZ+Yhw8=", "services": "0/CO1lhkEBI=", "nodes": "XwShjMxG9Fs="}


async def test_a_cluster_serves_every_group_that_kubernetes_serves(world: World) -> None:
    groups = {group["name"]: group["preferredVersion"]["version"] for group in (await world.get("/apis"))["groups"]}
    assert groups.pop("sim.kcp.io") == "v1alpha1", "faults of the simulated cluster itself"
    assert set(groups) == GROUPS
    assert {version for group, version in groups.items() if group != "autoscaling"} == {"v1"}
    assert groups["autoscaling"] == "v2"


async def test_subresources_of_v1_have_the_kinds_and_verbs_of_kubernetes(world: World) -> None:
    served = {entry["name"]: entry for entry in (await world.get("/api/v1"))["resources"]}
    found = {name: (served[name]["kind"], served[name]["verbs"]) for name in SUBRESOURCES if name in served}
    assert found == SUBRESOURCES
    assert {name: served[name]["storageVersionHash"] for name in STORAGE_HASHES} == STORAGE_HASHES
    assert (served["bindings"]["kind"], served["bindings"]["verbs"]) == ("Binding", ["create"])
    assert (served["componentstatuses"]["shortNames"], served["componentstatuses"]["verbs"]) == (["cs"], ["get", "list"])
    assert not [name for name in ("bindings", "componentstatuses") if "storageVersionHash" in served[name]]


async def test_component_statuses_are_healthy_read_only_and_deprecated(world: World) -> None:
    answer = await world.call("GET", "/api/v1/componentstatuses")
    assert {meta.name(item): item["conditions"][0]["type"] for item in answer.body["items"]} == {
        "controller-manager": "Healthy", "etcd-0": "Healthy", "scheduler": "Healthy",
    }  # fmt: skip
    assert answer.warnings == '299 - "v1 ComponentStatus is deprecated in v1.19+"'
    as_table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    response = await world.client.raw("GET", "/api/v1/componentstatuses", headers={"accept": as_table})
    table = orjson.loads(response.body)
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Status", "Message", "Error"]
    assert table["rows"][1]["cells"] == ["etcd-0", "Healthy", "ok", ""]
    one = await world.get("/api/v1/componentstatuses/etcd-0")
    assert one["conditions"] == [{"type": "Healthy", "status": "True", "message": "ok"}]
    assert (await world.call("DELETE", "/api/v1/componentstatuses/etcd-0")).status == 405
    assert (await world.call("GET", "/api/v1/componentstatuses/nothing")).status == 404


async def test_endpoints_warn_that_slices_replace_them(world: World) -> None:
    answer = await world.call("GET", "/api/v1/endpoints")
    assert answer.warnings == '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'


async def test_connections_need_an_upgrade_and_something_to_connect_to(world: World) -> None:
    await world.make("/api/v1/namespaces/default/pods", {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "app", "image": "nginx:1"}]},
    })  # fmt: skip
    await world.make("/api/v1/namespaces/default/services", {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]},
    })  # fmt: skip
    base = "/api/v1/namespaces/default"
    for method, path, status in (
        ("POST", f"{base}/pods/a/exec", 400), ("GET", f"{base}/pods/a/attach", 400), ("POST", f"{base}/pods/a/portforward", 400),
        ("GET", f"{base}/pods/a:80/proxy/deep/path", 503), ("DELETE", f"{base}/services/http:s:80/proxy/x", 503),
    ):  # fmt: skip
        answer = await world.call(method, path)
        assert answer.status == status, (path, answer.message)
    for path in (f"{base}/pods/nobody/exec", f"{base}/services/nobody/proxy/", "/api/v1/nodes/nobody/proxy/"):
        assert (await world.call("GET", path)).status == 404
    assert (await world.call("PUT", f"{base}/pods/a/exec", {})).status == 405


async def test_a_pod_is_bound_through_the_collection_of_bindings_too(world: World) -> None:
    pod = {"containers": [{"name": "app", "image": "nginx:1"}], "schedulerName": "nobody"}
    await world.make("/api/v1/namespaces/default/pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod})
    node = meta.name((await world.get("/api/v1/nodes"))["items"][0])
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}}
    await world.make("/api/v1/namespaces/default/bindings", binding)
    assert (await world.get("/api/v1/namespaces/default/pods/p"))["spec"]["nodeName"] == node


async def test_a_cluster_tells_of_its_groups_levels_and_addresses(world: World) -> None:
    services: dict[str, object] = {}
    wanted = {"v1.", "v1.apps", "v2.autoscaling", "v1.autoscaling", "v1.storage.k8s.io"}
    for _ in range(200):
        listed = (await world.get("/apis/apiregistration.k8s.io/v1/apiservices"))["items"]
        services = {meta.name(item): item["status"]["conditions"][0] for item in listed if item["status"].get("conditions")}
        if wanted <= services.keys():
            break
        await world.clock.advance(0.05)
    assert wanted <= services.keys()
    levels = (await world.get("/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"))["items"]
    assert {"exempt", "catch-all", "global-default", "system", "workload-low"} <= {meta.name(item) for item in levels}
    schemas = (await world.get("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"))["items"]
    assert {"exempt", "catch-all", "global-default"} <= {meta.name(item) for item in schemas}
    network = await world.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes")
    assert network["spec"] == {"cidrs": ["10.96.0.0/16"]}
    assert network["status"]["conditions"][0]["type"] == "Ready"


NECESSARY = (
    "ping", "log", "etcd", "poststarthook/start-apiserver-admission-initializer", "poststarthook/generic-apiserver-start-informers",
    "poststarthook/start-apiextensions-informers", "poststarthook/start-apiextensions-controllers", "poststarthook/crd-informer-synced",
    "poststarthook/bootstrap-controller", "poststarthook/start-system-namespaces-controller",
    "poststarthook/scheduling/bootstrap-system-priority-classes", "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-kube-aggregator-informers", "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-status-local-available-controller", "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/start-service-ip-repair-controllers", "poststarthook/storage-readiness",
    "poststarthook/kube-apiserver-autoregistration", "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
)  # fmt: skip


async def test_a_cluster_tells_of_its_start_by_the_names_that_clients_look_for(world: World) -> None:
    # Source: test/e2e/apimachinery/health_handlers.go
    async def told(probe: str) -> set[str]:
        for _ in range(200):
            try:
                return set((await world.client.raw("GET", f"/{probe}", query={"verbose": "1"})).body.decode().splitlines())
            except StatusError:
                await world.clock.advance(0.05)
        raise AssertionError(f"{probe} does not pass")

    necessary = {f"[+]{name} ok" for name in NECESSARY}
    assert necessary | {"healthz check passed"} <= await told("healthz")
    assert necessary | {"livez check passed"} <= await told("livez")
    assert necessary | {"[+]informer-sync ok", "[+]etcd-readiness ok", "[+]shutdown ok"} <= await told("readyz")
