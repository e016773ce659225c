"""API priority and fairness on a simulated cluster: who is classified how, what is refused, what the objects and metrics tell."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.behaviour.objects.world import World

from kcp.aio.clock import settle
from kcp.apimachinery.gvk import GVR
from kcp.client.rest import Client
from kcp.registry.backend import UserInfo

FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1"
CONFIG_MAPS = GVR("", "v1", "configmaps")
SCHEMAS, LEVELS = f"{FLOW}/flowschemas", f"{FLOW}/prioritylevelconfigurations"
NOXU = UserInfo("noxu", ("system:masters2", "system:authenticated"))
QUEUE = {"type": "Queue", "queuing": {"queues": 4, "handSize": 2, "queueLengthLimit": 1}}


def level(name: str = "slow", *, shares: int = 1, response: object = None) -> dict[str, Any]:
    limited = {"nominalConcurrencyShares": shares, "borrowingLimitPercent": 0, "limitResponse": response or {"type": "Reject"}}
    return {"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "metadata": {"name": name},
            "spec": {"type": "Limited", "limited": limited}}  # fmt: skip


def schema(name: str = "of-noxu", *, level: str = "slow") -> dict[str, Any]:
    paths = {"verbs": ["*"], "nonResourceURLs": ["*"]}
    rule = {"subjects": [{"kind": "User", "user": {"name": "noxu"}}], "nonResourceRules": [paths]}
    spec = {"matchingPrecedence": 1000, "priorityLevelConfiguration": {"name": level}, "distinguisherMethod": {"type": "ByUser"},
            "rules": [rule]}  # fmt: skip
    return {"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": name}, "spec": spec}


async def dangling(world: World, name: str, status: str) -> dict[str, Any]:
    """The condition, once it says so."""
    for _ in range(100):
        found = (await world.get(f"{SCHEMAS}/{name}")).get("status", {}).get("conditions", [])
        if found and found[0]["status"] == status:
            return dict(found[0])
        await world.clock.advance(0.05)
    raise AssertionError(f"{name} is not told to be dangling: {status}")


async def kinds(client: Client, path: str) -> tuple[str, str]:
    """The FlowSchema and the priority level under which an answer says that it fell."""
    headers = (await client.raw("GET", path)).headers
    return headers["x-kubernetes-pf-flowschema-uid"], headers["x-kubernetes-pf-prioritylevel-uid"]


async def there(world: World, *names: str) -> dict[str, str]:
    """Uids of the levels and schemas that every server has, once all of these are there."""
    for _ in range(100):
        held = {"FlowSchema": (await world.get(SCHEMAS))["items"], "PriorityLevelConfiguration": (await world.get(LEVELS))["items"]}
        found = {f"{kind}/{item['metadata']['name']}": item["metadata"]["uid"] for kind, items in held.items() for item in items}
        if set(names) <= found.keys():
            return found
        await world.clock.advance(0.05)
    raise AssertionError(f"not there: {names}")


async def test_an_answer_tells_under_which_schema_and_level_its_request_fell(world: World) -> None:
    slow = await world.make(LEVELS, level())
    of_noxu = await world.make(SCHEMAS, schema())
    assert await kinds(world.as_user(NOXU).client, "/version") == (of_noxu["metadata"]["uid"], slow["metadata"]["uid"])
    uids = await there(world, "FlowSchema/global-default", "FlowSchema/exempt", "PriorityLevelConfiguration/global-default")
    foo = world.as_user(UserInfo("foo", ("system:authenticated",))).client
    assert await kinds(foo, "/version") == (uids["FlowSchema/global-default"], uids["PriorityLevelConfiguration/global-default"])
    assert await kinds(world.client, "/version") == (uids["FlowSchema/exempt"], uids["PriorityLevelConfiguration/exempt"])
    assert await kinds(foo, "/healthz") == (uids["FlowSchema/probes"], uids["PriorityLevelConfiguration/exempt"])


async def test_a_refused_request_tells_it_too(world: World) -> None:
    uids = await there(world, "FlowSchema/global-default")
    foo = world.as_user(UserInfo("foo", ("system:authenticated",))).client
    answer = await foo.transport.request(foo.request("GET", "/api/v1/nodes"))
    assert (answer.status, answer.headers["x-kubernetes-pf-flowschema-uid"]) == (403, uids["FlowSchema/global-default"])


async def test_a_level_without_seats_holds_requests_and_refuses_them_after_a_quarter_of_their_time(world: World) -> None:
    await world.make(LEVELS, level(shares=0, response=QUEUE))
    await world.make(SCHEMAS, schema())
    noxu = world.as_user(NOXU)
    async with asyncio.TaskGroup() as group:
        once = noxu.client.transport.request  # without the repetitions of our client
        waiting = [group.create_task(once(noxu.client.request("GET", "/version"))) for _ in range(3)]
        await settle()
        assert [task.done() for task in waiting] == [False, False, True]  # two queues of one place each
        full = await waiting[2]
        assert (full.status, full.headers["retry-after"], full.body) == (429, "1", b"Too many requests, please try again later.\n")
        assert full.headers["x-kubernetes-pf-prioritylevel-uid"]
        await world.clock.advance(15.1)
        assert [(await task).status for task in waiting[:2]] == [429, 429]
    metrics = (await world.client.raw("GET", "/metrics")).body.decode()
    refused = 'apiserver_flowcontrol_rejected_requests_total{flow_schema="of-noxu",priority_level="slow",reason="%s"} %s'
    assert refused % ("queue-full", "1.0") in metrics
    assert refused % ("time-out", "2.0") in metrics
    assert 'apiserver_flowcontrol_nominal_limit_seats{priority_level="slow"} 0.0' in metrics
    assert 'apiserver_flowcontrol_nominal_limit_seats{priority_level="workload-high"} 98.0' in metrics
    assert 'apiserver_flowcontrol_current_inqueue_requests{flow_schema="of-noxu",priority_level="slow"} 0.0' in metrics


async def test_who_waits_is_let_through_when_the_level_gets_seats(world: World) -> None:
    await world.make(LEVELS, level(shares=0, response=QUEUE))
    await world.make(SCHEMAS, schema())
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(world.as_user(NOXU).call("GET", "/version"))
        await settle()
        assert not waiting.done()
        await world.change(f"{LEVELS}/slow", {"spec": {"limited": {"nominalConcurrencyShares": 5}}})
        assert (await waiting).status == 200


async def test_a_schema_tells_whether_its_level_is_there(world: World) -> None:
    await world.make(SCHEMAS, schema(level="later"))
    told = await dangling(world, "of-noxu", "True")
    assert (told["reason"], told["message"]) == (
        "NotFound",
        'This FlowSchema references the PriorityLevelConfiguration object named "later" but there is no such object',
    )
    assert (await kinds(world.as_user(NOXU).client, "/version"))[0] != (await world.get(f"{SCHEMAS}/of-noxu"))["metadata"]["uid"]
    await world.make(LEVELS, level("later"))
    assert (await dangling(world, "of-noxu", "False"))["reason"] == "Found"


async def test_what_every_server_has_comes_back_and_stays_as_it_was_unless_somebody_takes_it_over(world: World) -> None:
    uids = await there(world, "FlowSchema/probes", "PriorityLevelConfiguration/catch-all", "FlowSchema/catch-all")
    await dangling(world, "catch-all", "False")
    before = await world.get(f"{SCHEMAS}/catch-all")
    await world.clock.advance(60.0)
    assert await world.get(f"{SCHEMAS}/catch-all") == before
    await world.call("DELETE", f"{SCHEMAS}/probes")
    assert (await there(world, "FlowSchema/probes"))["FlowSchema/probes"] != uids["FlowSchema/probes"]
    await dangling(world, "probes", "False")
    for name in ("catch-all", "workload-low"):
        await world.change(f"{LEVELS}/{name}", {"spec": {"limited": {"lendablePercent": 7}}})
    taken = {"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}}
    await world.change(f"{LEVELS}/system", taken | {"spec": {"limited": {"lendablePercent": 7}}})
    for _ in range(100):
        await world.clock.advance(0.05)
    lent = {
        name: (await world.get(f"{LEVELS}/{name}"))["spec"]["limited"]["lendablePercent"]
        for name in ("catch-all", "workload-low", "system")
    }
    assert lent == {"catch-all": 0, "workload-low": 90, "system": 7}


async def test_a_watch_keeps_its_seat_no_longer_than_it_takes_to_begin(world: World) -> None:
    await world.make(LEVELS, level(shares=1))
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    of_noxu = schema()
    of_noxu["spec"]["rules"][0]["resourceRules"] = [rule]
    await world.make(SCHEMAS, of_noxu)
    subject = {"kind": "User", "name": "noxu", "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io"}
    await world.make(
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "noxu"}, "roleRef": role,
         "subjects": [subject]},
    )  # fmt: skip
    noxu = world.as_user(NOXU)
    watches = [noxu.client.resource(CONFIG_MAPS).watch() for _ in range(9)]
    async with asyncio.TaskGroup() as group:
        opened = [group.create_task(anext(watch)) for watch in watches]
        await settle()
        assert (await noxu.call("GET", "/api/v1/configmaps")).status == 200
        assert not any(task.done() for task in opened)
        await world.make("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a"}})
    for watch in watches:
        await watch.aclose()
