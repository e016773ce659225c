"""`docs/flow.md`, hop by hop: one Deployment is followed from the user's request to a Pod in a physical cluster and back.

Each step is looked at where it happens: the store's row, the watch cache, the decision, the labels, the syncer's view, the downstream
object, the report, and at last what the user's own watch shows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from kcp.aio.clock import SystemClock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.cli.fleet import Fleet, SandboxOptions, run_fleet
from kcp.cli.walkthrough import example_objects
from kcp.client import kubeconfig
from kcp.client.rest import Client
from kcp.storage.keyspace import object_key
from kcp.tmc.model.kinds import PLACEMENTS, SYNC_TARGETS, SYNCED
from kcp.tmc.model.names import (
    DOWNSTREAM_CLUSTER_LABEL,
    KEY_LABEL,
    NAMESPACE_LOCATOR_ANNOTATION,
    OBSERVED_ANNOTATION,
    STATE_LABEL,
    STATUS_ANNOTATION,
    SYNCER_FINALIZER,
    NamespaceLocator,
)
from kcp.tmc.placement.shares import share_of

pytestmark = pytest.mark.e2e

DEPLOYMENTS = GVR("apps", "v1", "deployments")
EXAMPLE = Path(__file__).parents[2] / "examples" / "01-hello-world"
KEY = {"name": "hello-world", "namespace": "default"}


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    options = SandboxOptions(root_directory=tmp_path / ".kcp", secure_port=0, clusters=2, once="hello-world")
    async with run_fleet(options, SystemClock(), lambda _text: None) as running:
        yield running


async def until(look: Callable[[], Awaitable[Any]], is_right: Callable[[Any], bool], *, timeout_s: float = 15.0) -> Any:
    """What `look` gives once it is right."""
    found: Any = None
    try:
        async with asyncio.timeout(timeout_s):
            while not is_right(found := await look()):  # noqa: ASYNC110 - several programs take part, none of which tells us
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never right; last: {json.dumps(found, indent=1, default=str)[:3000]}") from None
    return found


async def test_one_deployment_through_every_hop(fleet: Fleet) -> None:
    user = kubeconfig.connect(fleet.server.options.admin_kubeconfig, "root").cluster("root:hello-world")
    async with user:
        revision = (await user.resource(DEPLOYMENTS).list(namespace="default")).resource_version
        created = await apply_example(user)
        await is_stored_and_cached(fleet, created)
        targets = await is_placed(user)
        await is_labelled_and_shared_out(user, targets)
        await is_seen_by_each_syncer(fleet, user, targets)
        await runs_downstream(fleet, user, targets)
        await is_aggregated(user, targets)
        await was_told_to_the_users_watch(user, revision)


async def apply_example(user: Client) -> dict[str, Any]:
    """Steps 1 to 6: over TLS, as the administrator of the kubeconfig."""
    resources = {r.gvk: r.gvr for r in await user.discover()}
    for obj in example_objects(EXAMPLE):
        await user.resource(resources[meta.gvk(obj)]).apply(obj, field_manager="test")
    return await user.resource(DEPLOYMENTS).get(**KEY)


async def is_stored_and_cached(fleet: Fleet, created: dict[str, Any]) -> None:
    """Steps 7 and 8: a row in the log under the identity's prefix, and the same object in the watch cache."""
    foundation = fleet.server.foundation
    cluster = meta.cluster(created)
    resource = foundation.catalog.resolve(cluster, DEPLOYMENTS)
    assert resource is not None
    assert resource.identity, "Deployments are bound, so they are stored under the export's identity"
    key = object_key(resource.storage_prefix, ObjectKey(cluster, "default", "hello-world"))
    row = await foundation.store.get(key)
    assert row is not None
    assert json.loads(row.value)["metadata"]["uid"] == meta.uid(created)
    await foundation.cache.fresh()
    item = (await foundation.cache.prefix(resource.storage_prefix)).get(key)
    assert item is not None
    assert item.revision >= row.mod_revision


async def is_placed(user: Client) -> dict[str, str]:
    """Steps 9 and 10. Gives SyncTarget name → K."""
    placement = await until(
        lambda: user.resource(PLACEMENTS).get("hello-world"), lambda p: conditions.is_true(p, "Ready") and p["status"]["phase"] == "Bound"
    )
    assert {d["syncTarget"]: d["chosen"] for d in placement["status"]["decisions"]} == {"east": True, "west": True}
    return {meta.name(t): meta.labels(t)[KEY_LABEL] for t in (await user.resource(SYNC_TARGETS).list()).items}


async def is_labelled_and_shared_out(user: Client, targets: dict[str, str]) -> None:
    """Steps 11 and 12."""
    namespaces = user.resource(GVR("", "v1", "namespaces"))
    await until(lambda: namespaces.get("default"), lambda ns: all(meta.labels(ns).get(STATE_LABEL + k) == "Sync" for k in targets.values()))
    await until(  # one of them may have had all three for a moment, and gives what the other has ready
        lambda: user.resource(DEPLOYMENTS).get(**KEY), lambda d: sorted(share_of(d, k) or 0 for k in targets.values()) == [1, 2]
    )


async def is_seen_by_each_syncer(fleet: Fleet, user: Client, targets: dict[str, str]) -> None:
    """Step 13: the view has this target's spec and nothing of the other's."""
    upstream = await user.resource(DEPLOYMENTS).get(**KEY)
    for target in (await user.resource(SYNC_TARGETS).list()).items:
        key = targets[meta.name(target)]
        base = f"/services/syncer/{meta.cluster(target)}/{meta.name(target)}/{meta.uid(target)}/clusters/{meta.cluster(upstream)}"
        view = await fleet.server.client.at(base).resource(DEPLOYMENTS).get(**KEY)
        assert view["spec"]["replicas"] == share_of(upstream, key)
        assert [name for name in meta.labels(view) if name.startswith(STATE_LABEL)] == [STATE_LABEL + key]


async def runs_downstream(fleet: Fleet, user: Client, targets: dict[str, str]) -> None:
    """Steps 14 and 15: the finalizer upstream, the copy with its locator downstream, and Running Pods."""
    upstream = await until(
        lambda: user.resource(DEPLOYMENTS).get(**KEY), lambda d: all(SYNCER_FINALIZER + k in meta.finalizers(d) for k in targets.values())
    )
    for name, key in targets.items():
        below = fleet.clusters[name].client()
        copy = await only_copy(below, key, replicas=share_of(upstream, key))
        namespace = await below.resource(GVR("", "v1", "namespaces")).get(meta.namespace(copy))
        locator = NamespaceLocator.from_json(meta.annotations(namespace)[NAMESPACE_LOCATOR_ANNOTATION])
        assert (locator.cluster, locator.namespace) == (meta.cluster(upstream), "default")
        await are_running(below, meta.namespace(copy), share_of(upstream, key) or 0)


async def only_copy(below: Client, key: str, *, replicas: int | None) -> dict[str, Any]:
    """Once it has come to its share: while the other cluster was not ready yet, this one may have been given all of them."""
    copies = below.resource(DEPLOYMENTS)
    found = await until(
        lambda: copies.list(label_selector=f"{DOWNSTREAM_CLUSTER_LABEL}={key}"),
        lambda page: [copy["spec"]["replicas"] for copy in page.items] == [replicas],
    )
    copy: dict[str, Any] = found.items[0]
    return copy


async def are_running(below: Client, namespace: str, wanted: int) -> None:
    pods = below.resource(GVR("", "v1", "pods"))
    await until(lambda: pods.list(namespace=namespace), lambda page: [p["status"].get("phase") for p in page.items] == ["Running"] * wanted)


async def is_aggregated(user: Client, targets: dict[str, str]) -> None:
    """Steps 16 and 17."""
    deployment = await until(
        lambda: user.resource(DEPLOYMENTS).get(**KEY),
        lambda d: meta.nested(d, "status", "readyReplicas") == 3 and conditions.is_true(d, SYNCED),
    )
    reported = [json.loads(meta.annotations(deployment)[STATUS_ANNOTATION + k])["readyReplicas"] for k in targets.values()]
    assert sum(reported) == deployment["status"]["readyReplicas"]
    assert all(meta.annotations(deployment)[OBSERVED_ANNOTATION + k] for k in targets.values())
    assert deployment["status"]["observedGeneration"] == meta.generation(deployment)


async def was_told_to_the_users_watch(user: Client, revision: str) -> None:
    """Step 18: a watch from before the creation shows the object coming up, in order."""
    seen: list[tuple[str, int]] = []
    watch = user.resource(DEPLOYMENTS).watch(namespace="default", resource_version=revision)
    async with asyncio.timeout(15), aclosing(watch) as events:
        async for event in events:
            if event.type in ("ADDED", "MODIFIED"):
                seen.append((event.type, meta.nested(event.object, "status", "readyReplicas", default=0)))
            if seen and seen[-1][1] == 3:
                break
    assert seen[0] == ("ADDED", 0)
    assert [kind for kind, _ in seen[1:]] == ["MODIFIED"] * (len(seen) - 1)
