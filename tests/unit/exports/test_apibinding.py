"""What a binding's status says, and what the catalog serves for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ROOT, WILDCARD, ClusterName
from kcp.exports.admission import ExportsAdmission
from kcp.exports.apibinding import Observed, SchemaSummary, decide, taken_by_others
from kcp.exports.boundresources import BoundResource
from kcp.exports.claimpolicies import ClaimPolicies
from kcp.exports.conflicts import ApiNames, Taken, conflict
from kcp.exports.names import BINDING_FINALIZER, BINDINGS, EXPORT_LABEL, ExportReference, export_label
from kcp.exports.source import BoundSource
from kcp.registry.backend import Attributes, Scope, UserInfo
from kcp.registry.resource import Origin, Resource
from kcp.registry.strategy import Strategy
from kcp.storage.keyspace import resource_prefix

NOW = "2026-01-01T00:00:00Z"
WIDGETS = GroupResource("example.io", "widgets")
NAMES = ApiNames(WIDGETS, "widget", ("w",), "Widget", "WidgetList")
PROVIDER = ClusterName("provider")


def export(**extra: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "widgets", "annotations": {"extra.apis.kcp.io/tier": "gold", "other": "x"}},
        "spec": {"resources": [{"group": "example.io", "name": "widgets", "schema": "v1.widgets.example.io"}]},
        "status": {"identityHash": "hash"},
        **extra,
    }


def binding() -> dict[str, Any]:
    return {"metadata": {"name": "b"}, "spec": {"reference": {"export": {"path": "root:provider", "name": "widgets"}}}}


SUMMARY = {"v1.widgets.example.io": SchemaSummary("v1.widgets.example.io", "uid-1", NAMES, "v1")}


def test_a_binding_to_an_export_with_identity_is_bound() -> None:
    found = decide(binding(), Observed(export(), PROVIDER, SUMMARY, ()), NOW)
    assert found["status"]["phase"] == "Bound"
    assert found["status"]["boundResources"] == [
        {
            "group": "example.io",
            "resource": "widgets",
            "schema": {"name": "v1.widgets.example.io", "UID": "uid-1", "identityHash": "hash"},
            "storageVersions": ["v1"],
        }
    ]
    assert conditions.is_true(found, "Ready")
    assert BINDING_FINALIZER in meta.finalizers(found)
    assert EXPORT_LABEL in meta.labels(found)
    assert dict(meta.annotations(found)) == {"extra.apis.kcp.io/tier": "gold"}


def test_deciding_again_changes_nothing() -> None:
    observed = Observed(export(), PROVIDER, SUMMARY, ())
    once = decide(binding(), observed, NOW)
    assert decide(once, observed, "2026-01-02T00:00:00Z") == once


def test_a_missing_export_is_named_with_what_to_do() -> None:
    found = decide(binding(), Observed(None, ClusterName(""), {}, ()), NOW)
    condition = conditions.get(found, "APIExportValid")
    assert condition is not None
    assert condition["reason"] == "APIExportNotFound"
    assert "root:provider" in condition["message"]
    assert found["status"]["phase"] == "Binding"


def test_a_missing_schema_is_named() -> None:
    found = decide(binding(), Observed(export(), PROVIDER, {}, ()), NOW)
    condition = conditions.get(found, "APIExportValid")
    assert condition is not None
    assert condition["reason"] == "InternalError"
    assert "v1.widgets.example.io" in condition["message"]


def test_a_taken_name_keeps_the_binding_from_being_bound() -> None:
    found = decide(binding(), Observed(export(), PROVIDER, SUMMARY, [Taken(NAMES, 'APIBinding "other"')]), NOW)
    condition = conditions.get(found, "BindingUpToDate")
    assert condition is not None
    assert condition["reason"] == "NamingConflicts"
    assert 'APIBinding "other"' in condition["message"]
    assert found["status"]["phase"] == "Binding"


def test_other_bindings_and_local_crds_own_their_names() -> None:
    def resource(name: str) -> Resource:
        gr = GroupResource("example.io", name)
        gvr, prefix = GVR(gr.group, "v1", name), resource_prefix(gr)
        return Resource(gvr=gvr, kind=name.title(), singular=name, namespaced=True, storage_prefix=prefix, strategy=Strategy())

    apis = [(resource("widgets"), "other"), (resource("mine"), "b"), (resource("gadgets"), "")]
    references = {"other": ExportReference("root:p", "e")}
    taken = taken_by_others(apis, "b", references.get)
    assert [entry.owner for entry in taken] == [
        'APIBinding "other" bound to APIExport root:p:e',
        'CustomResourceDefinition "gadgets.example.io"',
    ]


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (ApiNames(GroupResource("example.io", "w"), "x", (), "X", "XList"), "spec.names.shortNames=[w] is forbidden"),
        (ApiNames(GroupResource("example.io", "others"), "widget", (), "X", "XList"), "spec.names.singular=widget is forbidden"),
        (ApiNames(GroupResource("example.io", "others"), "x", (), "Widget", "XList"), "spec.names.kind=Widget is forbidden"),
        (ApiNames(GroupResource("example.io", "others"), "x", (), "X", "WidgetList"), "spec.names.listKind=WidgetList is forbidden"),
        (ApiNames(GroupResource("example.com", "widgets"), "widget", (), "Widget", "WidgetList"), ""),
    ],
)
def test_any_name_may_clash_within_a_group(other: ApiNames, text: str) -> None:
    assert conflict(NAMES, [Taken(other, "it")]).endswith(text)
    assert bool(conflict(NAMES, [Taken(other, "it")])) == bool(text)


def test_what_an_export_drops_stays_bound() -> None:
    once = decide(binding(), Observed(export(), PROVIDER, SUMMARY, ()), NOW)
    empty = {**export(), "spec": {}}
    assert decide(once, Observed(empty, PROVIDER, {}, ()), NOW)["status"]["boundResources"] == once["status"]["boundResources"]


def test_an_export_that_goes_leaves_a_bound_binding_ready() -> None:
    once = decide(binding(), Observed(export(), PROVIDER, SUMMARY, ()), NOW)
    later = decide(once, Observed(None, ClusterName(""), {}, ()), NOW)
    assert conditions.is_false(later, "APIExportValid")
    assert conditions.is_true(later, "Ready")


def source() -> tuple[BoundSource, list[str]]:
    built: list[str] = []

    def build(cluster: ClusterName, bound: BoundResource) -> Iterable[Resource]:
        identity = bound.identity
        built.append(bound.schema_name)
        yield Resource(
            gvr=GVR("example.io", "v1", "widgets"),
            kind="Widget",
            namespaced=True,
            origin=Origin.BOUND,
            identity=identity,
            storage_prefix=resource_prefix(WIDGETS, source=identity),
            strategy=Strategy(),
        )

    return BoundSource(build), built


GVR_WIDGETS = GVR("example.io", "v1", "widgets")


def test_a_bound_resource_is_served_in_its_workspace_only_and_built_once() -> None:
    catalog, built = source()
    bound = decide(binding(), Observed(export(), PROVIDER, SUMMARY, ()), NOW)
    for cluster in ("a", "b"):
        catalog.changed(ClusterName(cluster), "b", bound)
    first, second = (catalog.lookup(ClusterName(c), GVR_WIDGETS) for c in "ab")
    assert first is second is not None
    assert built == ["v1.widgets.example.io"]
    assert catalog.lookup(ClusterName("c"), GVR_WIDGETS) is None


def test_wildcard_reads_need_the_identity() -> None:
    catalog, _ = source()
    catalog.changed(ClusterName("a"), "b", decide(binding(), Observed(export(), PROVIDER, SUMMARY, ()), NOW))
    assert catalog.lookup(WILDCARD, GVR_WIDGETS) is None
    assert catalog.lookup(WILDCARD, GVR("example.io", "v1", "widgets:hash")) is not None


def test_an_unbound_resource_is_no_longer_served() -> None:
    catalog, _ = source()
    cluster = ClusterName("a")
    catalog.changed(cluster, "b", decide(binding(), Observed(export(), ROOT, SUMMARY, ()), NOW))
    before = catalog.version(cluster)
    catalog.changed(cluster, "b", None)
    assert catalog.lookup(cluster, GVR_WIDGETS) is None
    assert catalog.version(cluster) != before


def test_a_binding_that_is_being_deleted_takes_no_new_objects() -> None:
    catalog, _ = source()
    cluster = ClusterName("a")
    bound = decide(binding(), Observed(export(), PROVIDER, SUMMARY, ()), NOW)
    bound["metadata"]["deletionTimestamp"] = NOW
    catalog.changed(cluster, "b", bound)
    resource = catalog.lookup(cluster, GVR_WIDGETS)
    assert resource is not None
    assert "create" not in resource.verbs
    assert "delete" in resource.verbs


async def test_a_new_binding_is_marked_at_once_and_an_unknown_export_left_to_validation() -> None:
    async def may_bind(_user: UserInfo, _cluster: ClusterName, _name: str) -> bool:
        return True

    admission = ExportsAdmission(lambda path: PROVIDER if path == "root:provider" else None, may_bind, ClaimPolicies())
    resource = Resource(gvr=BINDINGS, kind="APIBinding", namespaced=False, storage_prefix=b"", strategy=Strategy())
    scope = Scope(resource, ClusterName("c"), "", "b")
    sent = binding()
    marked = await admission.mutate(Attributes("CREATE", scope, UserInfo("u", ()), sent, None))
    assert marked is not None
    assert marked is not sent
    assert meta.finalizers(marked) == [BINDING_FINALIZER]
    assert meta.labels(marked)[EXPORT_LABEL] == export_label(PROVIDER, "widgets")
    unknown = {**sent, "spec": {"reference": {"export": {"path": "root:nowhere", "name": "widgets"}}}}
    assert await admission.mutate(Attributes("CREATE", scope, UserInfo("u", ()), unknown, None)) is unknown
