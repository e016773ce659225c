"""The ServiceAccount admission of pods: which account, its token, its secrets, and a namespace that is a moment old.

Source: plugin/pkg/admission/serviceaccount/admission_test.go, KEP-2799.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from tests.unit.apiserver.test_admission import through, write

from kcp.aio.clock import VirtualClock, settle
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apiserver.admission.chain import AdmissionChain
from kcp.apiserver.admission.serviceaccount import SERVICE_ACCOUNTS, PodServiceAccounts
from kcp.storage.keyspace import object_key, resource_prefix
from kcp.storage.memory import MemoryStore
from kcp.storage.watchcache import WatchCache

TEAM = ClusterName("team")
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


class World:
    def __init__(self, store: MemoryStore, chain: AdmissionChain, clock: VirtualClock) -> None:
        self.store, self.chain, self.clock = store, chain, clock

    async def account(self, name: str, **parts: Any) -> None:
        obj = {"kind": "ServiceAccount", "metadata": {"name": name, **parts.pop("metadata", {})}, **parts}
        await self.store.create(object_key(resource_prefix(SERVICE_ACCOUNTS), ObjectKey(TEAM, "a", name)), orjson.dumps(obj))
        await settle()

    async def admitted(self, pod: dict[str, Any], **how: Any) -> dict[str, Any]:
        made = await through(self.chain, write(how.pop("verb", "CREATE"), "pods", pod, namespace="a", **how))
        assert made is not None
        return made

    async def refusal(self, pod: dict[str, Any], **how: Any) -> str:
        with pytest.raises(Forbidden) as refused:
            await self.admitted(pod, **how)
        return refused.value.message


@pytest.fixture
async def world() -> AsyncIterator[World]:
    store, clock = MemoryStore(), VirtualClock()
    async with Supervisor("test") as supervisor:
        cache = WatchCache(store, clock=clock)
        await cache.start()
        supervisor.spawn(cache.run(), name="cache")
        accounts = await PodServiceAccounts.open(cache, clock, random.Random(1))
        yield World(store, AdmissionChain(accounts.plugins()), clock)


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c"}], **spec}}


async def test_a_pod_runs_as_the_account_it_names_or_as_default(world: World) -> None:
    await world.account("default")
    await world.account("bot")
    assert (await world.admitted(pod()))["spec"]["serviceAccountName"] == "default"
    mine = (await world.admitted(pod(serviceAccount="bot")))["spec"]
    assert (mine["serviceAccountName"], mine["serviceAccount"]) == ("bot", "bot")


async def test_a_pod_of_a_missing_account_is_forbidden(world: World) -> None:
    expected = 'pods "x" is forbidden: error looking up service account a/bot: serviceaccount "bot" not found'
    assert await world.refusal(pod(serviceAccountName="bot")) == expected


async def test_a_pod_waits_a_moment_for_the_account_of_a_new_namespace(world: World) -> None:
    waiting = [asyncio.ensure_future(world.admitted(pod())) for _ in range(2)]
    await settle()
    await world.account("default")
    assert [made["spec"]["serviceAccountName"] for made in await asyncio.gather(*waiting)] == ["default", "default"]


async def test_and_no_longer(world: World) -> None:
    refused = asyncio.ensure_future(world.refusal(pod()))
    await world.clock.advance(2)
    assert (await refused).endswith('error looking up service account a/default: serviceaccount "default" not found')


async def test_every_container_without_one_gets_the_token_of_the_account(world: World) -> None:
    await world.account("default")
    other = {"name": "mine", "mountPath": TOKEN_PATH}
    made = await world.admitted(pod(containers=[{"name": "a"}, {"name": "b", "volumeMounts": [other]}], initContainers=[{"name": "i"}]))
    volume = made["spec"]["volumes"][-1]
    mount = {"name": volume["name"], "readOnly": True, "mountPath": TOKEN_PATH}
    assert volume["name"].startswith("kube-api-access-")
    assert volume["projected"]["defaultMode"] == 420
    assert volume["projected"]["sources"][0] == {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    assert [c["volumeMounts"] for c in (*made["spec"]["initContainers"], *made["spec"]["containers"])] == [[mount], [mount], [other]]


@pytest.mark.parametrize(("of_pod", "of_account", "mounted"), [
    (None, None, True), (None, True, True), (None, False, False), (True, False, True), (False, True, False), (False, None, False),
])  # fmt: skip
async def test_the_pod_and_then_the_account_may_do_without_a_token(
    world: World, of_pod: bool | None, of_account: bool | None, mounted: bool
) -> None:
    await world.account("default", **({} if of_account is None else {"automountServiceAccountToken": of_account}))
    made = await world.admitted(pod(**({} if of_pod is None else {"automountServiceAccountToken": of_pod})))
    assert ("volumes" in made["spec"]) is mounted


async def test_a_pod_without_pull_secrets_gets_those_of_its_account(world: World) -> None:
    await world.account("default", imagePullSecrets=[{"name": "registry"}])
    assert (await world.admitted(pod()))["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    own = await world.admitted(pod(imagePullSecrets=[{"name": "own"}]))
    assert own["spec"]["imagePullSecrets"] == [{"name": "own"}]


_END = "is not allowed because service account default does not reference that"


@pytest.mark.parametrize(("spec", "expected"), [
    ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, f'volume with secret.secretName="s" {_END} secret'),
    (
        {"initContainers": [{"name": "i", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s"}}}]}]},
        f'init container i with envVar E referencing secret.secretName="s" {_END} secret',
    ),
    (
        {"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "s"}}]}]},
        f'container c with envFrom referencing secret.secretName="s" {_END} secret',
    ),
    ({"imagePullSecrets": [{"name": "s"}]}, f'imagePullSecrets[0].name="s" {_END} imagePullSecret'),
])  # fmt: skip
async def test_an_account_may_keep_its_pods_to_its_own_secrets(world: World, spec: dict[str, Any], expected: str) -> None:
    marked = {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}
    await world.account("default", metadata=marked, secrets=[{"name": "mine"}])
    assert await world.refusal(pod(**spec)) == f'pods "x" is forbidden: {expected}'
    await world.admitted(pod(volumes=[{"name": "v", "secret": {"secretName": "mine"}}]))


async def test_containers_for_debugging_are_kept_to_them_too(world: World) -> None:
    await world.account("default", metadata={"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}})
    debugging = [{"name": "d", "envFrom": [{"secretRef": {"name": "s"}}]}]
    changed = pod(serviceAccountName="default", ephemeralContainers=debugging)
    expected = f'ephemeral container d with envFrom referencing secret.secretName="s" {_END} secret'
    assert (await world.refusal(changed, verb="UPDATE", subresource="ephemeralcontainers")).endswith(expected)


@pytest.mark.parametrize(("spec", "fault"), [
    ({"serviceAccountName": "bot"}, "a mirror pod may not reference service accounts"),
    ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, "a mirror pod may not reference secrets"),
    (
        {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
        "a mirror pod may not use ServiceAccountToken volume projections",
    ),
])  # fmt: skip
async def test_a_mirror_pod_uses_nothing_of_the_api(world: World, spec: dict[str, Any], fault: str) -> None:
    mirror = pod(**spec)
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "hash"}
    assert (await world.refusal(mirror)).endswith(fault)
    plain = pod()
    plain["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "hash"}
    assert await world.admitted(plain) == plain
