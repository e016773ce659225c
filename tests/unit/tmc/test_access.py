"""What a workload gets so that its pods find their workspace."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.tmc.syncer.access import account_of, token_of, with_access
from kcp.tmc.syncer.downstream import downstream_name, upstream_name


def workload(**spec: Any) -> dict[str, Any]:
    pod = {"containers": [{"name": "c"}], **spec}
    return {"metadata": {"name": "web", "namespace": "team"}, "spec": {"template": {"spec": pod}}}


def token(name: str, account: str, created: str, *, filled: bool = True) -> dict[str, Any]:
    metadata = {"name": name, "creationTimestamp": created, "annotations": {"kubernetes.io/service-account.name": account}}
    return {"metadata": metadata, "type": "kubernetes.io/service-account-token", "data": {"token": "x"} if filled else {}}


def test_the_oldest_filled_token_of_the_account_counts() -> None:
    secrets = [
        token("c", "op", "2024-01-03T00:00:00Z"), token("b", "op", "2024-01-02T00:00:00Z"), token("a", "other", "2024-01-01T00:00:00Z"),
        token("empty", "op", "2023-01-01T00:00:00Z", filled=False),
    ]  # fmt: skip
    assert token_of("op", secrets) == "b"
    assert token_of("default", secrets) == ""


@pytest.mark.parametrize(
    ("spec", "account"), [({}, "default"), ({"serviceAccountName": "op"}, "op"), ({"serviceAccount": "old"}, "old")], ids=str
)
def test_the_account_of_a_workload(spec: dict[str, Any], account: str) -> None:
    assert account_of(workload(**spec)) == account


def test_every_container_is_told_and_nothing_is_there_twice() -> None:
    env = [{"name": "KUBERNETES_SERVICE_HOST", "value": "old"}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]
    mounts = [{"name": "mine", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}, {"name": "data", "mountPath": "/data"}]
    view = workload(
        serviceAccountName="op", initContainers=[{"name": "i"}], volumes=[{"name": "kcp-api-access"}, {"name": "data"}],
        containers=[{"name": "c", "env": env, "volumeMounts": mounts}],
    )  # fmt: skip
    before = meta.copy_json(view)
    spec = with_access(view, "op-token", "https://[fd00::1]:8443/clusters/abc")["spec"]["template"]["spec"]
    assert view == before
    assert [v["name"] for v in spec["volumes"]] == ["data", "kcp-api-access"]
    assert "serviceAccountName" not in spec
    for container in (*spec["containers"], *spec["initContainers"]):
        told = {e["name"]: e.get("value") for e in container["env"]}
        assert (told["KUBERNETES_SERVICE_HOST"], told["KUBERNETES_SERVICE_PORT"]) == ("fd00::1", "8443")
        assert [m["name"] for m in container["volumeMounts"] if "serviceaccount" in m["mountPath"]] == ["kcp-api-access"]
    assert spec["containers"][0]["env"][0] == env[1], "only the namespace is another one there"
    assert with_access(view, "op-token", "https://kcp.example/clusters/abc")["spec"]["template"]["spec"]["containers"][0]["env"][2] == {
        "name": "KUBERNETES_SERVICE_PORT", "value": "443",
    }  # fmt: skip


def test_default_tokens_have_another_name_in_the_cluster() -> None:
    secrets = GroupResource("", "secrets")
    assert downstream_name(secrets, "default-token-x2x4") == "kcp-default-token-x2x4"
    assert upstream_name(secrets, "kcp-default-token-x2x4") == "default-token-x2x4"
    assert downstream_name(GroupResource("", "configmaps"), "default-token-x") == "default-token-x"
