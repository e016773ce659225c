"""EndpointSlices: by ports and by hundreds, and mirrors of Endpoints written by hand; Endpoints that are too many. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcp.apimachinery import meta
from kcp.sim.workloads.endpoints import endpoint_slices, endpoints
from kcp.sim.workloads.mirroring import is_mirrored
from kcp.sim.workloads.podview import PodView
from kcp.sim.workloads.slices import mirrored

SERVICE: dict[str, Any] = {
    "metadata": {"name": "web", "namespace": "default", "uid": "svc"},
    "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "web"}], "clusterIP": "None"},
}


def pod(make_view: Callable[..., PodView], name: str, port: int, **changes: Any) -> PodView:
    container = {"name": "app", "image": "x", "ports": [{"name": "web", "containerPort": port}]}
    return make_view(name, ip=f"10.0.0.{len(name)}", spec={"containers": [container]}, **changes)


def test_pods_with_other_numbers_for_a_named_port_get_a_slice_of_their_own(make_view: Callable[..., PodView]) -> None:
    found = endpoint_slices(SERVICE, [pod(make_view, "a", 80), pod(make_view, "b", 90), pod(make_view, "c", 80)])
    assert [([p["port"] for p in s["ports"]], [e["targetRef"]["name"] for e in s["endpoints"]]) for s in found] == [
        ([80], ["a", "c"]), ([90], ["b"]),
    ]  # fmt: skip
    assert len({meta.name(s) for s in found}) == 2
    assert all(meta.labels(s)["service.kubernetes.io/headless"] == "" for s in found)


def test_a_slice_holds_a_hundred_and_there_is_one_without_pods(make_view: Callable[..., PodView]) -> None:
    found = endpoint_slices(SERVICE, [pod(make_view, f"p{n:03}", 80) for n in range(230)])
    assert [len(s["endpoints"]) for s in found] == [100, 100, 30]
    (empty,) = endpoint_slices(SERVICE, [])
    assert (empty["endpoints"], empty["ports"]) == ([], [])
    assert meta.name(empty) == meta.name(found[0])


def test_too_many_addresses_are_cut_from_endpoints_the_unready_first(make_view: Callable[..., PodView]) -> None:
    pods = [pod(make_view, f"p{n:04}", 80, ready=n % 2 == 0) for n in range(1500)]
    made = endpoints(SERVICE, pods)
    assert len(made["subsets"][0]["addresses"]) == 750
    assert len(made["subsets"][0]["notReadyAddresses"]) == 250
    assert meta.annotations(made) == {"endpoints.kubernetes.io/over-capacity": "truncated"}
    assert meta.labels(made)["endpoints.kubernetes.io/managed-by"] == "endpoint-controller"


def by_hand(**labels: str) -> dict[str, Any]:
    addresses = [{"ip": "10.1.2.3"}, {"ip": "2001:db8::1", "nodeName": "n"}]
    subset = {"addresses": addresses, "notReadyAddresses": [{"ip": "10.1.2.4"}], "ports": [{"port": 80}]}
    return {"metadata": {"name": "db", "namespace": "default", "uid": "u", "labels": labels}, "subsets": [subset]}


def test_endpoints_written_by_hand_are_mirrored_by_family() -> None:
    four, six = mirrored(by_hand(a="b"))
    assert (four["addressType"], six["addressType"]) == ("IPv4", "IPv6")
    assert [(e["addresses"], e["conditions"]["ready"]) for e in four["endpoints"]] == [(["10.1.2.3"], True), (["10.1.2.4"], False)]
    assert six["endpoints"][0]["nodeName"] == "n"
    assert meta.labels(four) == {
        "a": "b",
        "kubernetes.io/service-name": "db",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    }
    assert (meta.controller_of(four) or {})["kind"] == "Endpoints"


def test_what_is_mirrored() -> None:
    plain: dict[str, Any] = {"spec": {}}
    assert is_mirrored(by_hand(), plain)
    assert not is_mirrored(by_hand(), None)
    assert not is_mirrored(by_hand(), {"spec": {"selector": {"a": "b"}}})
    assert not is_mirrored(by_hand(**{"endpointslice.kubernetes.io/skip-mirror": "true"}), plain)
