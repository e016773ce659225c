"""Server-side apply and tracking: ownership, conflicts, removal, lists, atomics, other managers, times, limits.

Examples come from kubernetes.io/docs/reference/using-api/server-side-apply and from upstream tests, named beside them.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.unit.apimachinery.applying import server_side_apply, track_update

from kcp.apimachinery.apply.fields import FieldSet
from kcp.apimachinery.apply.lastapplied import ANNOTATION as LAST_APPLIED
from kcp.apimachinery.errors import BadRequest, Conflict
from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apimachinery.patch import json_patch
from kcp.apimachinery.schema.structural import Schema, compile_schema
from kcp.apis.kubernetes.definitions import load


def builtin_schema(name: str) -> Schema:
    return compile_schema(load().raw(name), resolve=load().raw)


T1, T2, T3 = "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z"
DEPLOYMENT = builtin_schema("io.k8s.api.apps.v1.Deployment")
CONFIG_MAP = builtin_schema("io.k8s.api.core.v1.ConfigMap")


def deployment(*containers: JSONObject, **spec: Any) -> JSONObject:
    if containers:
        spec["template"] = {"spec": {"containers": list(containers)}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def config_map(labels: dict[str, str] | None = None, **data: str) -> JSONObject:
    meta: JSONObject = {"name": "c", **({"labels": labels} if labels is not None else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, **({"data": data} if data else {})}


def apply(
    live: JSONObject | None, config: JSONObject, manager: str, *, schema: Schema | None = DEPLOYMENT, now: str = T1, **more: Any
) -> JSONObject:
    before = copy_json([live, config])
    result = server_side_apply(live, config, manager=manager, force=more.pop("force", False), schema=schema, now=now, **more)
    assert [live, config] == before
    return result


def update(
    old: JSONObject | None, new: JSONObject, manager: str, *, schema: Schema | None = DEPLOYMENT, now: str = T2, **more: Any
) -> JSONObject:
    """`new` as it is after tracking; like a client, it carries the managed fields it read."""
    new = copy_json(new)
    if old is not None and "managedFields" not in new["metadata"]:
        new["metadata"]["managedFields"] = copy_json(old["metadata"].get("managedFields", []))
    track_update(old, new, manager=manager, schema=schema, now=now, **more)
    return new


def owned(obj: JSONObject, manager: str, operation: str = "Apply") -> list[str]:
    for entry in obj["metadata"].get("managedFields", []):
        if entry["manager"] == manager and entry["operation"] == operation:
            return str(FieldSet.from_v1(entry["fieldsV1"])).split("\n")
    return []


def times(obj: JSONObject) -> dict[str, str]:
    return {entry["manager"]: entry.get("time", "") for entry in obj["metadata"]["managedFields"]}


# --- applying


def test_applying_to_nothing_creates_the_object_and_owns_what_was_said() -> None:
    # The documentation's first example.
    created = apply(None, config_map({"test-label": "test"}, key="some value"), "kubectl", schema=CONFIG_MAP)
    assert created["metadata"]["managedFields"] == [
        {
            "manager": "kubectl", "operation": "Apply", "apiVersion": "v1", "time": T1, "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:labels": {"f:test-label": {}}}, "f:data": {"f:key": {}}},
        }
    ]  # fmt: skip


def test_applying_the_same_again_changes_nothing_not_even_the_time() -> None:
    config = deployment({"name": "a", "image": "1", "ports": [{"containerPort": 80}]}, replicas=1)
    once = apply(None, config, "me")
    again = apply(once, config, "me", now=T2)
    assert again == once
    assert orjson.dumps(again) == orjson.dumps(once), "the same bytes, so that a write can be skipped"


def test_a_value_owned_by_another_is_a_conflict_that_names_everything() -> None:
    live = update(None, deployment(replicas=1), "kubectl-client-side-apply")
    with pytest.raises(Conflict) as raised:
        apply(live, deployment(replicas=2), "me")
    status = raised.value.to_status()
    assert status["message"] == 'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas'
    assert status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl-client-side-apply" using apps/v1', "field": ".spec.replicas"}
    ]


def test_several_conflicts_are_grouped_by_manager() -> None:
    live = apply(None, deployment({"name": "a", "image": "1"}, replicas=1), "one")
    live = update(live, {**live, "spec": {**live["spec"], "paused": True}}, "two", subresource="scale")
    with pytest.raises(Conflict) as raised:
        apply(live, deployment({"name": "a", "image": "2"}, replicas=2, paused=False), "me")
    assert raised.value.message == (
        'Apply failed with 3 conflicts: conflicts with "one":\n- .spec.replicas\n- .spec.template.spec.containers[name="a"].image\n'
        'conflicts with "two" with subresource "scale" using apps/v1:\n- .spec.paused'
    )


def test_true_is_not_one() -> None:
    base = {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}}
    live = apply(None, {**base, "spec": {"a": 1}}, "me", schema=None)
    assert apply(live, {**base, "spec": {"a": True}}, "me", schema=None)["spec"]["a"] is True


def test_force_takes_the_field_over() -> None:
    live = update(None, deployment(replicas=1), "hpa")
    forced = apply(live, deployment(replicas=2), "me", force=True)
    assert forced["spec"]["replicas"] == 2
    assert owned(forced, "me") == [".spec.replicas"]
    assert owned(forced, "hpa", "Update") == []


def test_the_same_value_is_shared_without_conflict() -> None:
    live = apply(None, deployment(replicas=1), "one")
    both = apply(live, deployment(replicas=1), "two", now=T2)
    assert owned(both, "one") == owned(both, "two") == [".spec.replicas"]
    assert times(both) == {"one": T1, "two": ""}, "the object has not changed"


def test_a_field_no_longer_applied_goes_unless_another_owns_it() -> None:
    # The documentation, "Transferring ownership": one of two owners stops applying the replicas.
    live = apply(None, deployment(replicas=1, paused=True), "one")
    live = apply(live, deployment(replicas=1), "two")
    left = apply(live, deployment(), "one", now=T2)
    assert left["spec"] == {"replicas": 1}
    assert owned(left, "two") == [".spec.replicas"]
    gone = apply(left, deployment(), "two", now=T2)
    assert "replicas" not in gone["spec"]


def test_a_struct_nobody_claims_goes_with_its_defaulted_fields() -> None:
    # structured-merge-diff merge/nested_test.go, "struct remove" cases; a Deployment that changes its strategy.
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}
    live = apply(None, deployment(strategy=rolling), "me")
    live["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] = "25%"
    assert apply(live, deployment(strategy={"type": "Recreate"}), "me")["spec"]["strategy"] == {"type": "Recreate"}


def test_other_peoples_map_entries_stay() -> None:
    live = apply(None, config_map({"a": "1"}, x="1"), "one", schema=CONFIG_MAP)
    live = update(live, {**live, "data": {"x": "1", "y": "2"}}, "two", schema=CONFIG_MAP)
    left = apply(live, config_map(), "one", schema=CONFIG_MAP)
    assert left["data"] == {"y": "2"}
    assert "labels" not in left["metadata"]
    assert owned(left, "one") == []


def test_list_items_merge_by_key_and_keep_the_others() -> None:
    live = apply(None, deployment({"name": "a", "image": "1"}, {"name": "b", "image": "1"}), "one")
    live = update(live, deployment({"name": "sidecar", "image": "s"}, {"name": "a", "image": "1"}, {"name": "b", "image": "1"}), "injector")
    merged = apply(live, deployment({"name": "b", "image": "1"}, {"name": "a", "image": "2"}), "one")
    names = [c["name"] for c in merged["spec"]["template"]["spec"]["containers"]]
    assert names == ["sidecar", "b", "a"]
    removed = apply(merged, deployment({"name": "a", "image": "2"}), "one")
    assert [c["name"] for c in removed["spec"]["template"]["spec"]["containers"]] == ["sidecar", "a"]


def test_a_list_key_left_out_is_its_default() -> None:
    config = deployment({"name": "a", "ports": [{"containerPort": 80, "name": "http"}]})
    live = apply(None, config, "me")
    assert '.spec.template.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"].name' in owned(live, "me")
    DEPLOYMENT.default(live)
    assert live["spec"]["template"]["spec"]["containers"][0]["ports"][0]["protocol"] == "TCP"
    assert apply(live, config, "me", now=T2) == live


def test_atomic_values_are_owned_as_a_whole() -> None:
    live = apply(None, deployment(selector={"matchLabels": {"a": "1"}}), "one")
    assert owned(live, "one") == [".spec.selector"]
    with pytest.raises(Conflict, match=r": \.spec\.selector$"):
        apply(live, deployment(selector={"matchLabels": {"a": "1", "b": "2"}}), "two")


def test_items_of_a_set_are_owned_one_by_one() -> None:
    def with_finalizers(*names: str) -> JSONObject:
        return {**config_map(), "metadata": {"name": "c", "finalizers": list(names)}}

    live = apply(None, with_finalizers("a/x"), "one", schema=CONFIG_MAP)
    live = apply(live, with_finalizers("b/y"), "two", schema=CONFIG_MAP)
    assert live["metadata"]["finalizers"] == ["a/x", "b/y"]
    assert owned(live, "two") == ['.metadata.finalizers[="b/y"]']
    assert apply(live, config_map(), "one", schema=CONFIG_MAP)["metadata"]["finalizers"] == ["b/y"]


def test_without_a_schema_maps_are_granular_and_lists_atomic() -> None:
    # structured-merge-diff typed/deduced_test.go.
    live = apply(None, {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}, "spec": {"a": 1, "l": [1]}}, "one", schema=None)
    assert owned(live, "one") == [".spec", ".spec.a", ".spec.l"]
    merged = apply(live, {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}, "spec": {"b": {"c": 1}}}, "two", schema=None)
    assert merged["spec"] == {"a": 1, "l": [1], "b": {"c": 1}}
    with pytest.raises(Conflict, match=r"\.spec\.l"):
        apply(merged, {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}, "spec": {"l": [2]}}, "two", schema=None)


def test_list_types_of_a_crd_are_honoured() -> None:
    item = {"type": "object", "properties": {"k": {"type": "string"}, "n": {"type": "string", "default": "d"}, "v": {"type": "integer"}}}
    listed = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "n"]}
    schema = compile_schema({"type": "object", "properties": {"spec": {"type": "object", "properties": {"l": listed}}}})
    base = {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}}
    live = apply(None, {**base, "spec": {"l": [{"k": "a", "v": 1}]}}, "one", schema=schema)
    assert '.spec.l[k="a",n="d"].v' in owned(live, "one")
    merged = apply(live, {**base, "spec": {"l": [{"k": "a", "n": "e", "v": 2}]}}, "two", schema=schema)
    assert [item["v"] for item in merged["spec"]["l"]] == [1, 2]


def test_the_first_apply_to_an_untracked_object_respects_what_it_held() -> None:
    # managedfields/internal/skipnonapplied_test.go.
    live = {**deployment(replicas=1, paused=True), "metadata": {"name": "web", "uid": "1"}}
    same = apply(live, deployment(replicas=1), "me")
    assert owned(same, "before-first-apply", "Update") == [".spec.paused", ".spec.replicas"]
    with pytest.raises(Conflict, match='conflict with "before-first-apply" using apps/v1'):
        apply(live, deployment(replicas=2), "me")


def test_a_configuration_that_does_not_fit_is_refused() -> None:
    with pytest.raises(BadRequest) as raised:
        apply(None, deployment(foo=1), "me")
    assert (
        raised.value.message
        == "failed to create typed patch object (/web; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema"
    )
    with pytest.raises(BadRequest, match=r'containers: duplicate entries for key \[name="a"\]'):
        apply(None, deployment({"name": "a"}, {"name": "a"}), "me")
    with pytest.raises(BadRequest, match='omits key field "name"'):
        apply(None, deployment({"image": "a"}), "me")
    with pytest.raises(BadRequest, match=r"metadata\.managedFields must be nil"):
        apply(None, {"metadata": {"managedFields": [{"manager": "x"}]}}, "me")


def test_identity_and_server_fields_are_kept_and_never_owned() -> None:
    annotations = {"kcp.io/cluster": "root", "mine": "1"}
    live = apply(None, config_map(x="1"), "me", schema=CONFIG_MAP)
    live["metadata"] |= {"uid": "u", "resourceVersion": "7", "creationTimestamp": T1, "annotations": {"kcp.io/cluster": "root"}}
    config = config_map(x="1")
    config["metadata"] |= {"annotations": annotations, "uid": "u", "creationTimestamp": None}
    result = apply(live, config, "me", schema=CONFIG_MAP)
    assert result["metadata"]["annotations"] == annotations
    assert result["metadata"]["creationTimestamp"] == T1
    assert owned(result, "me") == [".data.x", ".metadata.annotations.mine"]
    assert orjson.dumps(apply(result, config, "me", schema=CONFIG_MAP)) == orjson.dumps(result)


def test_ignored_fields_are_neither_owned_nor_in_conflict() -> None:
    live = update(None, {**deployment(replicas=1), "status": {"replicas": 1}}, "controller", subresource="status")
    config = {**deployment(replicas=1), "status": {"replicas": 5}}
    assert owned(apply(live, config, "me", ignored=FieldSet.of(("f:status",))), "me") == [".spec.replicas"]


def test_empty_lists_and_maps_are_owned_though_a_built_in_type_does_not_store_them() -> None:
    # Source: structured-merge-diff typed/tofieldset.go, visitMapItems.
    config = deployment(replicas=1, selector={"matchLabels": {}})
    config["metadata"]["labels"] = {}
    live = apply(None, config, "a")
    DEPLOYMENT.default(live)
    assert owned(live, "a") == [".metadata.labels", ".spec.replicas", ".spec.selector"]
    assert apply(live, config, "a", now=T2) == live


def test_nulls_of_a_built_in_type_claim_nothing() -> None:
    config = deployment({"name": "a", "image": "1"})
    config["spec"]["template"]["metadata"] = {"creationTimestamp": None, "labels": {"a": "b"}}
    live = apply(None, config, "me")
    assert not any("creationTimestamp" in path for path in owned(live, "me"))
    assert apply(live, config, "me", now=T2) == live


# --- tracking other writes


def test_creating_owns_everything_and_every_map_or_item_added() -> None:
    # The managedFields of `kubectl create deployment`, as a cluster shows them.
    obj = deployment(
        {"name": "a", "image": "1", "resources": {}}, replicas=1, strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}
    )
    created = update(None, {**obj, "metadata": {"name": "web", "labels": {"app": "web"}}, "status": {}}, "kubectl-create", now=T1)
    assert created["metadata"]["managedFields"][0]["fieldsV1"] == {
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:strategy": {"f:type": {}, "f:rollingUpdate": {".": {}, "f:maxSurge": {}}},
            "f:template": {"f:spec": {"f:containers": {'k:{"name":"a"}': {".": {}, "f:name": {}, "f:image": {}, "f:resources": {}}}}},
        },
    }


def test_an_update_takes_changed_fields_from_their_owner() -> None:
    live = apply(None, deployment(replicas=1, paused=True), "me")
    new = copy_json(live)
    new["spec"]["replicas"] = 3
    updated = update(live, new, "hpa")
    assert owned(updated, "me") == [".spec.paused"]
    assert owned(updated, "hpa", "Update") == [".spec.replicas"]
    assert times(updated) == {"me": T1, "hpa": T2}


def test_a_removed_field_leaves_every_set_and_an_empty_manager_goes() -> None:
    live = apply(None, deployment(replicas=1), "me")
    live = update(live, {**live, "spec": {"replicas": 1, "paused": True}}, "two")
    new = {**live, "spec": {"replicas": 1}}
    assert list(times(update(live, new, "three"))) == ["me"]


def test_an_update_that_changes_nothing_keeps_every_time() -> None:
    live = apply(None, deployment(replicas=1), "me")
    assert update(live, live, "two", now=T3) == live
    bare = copy_json(live)
    del bare["metadata"]["managedFields"]
    track_update(live, bare, manager="two", schema=DEPLOYMENT, now=T3)
    assert bare == live


def test_a_managers_second_update_extends_its_entry() -> None:
    live = update(None, deployment(replicas=1), "two", now=T1)
    live = update(live, {**live, "spec": {"replicas": 1, "paused": True}}, "two", now=T2)
    assert owned(live, "two", "Update") == [".spec.paused", ".spec.replicas"]
    assert times(live) == {"two": T2}


def test_an_object_without_managed_fields_is_not_tracked_by_updates() -> None:
    old = deployment(replicas=1)
    new = deployment(replicas=2)
    track_update(old, new, manager="two", schema=DEPLOYMENT, now=T1)
    assert "managedFields" not in new["metadata"]


def test_a_single_empty_entry_resets_and_an_empty_list_does_not() -> None:
    # The documentation, "Clearing managedFields".
    live = apply(None, deployment(replicas=1), "me")
    reset = {**live, "metadata": {**live["metadata"], "managedFields": [{}]}, "spec": {"replicas": 2}}
    track_update(live, reset, manager="two", schema=DEPLOYMENT, now=T2)
    assert "managedFields" not in reset["metadata"]
    kept = {**live, "metadata": {**live["metadata"], "managedFields": []}}
    track_update(live, kept, manager="two", schema=DEPLOYMENT, now=T2)
    assert kept == live


def test_kubectl_may_adopt_its_client_side_entry_by_json_patch() -> None:
    # client-go util/csaupgrade: the Update entry of kubectl-client-side-apply becomes an Apply entry.
    live = update(None, deployment(replicas=1), "kubectl-client-side-apply", now=T1)
    entry = {**live["metadata"]["managedFields"][0], "manager": "kubectl", "operation": "Apply"}
    patched = json_patch.apply(live, [{"op": "replace", "path": "/metadata/managedFields", "value": [entry]}])
    track_update(live, patched, manager="kubectl", schema=DEPLOYMENT, now=T2)
    assert owned(patched, "kubectl") == [".spec.replicas"]
    assert apply(patched, deployment(replicas=2), "kubectl", now=T2)["spec"]["replicas"] == 2


def test_managed_fields_that_cannot_be_read_are_ignored() -> None:
    live = apply(None, deployment(replicas=1), "me")
    new = {**live, "metadata": {**live["metadata"], "managedFields": [{"manager": "x", "operation": "Apply", "fieldsV1": {"?": {}}}]}}
    track_update(live, new, manager="two", schema=DEPLOYMENT, now=T2)
    assert new == live


def test_a_subresource_write_has_its_own_entry_and_cannot_rewrite_managed_fields() -> None:
    live = update(None, deployment(replicas=1), "two", now=T1)
    new = {**live, "metadata": {**live["metadata"], "managedFields": [{}]}, "status": {"replicas": 1}}
    track_update(live, new, manager="two", schema=DEPLOYMENT, subresource="status", now=T2)
    assert [(e["manager"], e.get("subresource")) for e in new["metadata"]["managedFields"]] == [("two", None), ("two", "status")]


def test_update_managers_are_capped_at_ten_and_the_oldest_merge() -> None:
    # managedfields/internal/capmanagers_test.go.
    live = update(None, config_map(k0="0"), "m0", schema=CONFIG_MAP, now="2024-01-01T00:00:00Z")
    for i in range(1, 12):
        live = update(live, {**live, "data": {**live["data"], f"k{i}": "0"}}, f"m{i}", schema=CONFIG_MAP, now=f"2024-01-01T00:00:{i:02}Z")
    managers = [entry["manager"] for entry in live["metadata"]["managedFields"]]
    assert managers == ["ancient-changes", *(f"m{i}" for i in range(3, 12))]
    assert owned(live, "ancient-changes", "Update") == [".data", ".data.k0", ".data.k1", ".data.k2"]


def test_a_value_that_changes_its_shape_is_tracked_part_by_part() -> None:
    base = {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}}
    live = update(None, {**base, "spec": {"a": {"b": 1}}}, "one", schema=None, now=T1)
    live = update(live, {**base, "metadata": live["metadata"], "spec": {"a": "text"}}, "two", schema=None)
    assert owned(live, "one", "Update") == [".spec"]
    assert owned(live, "two", "Update") == [".spec.a"]


def test_a_list_with_repeated_or_keyless_items_never_breaks_tracking() -> None:
    twice = update(None, deployment({"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "X", "value": "2"}]}), "one", now=T1)
    changed = copy_json(twice)
    changed["spec"]["template"]["spec"]["containers"][0]["env"][1]["value"] = "3"
    assert any("env" in path for path in owned(update(twice, changed, "two"), "two", "Update"))
    keyless = update(None, deployment({"image": "x"}), "one", now=T1)
    assert owned(keyless, "one", "Update") == [".spec.template.spec.containers"]


def client_side_applied(replicas: int) -> JSONObject:
    """An object as `kubectl apply` leaves it."""
    config = deployment(replicas=replicas)
    annotation = orjson.dumps(config, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    obj = copy_json(config)
    obj["metadata"]["annotations"] = {LAST_APPLIED: annotation}
    return update(None, obj, "kubectl-client-side-apply")


def test_kubectl_applies_over_what_it_applied_client_side_without_conflict() -> None:
    applied = apply(client_side_applied(1), deployment(replicas=2), "kubectl")
    assert applied["spec"]["replicas"] == 2
    assert orjson.loads(applied["metadata"]["annotations"][LAST_APPLIED]) == deployment(replicas=2)
    assert ".spec.replicas" not in owned(applied, "kubectl-client-side-apply", "Update")


def test_what_others_changed_since_or_another_manager_applies_is_a_conflict() -> None:
    live = client_side_applied(1)
    with pytest.raises(Conflict):
        apply(live, deployment(replicas=2), "argocd")
    scaled = copy_json(live)
    scaled["spec"]["replicas"] = 5
    with pytest.raises(Conflict, match="scaler"):
        apply(update(live, scaled, "scaler"), deployment(replicas=2), "kubectl")


def test_an_unreadable_last_configuration_allows_nothing() -> None:
    live = client_side_applied(1)
    live["metadata"]["annotations"][LAST_APPLIED] = "{"
    with pytest.raises(Conflict):
        apply(live, deployment(replicas=2), "kubectl")
