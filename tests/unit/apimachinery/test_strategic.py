"""Strategic merge patch. Examples marked with the document or upstream test they come from."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apimachinery.patch import strategic
from kcp.apimachinery.schema.structural import Schema, compile_schema
from kcp.apis.kubernetes.definitions import load


def builtin_schema(name: str) -> Schema:
    return compile_schema(load().raw(name), resolve=load().raw)


DEPLOYMENT = builtin_schema("io.k8s.api.apps.v1.Deployment")
POD = builtin_schema("io.k8s.api.core.v1.Pod")
SERVICE = builtin_schema("io.k8s.api.core.v1.Service")


def pod(**spec: Any) -> JSONObject:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}


def patched_spec(spec: JSONObject, patch: JSONObject) -> Any:
    return strategic.apply(pod(**spec), {"spec": patch}, POD)["spec"]


def test_lists_of_objects_merge_by_their_key() -> None:
    # strategic-merge-patch.md, "Background": containers merge by name; mergeSlice keeps the patch's order, new items first.
    spec = {"containers": [{"name": "nginx", "image": "nginx-1.0"}]}
    merged = patched_spec(spec, {"containers": [{"name": "log-tailer", "image": "log-tailer-1.0"}, {"name": "nginx", "command": ["x"]}]})
    assert merged == {
        "containers": [{"name": "log-tailer", "image": "log-tailer-1.0"}, {"name": "nginx", "image": "nginx-1.0", "command": ["x"]}]
    }


def test_lists_without_a_merge_strategy_are_replaced() -> None:
    assert patched_spec({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}) == {"tolerations": [{"key": "b"}]}


def test_an_item_is_deleted_by_its_directive() -> None:
    # strategic-merge-patch.md, "List of Maps".
    spec = {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}
    assert patched_spec(spec, {"containers": [{"$patch": "delete", "name": "a"}]}) == {"containers": [{"name": "b", "image": "2"}]}


def test_a_list_is_replaced_by_directive() -> None:
    # strategic-merge-patch.md, "List of Maps": $patch: replace.
    spec = {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}
    assert patched_spec(spec, {"containers": [{"name": "c"}, {"$patch": "replace"}]}) == {"containers": [{"name": "c"}]}


def test_a_map_is_replaced_or_emptied_by_directive() -> None:
    obj = {"metadata": {"labels": {"a": "1", "b": "2"}}}
    assert strategic.apply(obj, {"metadata": {"labels": {"$patch": "replace", "c": "3"}}}, POD) == {"metadata": {"labels": {"c": "3"}}}
    assert strategic.apply(obj, {"metadata": {"labels": {"$patch": "delete"}}}, POD) == {"metadata": {"labels": {}}}
    merged = strategic.apply(obj, {"metadata": {"labels": {"$patch": "merge", "b": None}}}, POD)
    assert merged == {"metadata": {"labels": {"a": "1"}}}


def test_scalars_are_deleted_from_a_list_by_directive() -> None:
    # strategic-merge-patch.md, "List of Primitives".
    obj = {"metadata": {"finalizers": ["a", "b", "c"]}}
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "finalizers": ["d"]}}
    assert strategic.apply(obj, patch, POD)["metadata"]["finalizers"] == ["d", "a", "c"]


def test_the_order_of_a_list_is_set_by_directive() -> None:
    # preserve-order-in-strategic-merge-patch.md, "Example": server items keep their places between the ordered ones.
    spec = {"containers": [{"name": n} for n in ("a", "server", "b", "c")]}
    patch = {"$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}, {"name": "d"}], "containers": [{"name": "d"}]}
    assert [c["name"] for c in patched_spec(spec, patch)["containers"]] == ["server", "c", "b", "a", "d"]


def test_an_order_alone_reorders_what_is_there() -> None:
    spec = {"containers": [{"name": "a"}, {"name": "b"}]}
    assert patched_spec(spec, {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}) == {
        "containers": [{"name": "b"}, {"name": "a"}]
    }


def test_kubectl_apply_of_a_changed_image_touches_only_that_container() -> None:
    # What `kubectl apply` sends for one changed image among two containers.
    spec = {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1", "env": [{"name": "X", "value": "1"}]}]}
    patch = {"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "b", "image": "2"}]}
    merged = patched_spec(spec, patch)["containers"]
    assert merged == [{"name": "a", "image": "1"}, {"name": "b", "image": "2", "env": [{"name": "X", "value": "1"}]}]


def test_retain_keys_clears_the_other_alternatives() -> None:
    # add-new-patchStrategy-to-clear-fields-not-present-in-patch.md: a Deployment's strategy changes to Recreate.
    obj = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic.apply(obj, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_retain_keys_inside_a_merged_list() -> None:
    spec = {"volumes": [{"name": "v", "emptyDir": {}}]}
    patch = {"volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}]}
    assert patched_spec(spec, patch) == {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}


def test_null_removes_and_directives_never_reach_the_document() -> None:
    patch = {"affinity": None, "nodeSelector": {"$patch": "merge", "a": "1", "b": None}, "containers": [{"name": "n", "env": None}]}
    assert patched_spec({"affinity": {"x": 1}}, patch) == {"nodeSelector": {"a": "1"}, "containers": [{"name": "n"}]}


@pytest.mark.parametrize(
    ("patch", "text"),
    [
        ({"containers": [{"image": "x"}]}, "does not contain declared merge key: name"),
        ({"containers": [{"$patch": "explode", "name": "a"}]}, "unknown patch type: explode in list"),
        ({"$patch": "explode"}, "unknown patch type: explode in map"),
        ({"$retainKeys": ["a"], "b": 1}, "bad \\$retainKeys"),
        ({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a"}, {"name": "b"}]}, "doesn't match"),
    ],
)
def test_a_bad_patch_says_why(patch: JSONObject, text: str) -> None:
    with pytest.raises(strategic.PatchError, match=text):
        patched_spec({"containers": [{"name": "a"}]}, patch)


def test_service_ports_merge_by_port() -> None:
    obj = {"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "https"}]}}
    merged = strategic.apply(obj, {"spec": {"ports": [{"port": 443, "targetPort": 8443}]}}, SERVICE)
    assert merged == {"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "https", "targetPort": 8443}]}}


NAMES = st.sampled_from(["a", "b", "c", "d"])
CONTAINERS = st.lists(st.fixed_dictionaries({"name": NAMES}, optional={"image": NAMES}), max_size=4, unique_by=lambda c: c["name"])


@given(CONTAINERS, CONTAINERS)
def test_a_patch_without_deletes_is_idempotent_and_changes_no_argument(held: list[JSONObject], change: list[JSONObject]) -> None:
    doc, patch = pod(containers=held), {"spec": {"containers": change}}
    before = copy_json([doc, patch])
    once = strategic.apply(doc, patch, POD)
    assert strategic.apply(once, patch, POD) == once
    assert [doc, patch] == before


@given(CONTAINERS, CONTAINERS, st.permutations(["a", "b", "c", "d"]))
def test_an_ordered_patch_keeps_every_item_and_its_order(held: list[JSONObject], change: list[JSONObject], order: list[str]) -> None:
    ordered = sorted(change, key=lambda c: order.index(c["name"]))
    listed = [{"name": c["name"]} for c in ordered]
    merged = patched_spec({"containers": held}, {"containers": ordered, "$setElementOrder/containers": listed}).get("containers", [])
    names = [c["name"] for c in merged]
    assert sorted(names) == sorted({c["name"] for c in [*held, *change]})
    assert [name for name in names if {"name": name} in listed] == [c["name"] for c in listed]
