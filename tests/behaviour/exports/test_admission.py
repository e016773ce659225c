"""A provider's webhooks and policies decide about what its consumers bind, and the consumers' own do not.

Source: kcp test/e2e/apibinding/apibinding_webhook_test.go, test/e2e/conformance/validatingadmissionpolicy_test.go,
docs/content/concepts/apis/admission-webhooks.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.admission.objects import applied, binding_of, mutating_binding, mutating_policy, validating_policy
from tests.behaviour.admission.test_webhooks import Hook, configuration, patching
from tests.behaviour.exports.market import CONFIG_MAPS, WIDGETS, Market, config_map, named
from tests.listener import listening

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, Invalid
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client

GROUP = "admissionregistration.k8s.io"
ON_WIDGETS = {"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE", "DELETE"], "resources": ["widgets"]}
ON_ALL = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["configmaps", "widgets"]}


async def configured(client: Client, *objects: JSONObject) -> None:
    for obj in objects:
        plural = {"y": f"{obj['kind'].lower()[:-1]}ies"}.get(obj["kind"][-1], f"{obj['kind'].lower()}s")
        await client.resource(GVR(GROUP, "v1", plural)).create(obj)


async def bound(market: Market) -> Client:
    await market.export()
    one = await market.workspace("one")
    await market.bind("one")
    return one


def called(hook: Hook) -> list[tuple[str, str, str]]:
    """Path, operation and name of each call."""
    return [(path.partition("?")[0], asked["request"]["operation"], asked["request"]["name"]) for path, asked in hook.asked]


async def test_the_providers_webhooks_are_called_for_what_consumers_bind(market: Market, tmp_path: Path) -> None:
    one, provider = await bound(market), market.at("provider")
    async with listening(tmp_path / "hook", ["127.0.0.1"], Hook) as hook:
        hook.responses["/mutating"] = patching({"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}})
        hook.responses["/validating"] = lambda request: {
            "allowed": request["operation"] == "DELETE" or request["object"]["metadata"]["name"] != "bad",
            "status": {"message": "a bad name"},
        }
        for client, path in ((provider, "ing"), (one, "ing-of-consumer")):
            await configured(client, configuration("Mutating", "m", hook.webhook(f"/mutat{path}", rules=[ON_ALL])))
            await configured(client, configuration("Validating", "v", hook.webhook(f"/validat{path}", rules=[ON_ALL, ON_WIDGETS])))
        widgets = one.resource(WIDGETS)
        made = await widgets.create(named(WIDGETS, "Widget", "good"), namespace="default")
        assert meta.labels(made) == {"seen": "yes"}
        seen = hook.asked[0][1]["request"]["object"]
        assert meta.cluster(seen) == meta.cluster(made) != market.provider_name
        with pytest.raises(Forbidden, match="a bad name"):
            await widgets.create(named(WIDGETS, "Widget", "bad"), namespace="default")
        await market.view("one").resource(WIDGETS).delete("good", namespace="default")
        assert {path for path, _, _ in called(hook)} == {"/mutating", "/validating"}
        assert called(hook)[-1] == ("/validating", "DELETE", "good")
        hook.asked.clear()
        await one.resource(CONFIG_MAPS).create(config_map("own"), namespace="default")
        assert {path for path, _, _ in called(hook)} == {"/mutating-of-consumer", "/validating-of-consumer"}


async def test_the_providers_policies_hold_for_what_consumers_bind(market: Market) -> None:
    one, provider = await bound(market), market.at("provider")
    rule: dict[str, Any] = {"expression": "object.metadata.name != params.data.refused", "message": "no such name"}
    parameters = {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}
    await provider.resource(CONFIG_MAPS).create({**config_map("names"), "data": {"refused": "bad"}}, namespace="default")
    reference = {"name": "names", "namespace": "default", "parameterNotFoundAction": "Deny"}
    await configured(
        provider,
        validating_policy("names", rule, rules=[ON_WIDGETS], **parameters),
        binding_of("names", paramRef=reference),
        mutating_policy("labels", applied("Object{metadata: Object.metadata{labels: {'seen': 'yes'}}}"), rules=[ON_WIDGETS]),
        mutating_binding("labels"),
    )
    await configured(one, validating_policy("never", {"expression": "false"}, rules=[ON_WIDGETS]), binding_of("never"))
    widgets = one.resource(WIDGETS)
    made = await widgets.create(named(WIDGETS, "Widget", "good"), namespace="default")
    assert meta.labels(made) == {"seen": "yes"}
    with pytest.raises(Invalid, match="no such name"):
        await widgets.create(named(WIDGETS, "Widget", "bad"), namespace="default")
