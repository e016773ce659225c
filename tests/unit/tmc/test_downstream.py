"""What goes down and what comes up."""

from __future__ import annotations

from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.tmc.model.names import DOWNSTREAM_CLUSTER_LABEL
from kcp.tmc.syncer.downstream import downstream_name, is_applied, to_downstream, upstream_name, upstream_status

DEPLOYMENTS = GroupResource("apps", "deployments")


def view() -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "namespace": "default",
            "uid": "u",
            "resourceVersion": "7",
            "generation": 4,
            "finalizers": ["workload.kcp.io/syncer-K"],
            "labels": {"app": "web", "state.workload.kcp.io/K": "Sync"},
            "annotations": {"kcp.io/cluster": "c", "team": "a", "experimental.status.workload.kcp.io/K": "{}"},
        },
        "spec": {"replicas": 2},
        "status": {"replicas": 9},
    }


def test_only_what_belongs_to_the_user_goes_down() -> None:
    found = to_downstream(view(), DEPLOYMENTS, key="K", namespace="kcp-x")
    assert meta.namespace(found) == "kcp-x"
    assert dict(meta.labels(found)) == {"app": "web", DOWNSTREAM_CLUSTER_LABEL: "K"}
    assert {a for a in meta.annotations(found) if "kcp.io" not in a} == {"team"}
    assert not {"uid", "resourceVersion", "finalizers"} & set(found["metadata"])
    assert "status" not in found


def test_what_each_cluster_counts_by_itself_does_not_go_down() -> None:
    counted = {"deprecated.daemonset.template.generation": "3", "deployment.kubernetes.io/revision": "2"}
    daemons = {"metadata": {"name": "d", "annotations": counted}, "spec": {}}
    made = to_downstream(daemons, GroupResource("apps", "daemonsets"), key="K", namespace="n")
    assert not set(counted) & set(made["metadata"]["annotations"])


def test_a_copy_with_defaults_counts_as_applied_until_something_differs() -> None:
    desired = to_downstream(view(), DEPLOYMENTS, key="K", namespace="kcp-x")
    actual = meta.copy_json(desired)
    actual["spec"]["revisionHistoryLimit"] = 10
    assert is_applied(actual, desired)
    drifted = meta.copy_json(actual)
    drifted["spec"]["replicas"] = 5
    assert not is_applied(drifted, desired)


def test_a_field_removed_upstream_is_noticed() -> None:
    before = to_downstream({**view(), "spec": {"replicas": 2, "paused": True}}, DEPLOYMENTS, key="K", namespace="kcp-x")
    after = to_downstream(view(), DEPLOYMENTS, key="K", namespace="kcp-x")
    assert not is_applied(before, after)


def test_the_root_ca_config_map_is_renamed_both_ways() -> None:
    maps = GroupResource("", "configmaps")
    assert downstream_name(maps, "kube-root-ca.crt") == "kcp-root-ca.crt"
    assert upstream_name(maps, "kcp-root-ca.crt") == "kube-root-ca.crt"


def test_the_cluster_ip_of_a_service_is_the_clusters_own() -> None:
    service = {**view(), "kind": "Service", "spec": {"clusterIP": "10.0.0.1", "ports": []}}
    assert to_downstream(service, GroupResource("", "services"), key="K", namespace="n")["spec"] == {"ports": []}


def test_observed_generation_comes_up_in_upstream_terms() -> None:
    down = to_downstream(view(), DEPLOYMENTS, key="K", namespace="kcp-x")
    down["metadata"]["generation"] = 12
    down["status"] = {"observedGeneration": 12}
    assert upstream_status(down) == {"observedGeneration": 4}
    down["status"] = {"observedGeneration": 11}
    assert upstream_status(down) == {"observedGeneration": 3}


def test_no_status_yet_means_nothing_to_report() -> None:
    assert upstream_status(view() | {"status": {}}) is None
