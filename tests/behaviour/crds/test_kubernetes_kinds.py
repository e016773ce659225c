"""CRDs of Kubernetes' own kinds: a workspace has few of them, and takes the others as definitions, as kcp's fork of Kubernetes does.

Source: kcp test/e2e/conformance/metadata_test.go, test/e2e/fixtures/kube.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.behaviour.crds.conftest import World

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR

STRATEGIC = "application/strategic-merge-patch+json"
DEPLOYMENTS, SERVICES, SECRETS = GVR("apps", "v1", "deployments"), GVR("", "v1", "services"), GVR("", "v1", "secrets")
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "one", "image": "x"}]}}


def definition(gvr: GVR, kind: str, **changes: Any) -> dict[str, Any]:
    """With a schema that knows no merge keys, as those that are made from a cluster's OpenAPI."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": gvr.version, "served": True, "storage": True, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": gvr.resource, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{gvr.resource}.{gvr.group or 'core'}"},
        "spec": {"group": gvr.group, "scope": "Namespaced", "names": names, "versions": [version], **changes},
    }


async def test_kinds_of_kubernetes_are_defined_and_gone_again(workspace: World) -> None:
    for gvr, kind in ((DEPLOYMENTS, "Deployment"), (SERVICES, "Service")):
        crd = await workspace.define(definition(gvr, kind))
        objects = workspace.client.resource(gvr)
        await objects.create({"apiVersion": gvr.api_version, "kind": kind, "metadata": {"name": "x"}}, namespace="default")
        assert [meta.name(obj) for obj in (await objects.list()).items] == ["x"]
        shown = await workspace.call("GET", f"/{'apis/apps' if gvr.group else 'api'}/v1")
        assert kind in [resource["kind"] for resource in shown.body["resources"]]
        await workspace.crds.delete(meta.name(crd))

        async def gone(path: str = f"/{'apis/apps' if gvr.group else 'api'}/v1/{gvr.resource}") -> bool:
            return (await workspace.call("GET", path)).status == 404

        await workspace.until(gone)


async def test_lists_of_theirs_merge_by_key_and_times_stay(workspace: World) -> None:
    await workspace.define(definition(DEPLOYMENTS, "Deployment"))
    deployments = workspace.client.resource(DEPLOYMENTS)
    made = await deployments.create(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": TEMPLATE}}, namespace="default"
    )
    change = {"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z"}, "spec": {"template": {"spec": {"containers": [{"name": "two"}]}}}}
    answer = await workspace.call("PATCH", "/apis/apps/v1/namespaces/default/deployments/d", change, content=STRATEGIC)
    assert answer.status == 200
    assert sorted(c["name"] for c in answer.body["spec"]["template"]["spec"]["containers"]) == ["one", "two"]
    assert answer.body["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]


async def test_other_kinds_of_a_kubernetes_group_have_no_strategic_patch(workspace: World) -> None:
    await workspace.define(definition(GVR("apps", "v1", "gadgets"), "Gadget"))
    answer = await workspace.call("PATCH", "/apis/apps/v1/namespaces/default/gadgets/g", {}, content=STRATEGIC)
    assert answer.status == 415


async def test_a_definition_of_a_kind_that_is_there_changes_nothing(workspace: World) -> None:
    """Neither while it is there nor when it goes, with objects that are not its own."""
    secrets = workspace.client.resource(SECRETS)
    await secrets.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}, namespace="default")
    crd = await workspace.define(definition(SECRETS, "Secret"))
    assert (await secrets.get("s", namespace="default"))["data"] == {"a": "Yg=="}
    await workspace.crds.delete(meta.name(crd))

    async def gone() -> bool:
        return not (await workspace.crds.list()).items

    await workspace.until(gone)
    assert (await secrets.get("s", namespace="default"))["data"] == {"a": "Yg=="}


@pytest.mark.parametrize(
    ("group", "name", "text"),
    [
        ("single", "things.single", "should be a domain with at least one dot"),
        ("", "things.", 'must be spec.names.plural+\\".\\"+spec.group'),
        ("apps", "things.core", 'must be spec.names.plural+\\".\\"+spec.group'),
    ],
)
async def test_other_groups_and_names_are_refused(workspace: World, group: str, name: str, text: str) -> None:
    wanted = definition(GVR(group, "v1", "things"), "Thing")
    wanted["metadata"]["name"] = name
    answer = await workspace.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", wanted)
    assert answer.status == 422
    assert text.replace("\\", "") in answer.body["message"]
