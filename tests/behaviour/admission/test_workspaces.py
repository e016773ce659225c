"""Admission between workspaces: policies hold where they are, rules of an exported schema wherever it is bound."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.admission.objects import REGISTRATION, applied, binding_of, config_map, mutating_policy, validating_policy, widget

from kcp.aio.clock import SystemClock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, Invalid
from kcp.apimachinery.gvk import GVR
from kcp.client.rest import Client
from kcp.exports.names import BINDINGS, EXPORTS, SCHEMAS
from kcp.server.compose import KcpServer, run_server
from kcp.server.options import Options
from kcp.tenancy import kinds
from kcp.tenancy.waiting import wait_for

_CONFIG_MAPS = GVR("", "v1", "configmaps")
_WIDGETS = GVR("example.com", "v1", "widgets")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KcpServer]:
    options = Options(root_directory=tmp_path / ".kcp", in_memory=True)
    async with run_server(options, clock=SystemClock(), with_socket=False) as running:
        yield running


async def workspace(server: KcpServer, name: str) -> Client:
    workspaces = server.client.cluster("root").resource(kinds.WORKSPACES)
    spec = {"type": {"name": "universal", "path": "root"}}
    await workspaces.create({"apiVersion": kinds.WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name}, "spec": spec})
    await wait_for(workspaces, name, lambda w: meta.nested(w, "status", "phase") == "Ready", timeout_s=10.0, what=name)
    return server.client.cluster(f"root:{name}")


def schema(rule: str) -> dict[str, Any]:
    validations = [{"rule": rule}]
    openapi = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}, "x-kubernetes-validations": validations}},
    }
    names = {"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": openapi}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    return {"apiVersion": SCHEMAS.api_version, "kind": "APIResourceSchema", "metadata": {"name": "v1.widgets.example.com"}, "spec": spec}


async def test_a_workspace_serves_mutating_policies_in_both_versions(server: KcpServer) -> None:
    one = await workspace(server, "one")
    policies = one.resource(GVR("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies"))
    await policies.create(mutating_policy("p", applied("Object{}")))
    listed = await one.resource(GVR("admissionregistration.k8s.io", "v1beta1", "mutatingadmissionpolicies")).list()
    assert [(meta.name(item), item["apiVersion"]) for item in listed.items] == [("p", "admissionregistration.k8s.io/v1beta1")]


async def test_a_policy_holds_in_its_own_workspace_only(server: KcpServer) -> None:
    one, other = await workspace(server, "one"), await workspace(server, "other")
    policies = one.resource(GVR("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies"))
    bindings = one.resource(GVR("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings"))
    assert policies.gvr.api_version == REGISTRATION
    await policies.create(validating_policy("no", {"expression": "false"}))
    await bindings.create(binding_of("no"))
    with pytest.raises(Invalid, match="ValidatingAdmissionPolicy 'no' with binding 'no' denied request: failed expression: false"):
        await one.resource(_CONFIG_MAPS).create(config_map("a"), namespace="default")
    await other.resource(_CONFIG_MAPS).create(config_map("a"), namespace="default")


async def test_rules_of_an_exported_schema_hold_where_it_is_bound(server: KcpServer) -> None:
    provider, consumer = await workspace(server, "provider"), await workspace(server, "consumer")
    with pytest.raises(
        Forbidden, match=r"spec\.versions\[0\]\.schema\.properties\[spec\]\.x-kubernetes-validations\[0\]\.rule.*undefined field 'x'"
    ):
        await provider.resource(SCHEMAS).create(schema("self.x > 1"))
    await provider.resource(SCHEMAS).create(schema("self.n > 1"))
    spec = {"resources": [{"group": "example.com", "name": "widgets", "schema": "v1.widgets.example.com"}]}
    await provider.resource(EXPORTS).create(
        {"apiVersion": EXPORTS.api_version, "kind": "APIExport", "metadata": {"name": "widgets"}, "spec": spec}
    )
    reference = {"reference": {"export": {"path": "root:provider", "name": "widgets"}}}
    bindings = consumer.resource(BINDINGS)
    await bindings.create({"apiVersion": BINDINGS.api_version, "kind": "APIBinding", "metadata": {"name": "widgets"}, "spec": reference})
    await wait_for(bindings, "widgets", lambda b: meta.nested(b, "status", "phase") == "Bound", timeout_s=10.0, what="the binding")
    widgets = consumer.resource(_WIDGETS)
    await widgets.create(widget("a", n=2), namespace="default")
    with pytest.raises(Invalid, match=r"spec: Invalid value: failed rule: self\.n > 1"):
        await widgets.create(widget("b", n=1), namespace="default")
