"""Discovery in the aggregated and in the old form gives the same."""

from typing import Any

from tests.unit.client.scripted import Scripted, answer

from kcp.apimachinery.gvk import GVR
from kcp.client.rest import Client
from kcp.client.transport import RawRequest, RawResponse

PODS_V2 = {
    "resource": "pods", "responseKind": {"group": "", "version": "v1", "kind": "Pod"}, "scope": "Namespaced", "singularResource": "pod",
    "verbs": ["get", "list"], "shortNames": ["po"], "categories": ["all"], "subresources": [{"subresource": "status", "verbs": ["get"]}],
}  # fmt: skip
JOBS_V2 = {"resource": "jobs", "responseKind": {"kind": "Job"}, "scope": "Cluster", "singularResource": "job", "verbs": ["get"]}


def aggregated(group: str, versions: dict[str, Any]) -> dict[str, Any]:
    listed = [{"version": version, "resources": [resource]} for version, resource in versions.items()]
    return {"kind": "APIGroupDiscoveryList", "items": [{"metadata": {"name": group} if group else {}, "versions": listed}]}


def new_server(request: RawRequest) -> RawResponse:
    return answer(aggregated("", {"v1": PODS_V2}) if request.path == "/api" else aggregated("batch", {"v1": JOBS_V2, "v1beta1": JOBS_V2}))


PODS_V1 = [
    {
        "name": "pods",
        "singularName": "pod",
        "namespaced": True,
        "kind": "Pod",
        "verbs": ["get", "list"],
        "shortNames": ["po"],
        "categories": ["all"],
    },
    {"name": "pods/status", "namespaced": True, "kind": "Pod", "verbs": ["get"]},
]
JOBS_V1 = [{"name": "jobs", "singularName": "job", "namespaced": False, "kind": "Job", "verbs": ["get"]}]
OLD = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "groups": [
            {
                "name": "batch",
                "versions": [{"groupVersion": "batch/v1", "version": "v1"}, {"groupVersion": "batch/v1beta1", "version": "v1beta1"}],
                "preferredVersion": {"groupVersion": "batch/v1", "version": "v1"},
            }
        ],
    },
    "/api/v1": {"kind": "APIResourceList", "resources": PODS_V1},
    "/apis/batch/v1": {"kind": "APIResourceList", "resources": JOBS_V1},
    "/apis/batch/v1beta1": {"kind": "APIResourceList", "resources": JOBS_V1},
}


async def test_aggregated_discovery_costs_two_requests() -> None:
    transport = Scripted(new_server)
    found = await Client(transport).discover()
    assert len(transport.requests) == 2
    assert [(str(r.gvr), r.preferred) for r in found] == [("pods.v1.core", True), ("jobs.v1.batch", True), ("jobs.v1beta1.batch", False)]
    pods = found[0]
    assert (pods.kind, pods.namespaced, pods.verbs, pods.singular) == ("Pod", True, ("get", "list"), "pod")
    assert (pods.short_names, pods.categories, pods.subresources) == (("po",), ("all",), ("status",))
    assert found[1].gvr == GVR("batch", "v1", "jobs")


async def test_old_discovery_gives_the_same() -> None:
    old = await Client(Scripted(lambda request: answer(OLD[request.path]))).discover()
    assert old == await Client(Scripted(new_server)).discover()


async def test_a_core_group_in_name_only_is_empty() -> None:
    documents = {path: document for path, document in OLD.items() if path != "/api/v1"}

    def respond(request: RawRequest) -> RawResponse:
        found = documents.get(request.path)
        return answer(found) if found is not None else answer({"kind": "Status", "code": 404, "reason": "NotFound"}, 404)

    found = await Client(Scripted(respond)).discover()
    assert {resource.gvr.group for resource in found} == {"batch"}
