"""What is refused when schemas, exports and bindings are written, with kcp's words.

Source: kcp pkg/admission/{apiresourceschema,apiexport,apibinding}/*_test.go, test/e2e/apibinding.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.behaviour.exports.market import CONFIG_MAP_CLAIM, WIDGETS, Market, accepted, named

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden, Invalid
from kcp.apimachinery.gvk import GVR
from kcp.exports.endpointslices import SLICES
from kcp.exports.names import BINDINGS, EXPORTS, SCHEMAS
from kcp.registry.backend import UserInfo

OLD_EXPORTS, OLD_BINDINGS = GVR("apis.kcp.io", "v1alpha1", "apiexports"), GVR("apis.kcp.io", "v1alpha1", "apibindings")
GADGETS = {"plural": "gadgets", "kind": "Gadget", "singular": "gadget", "listKind": "GadgetList"}


def schema(name: str = "v1.gadgets.example.com", **changes: Any) -> dict[str, Any]:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"type": "object"}}
    spec = {"group": "example.com", "names": GADGETS, "scope": "Cluster", "versions": [version], **changes}
    return named(SCHEMAS, "APIResourceSchema", name, spec)


def version(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "served": True, "storage": True, "schema": {"type": "object"}, **changes}


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (schema("v1.gadgets.example.org"), "metadata.name: Invalid value: \"v1.gadgets.example.org\": must end in .gadgets.example.com"),
        (schema("1.gadgets.example.com"), "must match ^[a-z]([-a-z0-9]*[a-z0-9])?$ in front of .gadgets.example.com"),
        (schema("v1.gadgets.core", group="core"), 'spec.group: Invalid value: "core": must be empty string for the core group'),
        (schema("v1.gadgets.single", group="single"), "should be a domain with at least one dot"),
        (schema("v1.gadgets.x.k8s.io", group="x.k8s.io"), "protected groups must have approval annotation"),
        (schema(versions=[version("v1"), version("v2")]), "must have exactly one version marked as storage version"),
        (schema(versions=[version("v1", storage=False)]), "must have exactly one version marked as storage version"),
        (schema(versions=[version("v1", schema={"type": "object", "properties": {"a": {}}})]), "spec.versions[0].schema.properties[a].type"),
        (schema(names={**GADGETS, "singular": ""}), "spec.names.singular: Required value"),
    ],
)  # fmt: skip
async def test_a_schema_is_held_to_kcps_rules(market: Market, wanted: dict[str, Any], text: str) -> None:
    with pytest.raises(Forbidden) as refused:
        await market.at("provider").resource(SCHEMAS).create(wanted)
    name = meta.name(wanted)
    assert refused.value.message.startswith(f'apiresourceschemas.apis.kcp.io "{name}" is forbidden: [')
    assert text in refused.value.message


async def test_a_schema_never_changes(market: Market) -> None:
    schemas = market.at("provider").resource(SCHEMAS)
    made = await schemas.create(schema())
    assert made["spec"]["nameValidation"] == "DNS1123Subdomain"
    with pytest.raises(Forbidden, match="spec: Invalid value: .*: is immutable"):
        await schemas.patch(meta.name(made), {"spec": {"scope": "Namespaced"}})
    await schemas.patch(meta.name(made), {"metadata": {"labels": {"a": "b"}}})


async def test_a_conversion_is_by_url(market: Market) -> None:
    schemas = market.at("provider").resource(SCHEMAS)
    with pytest.raises(Invalid, match='spec.conversion: Invalid value: "object": Webhook must be specified if strategy=Webhook'):
        await schemas.create(schema(conversion={"strategy": "Webhook"}))
    service = {"service": {"name": "a", "namespace": "b"}}
    webhook = {"clientConfig": service, "conversionReviewVersions": ["v1"]}
    with pytest.raises(Invalid, match=r"spec.conversion.webhook.clientConfig.url: Required value"):
        await schemas.create(schema(conversion={"strategy": "Webhook", "webhook": webhook}))


async def test_names_of_bound_objects_follow_the_schema(market: Market) -> None:
    provider, one = market.at("provider"), await market.workspace("one")
    await provider.resource(SCHEMAS).create(schema(nameValidation="PathSegmentName"))
    resources = [{"group": "example.com", "name": "gadgets", "schema": "v1.gadgets.example.com"}]
    await market.export("gadgets", resources=resources)
    await market.export()
    await market.bind("one", export="gadgets")
    await market.bind("one")
    gadgets = one.resource(GVR("example.com", "v1", "gadgets"))
    assert meta.name(await gadgets.create(named(gadgets.gvr, "Gadget", "A:b_C"))) == "A:b_C"
    with pytest.raises(Invalid):
        await gadgets.create(named(gadgets.gvr, "Gadget", "a%b"))
    with pytest.raises(Invalid):
        await one.resource(WIDGETS).create(named(WIDGETS, "Widget", "A:b"), namespace="default")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            {"permissionClaims": [{"group": "example.org", "resource": "others", "verbs": ["*"]}]},
            'spec.permissionClaims[0].identityHash: Invalid value: "": identityHash is required for API types that are not built-in, '
            'and no PermissionClaimPolicy allows an APIExport exporting no API group to claim group "example.org" without one',
        ),
        (
            {"resources": [{"group": "example.com", "name": "widgets", "schema": "v1.gadgets.example.com"}]},
            'spec.resources[0].schema: Invalid value: "v1.gadgets.example.com": must end in .widgets.example.com',
        ),
        (
            {"resources": [{"group": "example.com", "name": "widgets/ssh", "schema": "v1.ssh.example.com"}]},
            'spec.resources[0].name: Invalid value: "widgets/ssh": custom subresources are not served here: only a resource\'s schema can '
            "give it subresources, status and scale",
        ),
    ],
)
async def test_an_export_is_held_to_kcps_rules(market: Market, spec: dict[str, Any], text: str) -> None:
    with pytest.raises(Forbidden) as refused:
        await market.at("provider").resource(EXPORTS).create(named(EXPORTS, "APIExport", "e", spec))
    assert refused.value.message == f'apiexports.apis.kcp.io "e" is forbidden: {text}'


async def test_one_schema_for_each_resource_and_one_claim(market: Market) -> None:
    exports = market.at("provider").resource(EXPORTS)
    resource = {"group": "example.com", "name": "widgets", "schema": "v1.widgets.example.com"}
    with pytest.raises(Invalid, match=r"spec.resources\[1\]: Duplicate value"):
        await exports.create(named(EXPORTS, "APIExport", "e", {"resources": [resource, resource]}))
    with pytest.raises(Invalid, match=r"spec.permissionClaims\[1\]: Duplicate value"):
        await exports.create(named(EXPORTS, "APIExport", "e", {"permissionClaims": [CONFIG_MAP_CLAIM, CONFIG_MAP_CLAIM]}))
    with pytest.raises(Invalid, match=r"spec.permissionClaims\[0\].verbs"):
        await exports.create(named(EXPORTS, "APIExport", "e", {"permissionClaims": [{**CONFIG_MAP_CLAIM, "verbs": []}]}))
    with pytest.raises(Invalid, match=r"spec.maximalPermissionPolicy.local: Required value"):
        await exports.create(named(EXPORTS, "APIExport", "e", {"maximalPermissionPolicy": {}}))


@pytest.mark.parametrize("claim", [{}, {"all": True, "resourceSelector": [{"name": "a"}]}])
async def test_old_claims_select_all_or_some(market: Market, claim: dict[str, Any]) -> None:
    whole = {"group": "", "resource": "configmaps", **claim}
    with pytest.raises(Invalid, match='Invalid value: "object": either "all" or "resourceSelector" must be set'):
        await market.at("provider").resource(OLD_EXPORTS).create(named(OLD_EXPORTS, "APIExport", "e", {"permissionClaims": [whole]}))


async def test_what_old_exports_carry_must_be_legible(market: Market) -> None:
    exports = market.at("provider").resource(OLD_EXPORTS)
    made = named(OLD_EXPORTS, "APIExport", "e", {"latestResourceSchemas": ["v1.widgets.example.com"]})
    made["metadata"]["annotations"] = {"apis.v1alpha2.kcp.io/resource-schemas": "[["}
    with pytest.raises(Forbidden, match="failed to decode overhanging resource schemas"):
        await exports.create(made)
    made["metadata"]["annotations"] = {"apis.v1alpha2.kcp.io/permission-claims": '[{"resource": "secrets", "verbs": ["get"]}]'}
    with pytest.raises(Forbidden, match="permission claims defined in annotation do not match permission claims defined in spec"):
        await exports.create(made)


@pytest.mark.parametrize("selector", [{}, {"matchAll": True, "matchLabels": {"a": "b"}}])
async def test_a_claim_is_accepted_with_one_kind_of_selector(market: Market, selector: dict[str, Any]) -> None:
    await market.export(claims=[CONFIG_MAP_CLAIM])
    reference = {"export": {"path": "root:provider", "name": "widgets"}}
    spec = {"reference": reference, "permissionClaims": [{**accepted(CONFIG_MAP_CLAIM), "selector": selector}]}
    with pytest.raises(
        Invalid, match='selector: Invalid value: "object": either "matchAll", "matchLabels" or "matchExpressions" must be set'
    ):
        await market.at("provider").resource(BINDINGS).create(named(BINDINGS, "APIBinding", "b", spec))


async def test_a_binding_keeps_its_export_and_its_phase(market: Market) -> None:
    await market.export()
    await market.export("second")
    one = await market.workspace("one")
    bound = await market.bind("one")
    bindings = one.resource(BINDINGS)
    with pytest.raises(Invalid, match='spec.reference: Invalid value: "object": APIExport reference must not be changed'):
        await bindings.patch("widgets", {"spec": {"reference": {"export": {"name": "second"}}}})
    with pytest.raises(Forbidden, match='status.phase: Forbidden: cannot transition from "Bound" to ""'):
        await bindings.patch("widgets", {"status": {"phase": ""}}, subresource="status")
    with pytest.raises((Forbidden, Invalid)):
        await bindings.create(named(BINDINGS, "APIBinding", "b", {"reference": {}}))
    assert conditions.is_true(bound, "Ready")


async def test_a_slice_is_for_who_may_bind_and_keeps_its_export(market: Market) -> None:
    await market.export()
    one = await market.workspace("one")
    stranger = UserInfo("stranger", ("system:authenticated",))
    await market.grant("one", "stranger", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
    wanted = named(SLICES, "APIExportEndpointSlice", "s", {"export": {"path": "root:provider", "name": "widgets"}})
    told = "unable to create APIExportEndpointSlice: no permission to bind to export root:provider:widgets"
    with pytest.raises(Forbidden, match=told):
        await market.at("one", stranger).resource(SLICES).create(wanted)
    slices = one.resource(SLICES)
    missing = named(SLICES, "APIExportEndpointSlice", "m", {"export": {"path": "root:provider", "name": "missing"}})
    with pytest.raises(Forbidden, match="APIExport root:provider:missing not found"):
        await slices.create(missing)
    await slices.create(wanted)
    with pytest.raises(Invalid, match='spec.export: Invalid value: "object": APIExport reference must not be changed'):
        await slices.patch("s", {"spec": {"export": {"name": "other"}}})


async def test_an_export_keeps_the_scope_of_what_it_has_served(market: Market) -> None:
    """Source: kcp test/e2e/reconciler/apiexport/apiexporthistory_test.go."""
    await market.export()
    provider = market.at("provider")
    schemas, exports = provider.resource(SCHEMAS), provider.resource(EXPORTS)
    spec = (await schemas.get("v1.widgets.example.com"))["spec"]
    for prefix, scope in (("v2", "Cluster"), ("v3", "Namespaced")):
        await schemas.create(named(SCHEMAS, "APIResourceSchema", f"{prefix}.widgets.example.com", {**spec, "scope": scope}))

    async def swap(schema: str) -> None:
        await exports.patch("widgets", {"spec": {"resources": [{"group": "example.com", "name": "widgets", "schema": schema}]}})

    refused = "widgets.example.com cannot be served with scope Cluster, as it has been served with scope Namespaced"
    with pytest.raises(Forbidden, match=refused):
        await swap("v2.widgets.example.com")
    await swap("v3.widgets.example.com")
    await market.workspace("one")
    await market.bind("one")
    await exports.patch("widgets", {"spec": {"resources": None}})
    with pytest.raises(Forbidden, match=refused):
        await swap("v2.widgets.example.com")
    old = provider.resource(GVR("apis.kcp.io", "v1alpha1", "apiexports"))
    with pytest.raises(Forbidden, match=refused):
        await old.patch("widgets", {"spec": {"latestResourceSchemas": ["v2.widgets.example.com"]}})
