"""Unknown and repeated fields, word for word and in upstream's order: typed kinds, custom kinds, JSON, YAML, every sort of patch.

Source: KEP-2885; test/e2e/apimachinery/field_validation.go, test/integration/apiserver/field_validation_test.go.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.behaviour.api.server import Answer, Api
from tests.behaviour.conformance.server import GATES, WIDGETS

from kcp.client.inprocess import AsgiTransport

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
VALID: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {
        "selector": {"matchLabels": {"app": "nginx"}},
        "template": {"metadata": {"labels": {"app": "nginx"}}, "spec": {"containers": [{"name": "nginx", "image": "nginx"}]}},
    },
}
INVALID = b"""{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
  "spec": {"unknown1": "val1", "unknownDupe": "a", "unknownDupe": "b", "paused": true, "paused": false,
    "selector": {"matchLabels": {"app": "nginx"}},
    "template": {"metadata": {"labels": {"app": "nginx"}}, "spec": {"containers": [
      {"name": "nginx", "image": "nginx", "unknownNested": "x", "imagePullPolicy": "Always", "imagePullPolicy": "Never"}]}}}}"""
INVALID_YAML = b"""apiVersion: apps/v1
kind: Deployment
metadata:
  name: d
spec:
  unknown1: val1
  unknownDupe: a
  unknownDupe: b
  paused: true
  paused: false
  selector: {matchLabels: {app: nginx}}
  template:
    metadata: {labels: {app: nginx}}
    spec:
      containers:
      - name: nginx
        image: nginx
        unknownNested: x
        imagePullPolicy: Always
        imagePullPolicy: Never
"""
PATCH = b"""{"spec": {"unknown1": "val1", "unknownDupe": "a", "unknownDupe": "b", "paused": true, "paused": false,
  "template": {"spec": {"containers": [{"name": "nginx", "image": "nginx", "unknownNested": "x",
    "imagePullPolicy": "Always", "imagePullPolicy": "Never"}]}}}}"""
JSON_PATCH = b"""[{"op": "add", "path": "/spec/unknown1", "value": "val1", "foo": "bar"},
  {"op": "add", "path": "/spec/unknown2", "path": "/spec/unknown3", "value": "val1"},
  {"op": "add", "path": "/spec/paused", "value": true}]"""

TYPED = [
    'unknown field "spec.unknown1"',
    'unknown field "spec.unknownDupe"',
    'duplicate field "spec.paused"',
    'unknown field "spec.template.spec.containers[0].unknownNested"',
    'duplicate field "spec.template.spec.containers[0].imagePullPolicy"',
]
UNKNOWN = [
    'unknown field "spec.template.spec.containers[0].unknownNested"',
    'unknown field "spec.unknown1"',
    'unknown field "spec.unknownDupe"',
]
LINES = [
    'line 8: key "unknownDupe" already set in map',
    'line 10: key "paused" already set in map',
    'line 20: key "imagePullPolicy" already set in map',
]
REPEATED = [
    'duplicate field "spec.unknownDupe"',
    'duplicate field "spec.paused"',
    'duplicate field "spec.template.spec.containers[0].imagePullPolicy"',
]
OPERATIONS = ['json patch unknown field "[0].foo"', 'json patch duplicate field "[1].path"']


async def warned(api: Api, method: str, path: str, body: bytes, content_type: str = "application/json") -> list[str]:
    """The warnings of a request, all of them: headers of one name, of which the transport keeps the last."""
    texts: list[str] = []

    async def overheard(scope: Any, receive: Any, send: Any) -> None:
        async def hear(message: Any) -> None:
            for name, value in message.get("headers", ()):
                if name == b"warning":
                    texts.append(json.loads(value.decode().removeprefix("299 - ")))
            await send(message)

        await api.app(scope, receive, hear)

    answer = await AsgiTransport(overheard, api.user).request(api.raw(method, path, body, {"content-type": content_type}))
    assert answer.status in (200, 201), answer.body
    return texts


async def strictly(api: Api, method: str, path: str, body: bytes, content_type: str = "application/json") -> Answer:
    joined = f"{path}{'&' if '?' in path else '?'}fieldValidation=Strict"
    return await api.call(method, joined, body, {"content-type": content_type})


async def test_a_typed_object_is_told_its_faults_in_the_order_of_the_document(api: Api) -> None:
    refused = await strictly(api, "POST", DEPLOYMENTS, INVALID)
    prefix = 'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
    assert (refused.status, refused.message) == (400, prefix + ", ".join(TYPED))
    await api.made(DEPLOYMENTS, VALID)
    refused = await strictly(api, "PUT", f"{DEPLOYMENTS}/d", INVALID)
    assert (refused.status, refused.message) == (400, prefix + ", ".join(TYPED))


async def test_yaml_is_told_its_repeated_keys_by_line_and_then_what_is_unknown(api: Api) -> None:
    refused = await strictly(api, "POST", DEPLOYMENTS, INVALID_YAML, "application/yaml")
    lines = "\n  ".join(["yaml: unmarshal errors:", *LINES])
    prefix = 'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
    assert (refused.status, refused.message) == (400, prefix + ", ".join([lines, *UNKNOWN]))


@pytest.mark.parametrize("kind", ["merge-patch+json", "strategic-merge-patch+json"])
async def test_a_patch_is_told_what_it_repeats_and_then_what_became_unknown(api: Api, kind: str) -> None:
    await api.made(DEPLOYMENTS, VALID)
    refused = await strictly(api, "PATCH", f"{DEPLOYMENTS}/d", PATCH, f"application/{kind}")
    assert refused.status == 422
    assert refused.message.endswith("strict decoding error: " + ", ".join(REPEATED + UNKNOWN))


async def test_operations_of_a_json_patch_are_checked_too(api: Api) -> None:
    await api.made(DEPLOYMENTS, VALID)
    refused = await strictly(api, "PATCH", f"{DEPLOYMENTS}/d", JSON_PATCH, "application/json-patch+json")
    unknown = ['unknown field "spec.unknown1"', 'unknown field "spec.unknown3"']
    assert refused.message.endswith("strict decoding error: " + ", ".join(OPERATIONS + unknown))


@pytest.mark.parametrize("query", ["", "fieldValidation=Warn"])
async def test_without_a_wish_the_same_faults_are_warnings(api: Api, query: str) -> None:
    assert await warned(api, "POST", f"{DEPLOYMENTS}?{query}&dryRun=All", INVALID) == TYPED
    assert await warned(api, "POST", f"{DEPLOYMENTS}?{query}&dryRun=All", INVALID_YAML, "application/yaml") == LINES + UNKNOWN
    await api.made(DEPLOYMENTS, VALID)
    merge = "application/merge-patch+json"
    assert await warned(api, "PATCH", f"{DEPLOYMENTS}/d?{query}&dryRun=All", PATCH, merge) == REPEATED + UNKNOWN


async def test_nothing_is_told_to_who_ignores_it(api: Api) -> None:
    assert await warned(api, "POST", f"{DEPLOYMENTS}?fieldValidation=Ignore", INVALID) == []


async def test_a_custom_object_is_told_what_it_repeats_first(api: Api) -> None:
    body = b"""{"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"},
      "spec": {"unknown1": 1, "unknownDupe": 1, "unknownDupe": 2, "color": "red", "color": "blue",
        "ports": [{"port": 1, "port": 2, "unknownNested": 1}]}}"""
    refused = await strictly(api, "POST", WIDGETS, body)
    repeated = [f'duplicate field "spec.{path}"' for path in ("unknownDupe", "color", "ports[0].port")]
    unknown = [f'unknown field "spec.{path}"' for path in ("ports[0].unknownNested", "unknown1", "unknownDupe")]
    assert refused.message.endswith("strict decoding error: " + ", ".join(repeated + unknown))


async def test_what_is_applied_is_told_its_repeated_keys_by_line_whatever_is_preserved(api: Api) -> None:
    body = b"\napiVersion: example.com/v1\nkind: Gate\nmetadata:\n  name: g\nspec:\n  unknown: uk1\n  foo: foo1\n  foo: foo2\n"
    refused = await strictly(api, "PATCH", f"{GATES}/g?fieldManager=m", body, "application/apply-patch+yaml")
    told = 'line 9: key "foo" already set in map'
    assert refused.status == 400
    assert refused.message == f"error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {told}"
    assert await warned(api, "PATCH", f"{GATES}/g?fieldManager=m", body, "application/apply-patch+yaml") == [told]


async def test_what_is_applied_as_json_is_read_as_yaml_too(api: Api) -> None:
    body = b'{"apiVersion": "example.com/v1", "kind": "Gate", "metadata": {"name": "g"},\n "spec": {"foo": 1,\n "foo": 2}}'
    refused = await strictly(api, "PATCH", f"{GATES}/g?fieldManager=m", body, "application/apply-patch+yaml")
    assert refused.message.endswith('line 3: key "foo" already set in map')


async def test_a_repeated_label_is_a_duplicate(api: Api) -> None:
    body = b'{"metadata": {"name": "c"}, "data": {"a": "1", "a": "2"}}'
    assert await warned(api, "POST", "/api/v1/namespaces/default/configmaps", body) == ['duplicate field "data.a"']
