"""Resources of CRDs and of bound schemas, and the source of local CRDs."""

from __future__ import annotations

from tests.unit.registry.crds import crd, established

from kcp.apimachinery.gvk import GVK, GVR
from kcp.apimachinery.keys import WILDCARD, ClusterName
from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apis.kubernetes.compute import compute_schemas
from kcp.registry.builtin import builtin_schema
from kcp.registry.crd import LocalCRDSource, resource_from_crd, resources_from_crd, resources_from_schema
from kcp.registry.resource import Origin

A, B = ClusterName("a"), ClusterName("b")
WIDGETS = GVR("example.com", "v1", "widgets")


def test_each_served_version_is_a_resource_over_one_storage() -> None:
    first, second = resources_from_crd(established("widgets", "Widget", versions=("v1alpha1", "v1")), A)
    assert (first.gvr.version, second.gvr.version) == ("v1alpha1", "v1")
    assert first.storage_prefix == second.storage_prefix == b"/registry/example.com/widgets/customresources/"
    assert first.storage_version == second.storage_version == "v1"
    assert first.storage_hash == second.storage_hash
    assert first.has_status
    assert first.scale is not None
    assert first.selectable_fields == ("spec.color",)
    assert [c.name for c in first.columns] == ["Name", "Color"]


def test_a_crd_is_not_served_before_it_is_established() -> None:
    assert list(resources_from_crd(crd("widgets", "Widget"), A)) == []


def test_only_accepted_short_names_are_served() -> None:
    held = established("widgets", "Widget", shortNames=["w", "cm"])
    held["status"]["acceptedNames"] = {**held["spec"]["names"], "shortNames": ["w"]}
    assert resource_from_crd(held, "v1").short_names == ("w",)


def test_equal_schemas_of_many_workspaces_are_compiled_once() -> None:
    one, other = (resource_from_crd(established("widgets", "Widget"), "v1") for _ in range(2))
    assert one.schema is other.schema
    assert one.schema_id == other.schema_id


def test_a_deprecated_version_warns() -> None:
    held = established("widgets", "Widget")
    held["spec"]["versions"][0]["deprecated"] = True
    assert resource_from_crd(held, "v1").deprecation_warning == "example.com/v1 Widget is deprecated"


def _schema(plural: str) -> JSONObject:
    return next(s for s in compute_schemas() if s["spec"]["names"]["plural"] == plural)


def test_a_bound_deployment_behaves_as_built_in_under_its_identity() -> None:
    (bound,) = resources_from_schema(_schema("deployments"), "hash")
    assert bound.origin is Origin.BOUND
    assert bound.storage_prefix == b"/registry/apps/deployments/hash/"
    assert bound.identity == "hash"
    assert bound.schema is builtin_schema(GVK("apps", "v1", "Deployment"))
    assert bound.columns[1].name == "Ready"
    assert bound.columns[1].getter is not None
    obj: JSONObject = {"spec": {}}
    bound.strategy.prepare_create(obj, "2026-01-01T00:00:00Z")
    assert obj["spec"]["replicas"] == 1


def test_somebody_elses_deployment_schema_says_alone_what_is_valid_but_gets_the_behaviour() -> None:
    schema = copy_json(_schema("deployments"))
    del schema["metadata"]["annotations"]
    (bound,) = resources_from_schema(schema, "hash")
    assert bound.schema is not builtin_schema(GVK("apps", "v1", "Deployment"))
    assert bound.columns[1].getter is not None
    made: JSONObject = {"metadata": {"name": "web"}, "spec": {}}
    bound.strategy.prepare_create(made, "2023-01-01T00:00:00Z")
    assert made["spec"]["replicas"] == 1
    assert not bound.strategy.validate({"spec": {"replicas": -1}}, None)


def test_local_crds_are_served_where_they_are_only() -> None:
    source = LocalCRDSource()
    source.changed(A, "widgets.example.com", established("widgets", "Widget"))
    assert source.lookup(A, WIDGETS) is not None
    assert source.lookup(B, WIDGETS) is None
    assert list(source.resources(B)) == []


def test_changes_are_followed_and_idempotent() -> None:
    source = LocalCRDSource()
    for _ in range(2):
        source.changed(A, "widgets.example.com", established("widgets", "Widget", versions=("v1", "v2")))
    assert [r.gvr.version for r in source.resources(A)] == ["v1", "v2"]
    changed = established("widgets", "Widget", versions=("v2",))
    changed["metadata"]["generation"] = 2
    source.changed(A, "widgets.example.com", changed)
    assert source.lookup(A, WIDGETS) is None
    for _ in range(2):
        source.changed(A, "widgets.example.com", None)
    assert list(source.resources(A)) == []
    assert source.lookup(WILDCARD, WIDGETS) is None


def test_a_crd_that_is_being_deleted_takes_no_new_objects() -> None:
    source = LocalCRDSource()
    held = established("widgets", "Widget")
    held["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    source.changed(A, "widgets.example.com", held)
    found = source.lookup(A, WIDGETS)
    assert found is not None
    assert "create" not in found.verbs
    assert "delete" in found.verbs


def test_who_watches_is_told_of_another_spec_and_other_names_but_not_of_conditions_or_deletion() -> None:
    source = LocalCRDSource()
    told: list[tuple[ClusterName, list[str]]] = []
    source.on_retired(lambda cluster, resources: told.append((cluster, [gvr.version for gvr in resources])))
    held = established("widgets", "Widget")
    source.changed(A, "widgets.example.com", held)
    before = source.lookup(A, WIDGETS)
    held["status"]["conditions"].append({"type": "Terminating", "status": "False"})
    source.changed(A, "widgets.example.com", held)
    assert source.lookup(A, WIDGETS) is before
    held["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "generation": 2}
    source.changed(A, "widgets.example.com", held)
    assert told == []
    source.changed(A, "widgets.example.com", None)
    assert told == [(A, ["v1"])]
    held = established("widgets", "Widget")
    source.changed(A, "widgets.example.com", held)
    held["status"]["acceptedNames"] = {**held["status"]["acceptedNames"], "shortNames": ["w"]}
    source.changed(A, "widgets.example.com", held)
    assert told == [(A, ["v1"])] * 2


def test_all_clusters_together_can_be_read_only_as_long_as_one_has_the_crd() -> None:
    source = LocalCRDSource()
    for cluster in (A, B):
        source.changed(cluster, "widgets.example.com", established("widgets", "Widget"))
    everywhere = WIDGETS._replace(resource="widgets:customresources")
    found = source.lookup(WILDCARD, everywhere)
    assert found is not None
    assert set(found.verbs) == {"get", "list", "watch"}
    assert found.schema is None
    assert source.lookup(WILDCARD, WIDGETS) is None, "those of one name need have nothing but their metadata in common"
    source.changed(A, "widgets.example.com", None)
    assert source.lookup(WILDCARD, everywhere) is not None
    source.changed(B, "widgets.example.com", None)
    assert source.lookup(WILDCARD, everywhere) is None
