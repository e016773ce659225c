"""What is recorded of requests: stages, levels, objects, statuses, users, and which workspace it was.

Source: https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/, k8s.io/apiserver/pkg/endpoints/filters/audit_test.go,
kcp test/e2e/audit/audit_log_test.go.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import orjson
import pytest
from tests.behaviour.audit.conftest import ADMIN, Recorded, Recording
from tests.behaviour.exports.market import CONFIG_MAPS, config_map

from kcp.registry.backend import UserInfo

MAPS = "/clusters/root:w/api/v1/namespaces/default/configmaps"
NOBODY = {"level": "None", "users": ["system:apiserver"]}


async def test_a_write_is_recorded_when_it_comes_in_and_when_it_is_answered(everything: Recorded) -> None:
    response = await everything.ask("POST", MAPS, {**config_map("a"), "data": {"k": "v"}}, headers={"user-agent": "kubectl/v1.36"})
    received, complete = everything.of(response)
    assert (received["kind"], received["apiVersion"], received["level"]) == ("Event", "audit.k8s.io/v1", "RequestResponse")
    assert (received["stage"], complete["stage"]) == ("RequestReceived", "ResponseComplete")
    assert received["stageTimestamp"] == received["requestReceivedTimestamp"] == complete["requestReceivedTimestamp"]
    assert complete["stageTimestamp"] > received["stageTimestamp"]
    assert (complete["verb"], complete["requestURI"], complete["userAgent"]) == ("create", MAPS, "kubectl/v1.36")
    assert complete["user"] == {"username": "alice", "groups": ["developers", "system:authenticated"]}
    assert received["objectRef"] == {"resource": "configmaps", "namespace": "default", "apiVersion": "v1"}
    assert complete["objectRef"] == {"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"}
    assert complete["responseStatus"] == {"metadata": {}, "code": 201}
    assert "responseStatus" not in received
    assert complete["requestObject"] == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}
    assert complete["responseObject"] == orjson.loads(response.body)


async def test_the_workspace_and_every_authorizer_are_in_the_annotations(everything: Recorded) -> None:
    received, complete = everything.of(await everything.ask("GET", MAPS, user=ADMIN))
    cluster = received["annotations"]["kcp.io/cluster"]
    assert received["annotations"] == {"tenancy.kcp.io/workspace": cluster, "kcp.io/cluster": cluster, "kcp.io/path": "root:w"}
    for step in ("01-requiredgroups", "02-content", "03-systemcrd", "04-maxpermissionpolicy", "05-bootstrap"):
        assert complete["annotations"][f"request.auth.kcp.io/{step}-decision"] == "Allowed"
        assert f"request.auth.kcp.io/{step}-reason" in complete["annotations"]
    assert complete["annotations"]["authorization.k8s.io/decision"] == "allow"
    assert complete["annotations"]["authorization.k8s.io/reason"] == "access granted"


@pytest.mark.parametrize(
    ("level", "objects"),
    [("Metadata", set()), ("Request", {"requestObject"}), ("RequestResponse", {"requestObject", "responseObject"})],
)
async def test_the_level_says_which_objects_are_recorded(recording: Recording, level: str, objects: set[str]) -> None:
    async with recording(NOBODY, {"level": level}) as recorded:
        _, complete = recorded.of(await recorded.ask("POST", MAPS, config_map("a")))
    assert {name for name in complete if name.endswith("Object")} == objects
    assert complete["objectRef"]["name"] == "a"
    assert complete["level"] == level


async def test_level_none_and_stages_that_are_omitted_leave_no_event(recording: Recording) -> None:
    rules = [NOBODY, {"level": "None", "verbs": ["get"]}, {"level": "Metadata", "omitStages": ["ResponseComplete"]}]
    async with recording(*rules) as recorded:
        assert recorded.of(await recorded.ask("GET", f"{MAPS}/kube-root-ca.crt")) == []
        assert [event["stage"] for event in recorded.of(await recorded.ask("GET", MAPS))] == ["RequestReceived"]


async def test_managed_fields_are_left_out_where_the_policy_says_so(recording: Recording) -> None:
    async with recording(NOBODY, {"level": "RequestResponse"}, omitManagedFields=True) as recorded:
        created = await recorded.ask("POST", MAPS, {**config_map("a"), "data": {"k": "v"}})
        assert "managedFields" in orjson.loads(created.body)["metadata"]
        assert "managedFields" not in recorded.of(created)[-1]["responseObject"]["metadata"]
        updated = recorded.of(await recorded.ask("PUT", f"{MAPS}/a", orjson.loads(created.body)))[-1]
        assert "managedFields" not in updated["requestObject"]["metadata"]
        listed = recorded.of(await recorded.ask("GET", MAPS))[-1]["responseObject"]
        assert all("managedFields" not in item["metadata"] for item in listed["items"])


async def test_a_watch_is_recorded_when_it_starts_and_when_it_ends(everything: Recorded) -> None:
    maps = everything.client().cluster("root:w").resource(CONFIG_MAPS)
    async with asyncio.timeout(10), aclosing(maps.watch(namespace="default")) as events:
        await anext(events)
        stages = [event["stage"] for event in everything.events(verb="watch")]
        assert stages == ["RequestReceived", "ResponseStarted"]
    stages = [event["stage"] for event in await _until(everything, 3)]
    assert stages == ["RequestReceived", "ResponseStarted", "ResponseComplete"]
    last = everything.events(verb="watch")[-1]
    assert last["responseStatus"] == {"metadata": {}, "code": 200}
    assert "responseObject" not in last


async def _until(recorded: Recorded, count: int) -> list[dict[str, Any]]:
    for _ in range(500):
        found = recorded.events(verb="watch")
        if len(found) >= count:
            return found
        await recorded.market.server.clock.sleep(0.01)
    raise AssertionError(recorded.events(verb="watch"))


async def test_errors_are_recorded_as_their_status(everything: Recorded) -> None:
    missing = everything.of(await everything.ask("GET", f"{MAPS}/nothing"))[-1]
    assert missing["responseStatus"] == {
        "metadata": {}, "status": "Failure", "message": 'configmaps "nothing" not found', "reason": "NotFound",
        "details": {"name": "nothing", "kind": "configmaps"}, "code": 404,
    }  # fmt: skip
    assert missing["responseObject"]["kind"] == "Status"
    invalid = everything.of(await everything.ask("POST", MAPS, config_map("A")))[-1]
    assert (invalid["responseStatus"]["code"], invalid["responseStatus"]["reason"]) == (422, "Invalid")
    assert invalid["requestObject"]["metadata"]["name"] == "A"


async def test_a_deletion_tells_its_status_and_its_options(everything: Recorded) -> None:
    await everything.ask("POST", MAPS, config_map("a"))
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
    gone = everything.of(await everything.ask("DELETE", f"{MAPS}/a", options))[-1]
    assert gone["requestObject"] == options
    assert (gone["responseStatus"]["status"], gone["responseStatus"]["code"]) == ("Success", 200)
    assert gone["responseStatus"]["details"]["name"] == "a"


@pytest.mark.parametrize(
    "media", ["application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"]
)
async def test_a_patch_is_recorded_as_it_was_sent(everything: Recorded, media: str) -> None:
    await everything.ask("POST", MAPS, config_map("a"))
    patch = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}
    response = await everything.ask("PATCH", f"{MAPS}/a?fieldManager=me", patch, headers={"content-type": media})
    complete = everything.of(response)[-1]
    assert (complete["verb"], complete["requestObject"]) == ("patch", patch)
    assert complete["responseObject"]["data"] == {"k": "v"}


async def test_yaml_protobuf_and_indented_answers_are_recorded_as_json_on_one_line(everything: Recorded) -> None:
    for headers in ({"accept": "application/yaml"}, {"accept": "application/vnd.kubernetes.protobuf"}, {"user-agent": "curl/8"}):
        complete = everything.of(await everything.ask("GET", f"{MAPS}/kube-root-ca.crt", headers=headers))[-1]
        assert complete["responseObject"]["metadata"]["name"] == "kube-root-ca.crt"


async def test_a_refused_request_says_who_was_refused(everything: Recorded) -> None:
    refused = await everything.ask("GET", "/clusters/root/api/v1/namespaces/default/secrets", user=UserInfo("mallory", ("m",)))
    received, complete = everything.of(refused)
    assert received["user"]["username"] == complete["user"]["username"] == "mallory"
    assert complete["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert complete["annotations"]["request.auth.kcp.io/02-content-decision"] in ("Denied", "NoOpinion")
    assert (complete["responseStatus"]["code"], complete["responseStatus"]["reason"]) == (403, "Forbidden")


async def test_wrong_credentials_leave_one_event_that_names_nobody(everything: Recorded) -> None:
    response = await everything.ask("GET", MAPS, user=None, headers={"authorization": "Bearer wrong"})
    (event,) = everything.of(response)
    assert (event["stage"], event["user"]) == ("ResponseStarted", {})
    assert event["responseStatus"] == {"metadata": {}, "message": "Authentication failed, attempted: bearer", "code": 401}
    anonymous = everything.of(await everything.ask("GET", MAPS, user=None))[-1]
    assert anonymous["user"]["username"] == "system:anonymous"


async def test_who_acts_as_somebody_else_is_recorded_with_both_names(everything: Recorded) -> None:
    headers = {"impersonate-user": "bob", "impersonate-group": "ops"}
    received, complete = everything.of(await everything.ask("GET", MAPS, user=ADMIN, headers=headers))
    assert received["user"]["username"] == complete["user"]["username"] == "kcp-admin"
    assert "impersonatedUser" not in received
    assert complete["impersonatedUser"]["username"] == "bob"
    assert complete["impersonatedUser"]["groups"] == ["ops", "system:authenticated"]


async def test_every_answer_has_an_audit_id_and_keeps_the_one_it_came_with(everything: Recorded) -> None:
    given = await everything.ask("GET", MAPS, headers={"audit-id": "from-a-proxy"})
    assert given.headers["audit-id"] == "from-a-proxy"
    assert {event["auditID"] for event in everything.of(given)} == {"from-a-proxy"}
    first, second = await everything.ask("GET", "/version"), await everything.ask("GET", "/version")
    assert len(first.headers["audit-id"]) == 36
    assert first.headers["audit-id"] != second.headers["audit-id"]


async def test_addresses_come_from_proxies_too_and_the_real_one_is_last(everything: Recorded) -> None:
    headers = {"x-forwarded-for": "10.1.1.1, nonsense, 10.2.2.2", "x-real-ip": "10.3.3.3"}
    event = everything.of(await everything.ask("GET", MAPS, headers=headers))[-1]
    assert event["sourceIPs"] == ["10.1.1.1", "10.2.2.2", "10.3.3.3"]


async def test_paths_that_are_no_resources_are_recorded_without_objects(everything: Recorded) -> None:
    event = everything.of(await everything.ask("GET", "/clusters/root:w/openapi/v3?x=1"))[-1]
    assert (event["verb"], event["requestURI"]) == ("get", "/clusters/root:w/openapi/v3?x=1")
    assert "objectRef" not in event
    assert "responseObject" not in event


async def test_what_is_asked_of_a_virtual_workspace_is_recorded_as_the_resource_it_is(everything: Recorded) -> None:
    market = everything.market
    await market.open()
    await market.export()
    path = f"/services/apiexport/{market.provider_name}/widgets/clusters/*/apis/example.com/v1/widgets"
    event = everything.of(await everything.ask("GET", path, user=UserInfo("provider", ("system:authenticated",))))[-1]
    assert (event["verb"], event["objectRef"]["resource"], event["responseStatus"]["code"]) == ("list", "widgets", 200)
    assert event["annotations"]["authorization.k8s.io/decision"] == "allow"
    refused = everything.of(await everything.ask("GET", path))[-1]
    assert refused["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert refused["responseStatus"]["code"] == 403


async def test_reviews_are_recorded_with_question_and_answer(everything: Recorded) -> None:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"nonResourceAttributes": {"verb": "get"}},
    }
    path = "/clusters/root:w/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    event = everything.of(await everything.ask("POST", path, review))[-1]
    assert event["requestObject"]["spec"] == review["spec"]
    assert "allowed" in event["responseObject"]["status"]


async def test_scrapes_show_what_was_recorded(everything: Recorded) -> None:
    await everything.ask("GET", MAPS)
    text = (await everything.ask("GET", "/metrics", user=UserInfo("root", ("system:masters",)))).body.decode()
    assert 'apiserver_audit_level_total{level="RequestResponse"}' in text
    assert "apiserver_audit_event_total " in text
