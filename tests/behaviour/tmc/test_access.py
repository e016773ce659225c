"""A controller that runs in a cluster talks to its workspace: with the token of its service account there, and kcp's address and certificate."""

from __future__ import annotations

import base64
import functools
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, World, running, until

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject

SECRETS, ACCOUNTS, CONFIG_MAPS = (GVR("", "v1", name) for name in ("secrets", "serviceaccounts", "configmaps"))


async def templates(world: World) -> dict[str, JSONObject]:
    """Cluster → the copy of Deployment `web`."""
    found = [(c.name, d) for c in world.clusters.values() for d in (await c.client().resource(DEPLOYMENTS).list()).items]
    return {cluster: d for cluster, d in found if meta.name(d) == "web"}


async def make_account(world: World, name: str) -> None:
    if name != "default":
        await world.create(ACCOUNTS, "ServiceAccount", name, namespace="default")
    metadata = {"name": f"{name}-token", "annotations": {"kubernetes.io/service-account.name": name}}
    kind = "kubernetes.io/service-account-token"
    await world.create(SECRETS, "Secret", f"{name}-token", namespace="default", type=kind, metadata=metadata)


async def deploy(world: World, account: str) -> None:
    labels = {"app": "web"}
    env = [{"name": "WHERE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}]
    spec: dict[str, Any] = {"containers": [{"name": "web", "image": "nginx", "env": env}], "serviceAccountName": account}
    template = {"metadata": {"labels": labels}, "spec": spec}
    await world.create(DEPLOYMENTS, "Deployment", "web", namespace="default",
                       spec={"replicas": 2, "selector": {"matchLabels": labels}, "template": template})  # fmt: skip


def is_home(copies: dict[str, JSONObject]) -> bool:
    return len(copies) == 2 and all("volumes" in d["spec"]["template"]["spec"] for d in copies.values())


async def test_a_workload_whose_account_has_a_token_finds_its_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await make_account(world, "operator")
        await deploy(world, "operator")
        copy = (await until(functools.partial(templates, world), is_home))["east"]
        pod = copy["spec"]["template"]["spec"]
        env = {e["name"]: e.get("value") for e in pod["containers"][0]["env"]}
        assert env == {
            "WHERE": "default", "KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "6443",
            "KUBERNETES_SERVICE_PORT_HTTPS": "6443",
        }  # fmt: skip
        assert pod["automountServiceAccountToken"] is False
        assert not pod.get("serviceAccountName")
        mounted = {m["name"]: m["mountPath"] for m in pod["containers"][0]["volumeMounts"]}
        assert mounted == {"kcp-api-access": "/var/run/secrets/kubernetes.io/serviceaccount"}
        sources = pod["volumes"][0]["projected"]["sources"]
        names = [source[kind]["name"] for source in sources for kind in source]
        assert names == ["operator-token", "kcp-root-ca.crt"]
        east = world.clusters["east"].client()
        await world.settle("default", "web", 2)
        secret = await east.resource(SECRETS).get("operator-token", namespace=meta.namespace(copy))
        above = await world.client.resource(SECRETS).get("operator-token", namespace="default")
        assert secret["data"]["token"] == above["data"]["token"]
        assert secret["type"] == "Opaque"
        assert base64.b64decode(secret["data"]["namespace"]) == b"default"
        assert (await east.resource(CONFIG_MAPS).get("kcp-root-ca.crt", namespace=meta.namespace(copy)))["data"]["ca.crt"]


async def test_a_token_that_comes_later_is_taken_and_one_that_goes_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await deploy(world, "default")
        await world.settle("default", "web", 2)
        assert not is_home(await templates(world)), "no token, no change"
        await make_account(world, "default")
        copies = await until(functools.partial(templates, world), is_home)
        source = copies["west"]["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"][0]
        assert source["secret"]["name"] == "kcp-default-token", "the cluster may have one of that name itself"
        await world.client.resource(SECRETS).delete("default-token", namespace="default")
        await until(functools.partial(templates, world), lambda c: not any("volumes" in d["spec"]["template"]["spec"] for d in c.values()))
