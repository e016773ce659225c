"""POST, PUT and PATCH of objects: bodies, names, metadata, concurrency, dry run, and what is refused with which words.

Source: apiserver/pkg/endpoints/handlers/{create,update,patch,rest}.go, apimachinery/pkg/api/validation/objectmeta.go,
apiextensions-apiserver/pkg/registry/customresource; KEP-2885 (field validation), KEP-576 (dry run).
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.behaviour.api.server import Api
from tests.behaviour.conformance.server import GATES, PODS, WIDGETS, causes, pod, widget

MAPS = "/api/v1/namespaces/default/configmaps"
RFC_1123 = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}

# --- bodies ---


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "the object provided is unrecognized (must be of type Widget): couldn't get version/kind; json parse error: "
              "unexpected end of JSON input (<empty>)"),
        (b"{", "the object provided is unrecognized (must be of type Widget): couldn't get version/kind; json parse error: "
               "unexpected end of JSON input ({)"),
        ({"metadata": {"name": "a"}}, "the object provided is unrecognized (must be of type Widget): Object 'Kind' is missing in "
                                      '\'{"metadata":{"name":"a"}}\' ({"metadata":{"name":"a"}})'),
        ({"kind": "Widget", "metadata": {"name": "a"}},
         "the API version in the data () does not match the expected API version (example.com/v1)"),
        ({**widget("a"), "apiVersion": "example.com/v7"},
         "the API version in the data (example.com/v7) does not match the expected API version (example.com/v1)"),
        ({**widget("a"), "metadata": "x"},
         'Widget in version "v1" cannot be handled as a Widget: json: cannot unmarshal string into Go value of type v1.ObjectMeta'),
        (widget("a", {"creationTimestamp": "yesterday"}),
         'Widget in version "v1" cannot be handled as a Widget: parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": '
         'cannot parse "yesterday" as "2006"'),
        (widget("a", {"namespace": "other"}), "the namespace of the provided object does not match the namespace sent on the request"),
        (widget("a", {"resourceVersion": "5"}), "resourceVersion should not be set on objects to be created"),
    ],
)  # fmt: skip
async def test_a_body_that_cannot_be_taken_is_a_bad_request(api: Api, body: Any, text: str) -> None:
    answer = await api.post(WIDGETS, body, **{"content_type": "application/json"})
    assert (answer.status, answer.body["reason"], answer.message) == (400, "BadRequest", text)


async def test_a_version_on_a_new_object_is_refused_by_what_stores_it(api: Api) -> None:
    """A dry run is not stored, and another fault is found first. Source: etcd3/store.go (Create), generic/registry/dryrun.go."""
    await api.made(WIDGETS + "?dryRun=All", widget("a", {"resourceVersion": "5"}))
    answer = await api.post(WIDGETS, widget("A", {"resourceVersion": "5"}))
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")


async def test_another_kind_is_invalid_for_a_custom_kind(api: Api) -> None:
    answer = await api.post(WIDGETS, {**widget("a"), "kind": "Gadget"})
    assert (answer.status, answer.message) == (422, 'Gadget.example.com "a" is invalid: kind: Invalid value: "Gadget": must be Widget')


async def test_a_built_in_kind_need_not_say_what_it_is(api: Api) -> None:
    made = await api.made(MAPS, {"metadata": {"name": "a"}})
    assert (made["apiVersion"], made["kind"]) == ("v1", "ConfigMap")


async def test_resource_version_0_and_a_namespace_on_a_cluster_scoped_object_do_not_matter(api: Api) -> None:
    await api.made(WIDGETS, widget("a", {"resourceVersion": "0"}))
    gate = {"apiVersion": "example.com/v1", "kind": "Gate", "metadata": {"name": "g", "namespace": "foo"}}
    assert "namespace" not in (await api.made(GATES, gate))["metadata"]


async def test_what_the_server_sets_is_the_servers(api: Api) -> None:
    sent = {"uid": "x", "generation": 7, "selfLink": "/x", "deletionTimestamp": "2020-01-01T00:00:00Z", "deletionGracePeriodSeconds": 4}
    metadata = (await api.made(WIDGETS, widget("a", {"creationTimestamp": "2020-01-01T00:00:00Z", **sent})))["metadata"]
    assert (metadata["generation"], metadata["uid"] != "x", metadata["creationTimestamp"] > "2020-01-02") == (1, True, True)
    assert not {"selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"} & metadata.keys()


# --- null ---


async def test_null_of_a_field_that_is_not_nullable_is_pruned_or_defaulted(api: Api) -> None:
    # https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#defaulting-and-nullable
    sent = {"when": None, "raw": None, "map": {"a": "x", "b": None}, "size": None, "nested": None, "free": {"x": None}}
    made = await api.made(WIDGETS, widget("a", **sent, ports=[{"port": 1, "name": None, "protocol": None}]))
    assert made["spec"] == {"when": None, "map": {"a": "x"}, "size": 3, "free": {"x": None}, "ports": [{"port": 1, "protocol": "TCP"}]}


async def test_null_in_a_list_stays_wrong(api: Api) -> None:
    answer = await api.post(WIDGETS, widget("a", tags=[None]))
    assert causes(answer) == [("spec.tags[0]", 'Invalid value: "null": spec.tags[0] in body must be of type string: "null"')]


# --- names ---


async def test_a_name_or_a_base_for_one_is_needed(api: Api) -> None:
    answer = await api.post(WIDGETS, widget(""))
    assert (answer.status, causes(answer)) == (422, [("metadata.name", "Required value: name or generateName is required")])


async def test_a_wrong_base_is_a_fault_of_both_fields(api: Api) -> None:
    body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"generateName": "G_"}}
    found = causes(await api.post(WIDGETS, body))
    assert [field for field, _ in found] == ["metadata.generateName", "metadata.name"]
    assert found[0][1] == f'Invalid value: "G_": {RFC_1123}'


async def test_a_base_may_end_with_a_dash(api: Api) -> None:
    body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"generateName": "g-"}}
    assert (await api.made(WIDGETS, body))["metadata"]["name"].startswith("g-")


async def test_a_name_is_253_characters_at_most(api: Api) -> None:
    assert causes(await api.post(WIDGETS, widget("a" * 254)))[0][1].endswith(": must be no more than 253 characters")


async def test_a_name_that_is_being_deleted_is_taken(api: Api) -> None:
    await api.made(WIDGETS, widget("f", {"finalizers": ["a.b/c"]}))
    await api.delete(f"{WIDGETS}/f")
    answer = await api.post(WIDGETS, widget("f"))
    assert (answer.status, answer.body["reason"]) == (409, "AlreadyExists")
    assert answer.message == 'object is being deleted: widgets.example.com "f" already exists'


# --- metadata ---


@pytest.mark.parametrize(
    ("metadata", "field", "text"),
    [
        ({"annotations": {"a": "x" * 262144}}, "metadata.annotations", "Too long: may not be more than 262144 bytes"),
        ({"finalizers": ["foregroundDeletion", "orphan"]}, "metadata.finalizers",
         'Invalid value: ["foregroundDeletion","orphan"]: finalizer orphan and foregroundDeletion cannot be both set'),
        ({"ownerReferences": [{**OWNER, "uid": ""}]}, "metadata.ownerReferences.uid", 'Invalid value: "": must not be empty'),
        ({"ownerReferences": [{**OWNER, "apiVersion": "a/b/c"}]}, "metadata.ownerReferences.apiVersion",
         'Invalid value: "a/b/c": version must not be empty'),
        ({"ownerReferences": [{**OWNER, "kind": "Event"}]}, "metadata.ownerReferences",
         'Invalid value: {"apiVersion":"v1","kind":"Event","name":"x","uid":"1"}: /v1, Kind=Event is disallowed from being an owner'),
        ({"ownerReferences": [{**OWNER, "controller": True}, {**OWNER, "name": "y", "controller": True}]}, "metadata.ownerReferences",
         'Only one reference can have Controller set to true. Found "true" in references for ConfigMap/x and ConfigMap/y'),
        ({"labels": {"x": "y" * 64}}, "metadata.labels", f'Invalid value: "{"y" * 64}": must be no more than 63 bytes'),
    ],
)  # fmt: skip
async def test_metadata_that_is_not_legal_is_invalid(api: Api, metadata: dict[str, Any], field: str, text: str) -> None:
    answer = await api.post(WIDGETS, widget("a", metadata))
    assert (answer.status, [f for f, _ in causes(answer)]) == (422, [field])
    assert causes(answer)[0][1].endswith(text)


async def test_equal_owner_references_are_kept_once_with_a_warning(api: Api) -> None:
    answer = await api.post(WIDGETS, widget("a", {"ownerReferences": [OWNER, OWNER]}))
    assert answer.body["metadata"]["ownerReferences"] == [OWNER]
    assert answer.headers["warning"] == (
        '299 - ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such '
        'requests as early as 1.24; please fix your requests; duplicate UID(s) observed: 1"'
    )


async def test_a_finalizer_without_a_domain_warns(api: Api) -> None:
    answer = await api.post(WIDGETS, widget("a", {"finalizers": ["x"]}))
    assert answer.headers["warning"] == (
        '299 - "metadata.finalizers: \\"x\\": prefer a domain-qualified finalizer name to avoid accidental conflicts with other '
        'finalizer writers"'
    )
    assert "warning" not in (await api.patch(f"{WIDGETS}/a", {"spec": {"color": "red"}})).headers


async def test_no_finalizer_can_be_added_while_the_object_is_being_deleted(api: Api) -> None:
    await api.made(WIDGETS, widget("f", {"finalizers": ["a.b/c"]}))
    await api.delete(f"{WIDGETS}/f")
    answer = await api.patch(f"{WIDGETS}/f", {"metadata": {"finalizers": ["a.b/c", "d.e/f"]}})
    assert causes(answer) == [
        (
            "metadata.finalizers",
            'Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"d.e/f"}',
        )
    ]
    assert (await api.patch(f"{WIDGETS}/f", {"metadata": {"deletionTimestamp": None}})).body["metadata"]["deletionTimestamp"]
    assert (await api.patch(f"{WIDGETS}/f", {"spec": {"color": "red"}})).status == 200


# --- update and patch ---


async def test_an_update_of_a_custom_kind_names_its_resource_version(api: Api) -> None:
    made = await api.made(WIDGETS, {**widget("a"), "status": {"phase": "dropped"}})
    for path in (f"{WIDGETS}/a", f"{WIDGETS}/a/status"):
        answer = await api.put(path, widget("a", color="blue"))
        assert (answer.status, causes(answer)) == (422, [("metadata.resourceVersion", "Invalid value: 0: must be specified for an update")])
    stale = {**widget("a", {"resourceVersion": "1"}, color="blue")}
    answer = await api.put(f"{WIDGETS}/a", stale)
    assert (answer.status, answer.message) == (
        409,
        'Operation cannot be fulfilled on widgets.example.com "a": the object has been modified; please apply your changes to the '
        "latest version and try again",
    )
    assert (await api.put(f"{WIDGETS}/a", {**made, "spec": {"color": "blue"}})).status == 200


async def test_the_uid_is_a_precondition_of_a_put_and_immutable_in_a_patch(api: Api) -> None:
    made = await api.made(WIDGETS, widget("a"))
    other = {**made, "metadata": {**made["metadata"], "uid": "x"}}
    assert (await api.put(f"{WIDGETS}/a", other)).status == 409
    assert causes(await api.patch(f"{WIDGETS}/a", {"metadata": {"uid": "x"}})) == [
        ("metadata.uid", 'Invalid value: "x": field is immutable')
    ]


@pytest.mark.parametrize(
    ("patch", "kind", "status", "text"),
    [
        (b"", "merge-patch+json", 400, "error decoding patch: unexpected end of JSON input"),
        (b"[]", "merge-patch+json", 400, "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"),
        ({"metadata": None}, "merge-patch+json", 400, "the name of the object (a based on URL) was undeterminable: name must be provided"),
        ({"metadata": {"name": "b"}}, "merge-patch+json", 400, "the name of the object (b) does not match the name on the URL (a)"),
        ({"metadata": {"namespace": "b"}}, "merge-patch+json", 400,
         "the namespace of the provided object does not match the namespace sent on the request"),
        ({"op": "add"}, "json-patch+json", 400,
         "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
    ],
)  # fmt: skip
async def test_a_patch_that_cannot_be_taken_is_refused(api: Api, patch: Any, kind: str, status: int, text: str) -> None:
    await api.made(WIDGETS, widget("a"))
    answer = await api.call("PATCH", f"{WIDGETS}/a", patch, {"content-type": f"application/{kind}"})
    assert (answer.status, answer.message) == (status, text)


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/spec/color", "value": "nope"},
        {"op": "remove", "path": "/spec/nope"},
        {"op": "add", "path": "/spec/a/b", "value": 1},
        {"op": "foo", "path": "/spec/a"},
        {"op": "add", "path": "spec", "value": 1},
    ],
)
async def test_a_json_patch_that_does_not_apply_is_invalid_as_a_whole(api: Api, operation: dict[str, Any]) -> None:
    made = await api.made(WIDGETS, widget("a"))
    answer = await api.patch(f"{WIDGETS}/a", [{"op": "add", "path": "/spec/color", "value": "red"}, operation], "json-patch+json")
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    assert answer.message.startswith("the server rejected our request due to an error in our request")
    assert (await api.get(f"{WIDGETS}/a")).body == made


async def test_json_patch_replace_sets_what_is_not_there_yet(api: Api) -> None:
    await api.made(WIDGETS, widget("a"))
    answer = await api.patch(f"{WIDGETS}/a", [{"op": "replace", "path": "/spec/color", "value": "red"}], "json-patch+json")
    assert answer.body["spec"]["color"] == "red"


async def test_a_custom_kind_takes_no_strategic_merge_patch(api: Api) -> None:
    await api.made(WIDGETS, widget("a"))
    answer = await api.patch(f"{WIDGETS}/a", {}, "strategic-merge-patch+json")
    assert (answer.status, answer.message) == (
        415,
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, "
        "application/merge-patch+json, application/apply-patch+yaml",
    )


async def test_strict_validation_of_a_patch_blames_the_patch(api: Api) -> None:
    await api.made(WIDGETS, widget("a"))
    answer = await api.patch(f"{WIDGETS}/a?fieldValidation=Strict", {"spec": {"nope": 1}})
    assert (answer.status, [field for field, _ in causes(answer)]) == (422, ["patch"])
    assert answer.message.endswith('strict decoding error: unknown field "spec.nope"')


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("fieldValidation=Foo", 'fieldValidation: Unsupported value: "Foo": supported values: "", "Ignore", "Strict", "Warn"'),
        ("dryRun=all", 'dryRun: Unsupported value: ["all"]: supported values: "All"'),
        (f"fieldManager={'x' * 129}", "fieldManager: Too long: may not be more than 128 bytes"),
    ],
)
async def test_options_that_make_no_sense_are_invalid(api: Api, query: str, text: str) -> None:
    answer = await api.post(f"{WIDGETS}?{query}", widget("a"))
    assert (answer.status, answer.message) == (422, f'CreateOptions.meta.k8s.io "" is invalid: {text}')


async def test_a_dry_run_answers_as_if_and_stores_nothing(api: Api) -> None:
    made = (await api.post(f"{WIDGETS}?dryRun=All", widget("a", color="red"))).body
    assert (made["spec"]["size"], "resourceVersion" in made["metadata"]) == (3, False)
    assert (await api.get(f"{WIDGETS}/a")).status == 404
    kept = await api.made(WIDGETS, widget("a", color="red"))
    assert (await api.post(f"{WIDGETS}?dryRun=All", widget("a"))).status == 409
    assert (await api.patch(f"{WIDGETS}/a?dryRun=All", {"spec": {"color": "blue"}})).body["spec"]["color"] == "blue"
    assert (await api.delete(f"{WIDGETS}/a?dryRun=All")).status == 200
    assert (await api.get(f"{WIDGETS}/a")).body == kept


# --- scale ---


async def test_a_scale_leaves_zero_replicas_out(api: Api) -> None:
    await api.made(WIDGETS, widget("a", replicas=2))
    assert (await api.patch(f"{WIDGETS}/a/scale", {"spec": {"replicas": 0}})).body["spec"] == {}
    assert (await api.get(f"{WIDGETS}/a")).body["spec"]["replicas"] == 0


async def test_a_wrong_count_is_a_fault_of_the_custom_kind_and_of_the_scale_of_a_built_in_one(api: Api) -> None:
    await api.made(WIDGETS, widget("a", replicas=2))
    answer = await api.patch(f"{WIDGETS}/a/scale", {"spec": {"replicas": -1}})
    assert answer.message == 'Widget.example.com "a" is invalid: .spec.replicas: Invalid value: -1: should be a non-negative integer'
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}}
    sets = "/apis/apps/v1/namespaces/default/replicasets"
    await api.made(sets, {"metadata": {"name": "r"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}})
    answer = await api.patch(f"{sets}/r/scale", {"spec": {"replicas": -1}})
    assert answer.message == 'Scale.autoscaling "r" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0'


# --- quantities ---


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("abc", "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        ("", "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        ("1x", "unable to parse quantity's suffix"),
    ],
)
async def test_what_is_no_quantity_never_becomes_an_object(api: Api, amount: str, text: str) -> None:
    # Source: k8s.io/apimachinery/pkg/api/resource/quantity.go (UnmarshalJSON, ParseQuantity).
    answer = await api.post("/api/v1/namespaces/default/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"cpu": amount}}})
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")
    assert answer.message == f'ResourceQuota in version "v1" cannot be handled as a ResourceQuota: {text}'
    answer = await api.post(PODS, pod("p", containers=[{"name": "a", "image": "a", "resources": {"requests": {"cpu": amount}}}]))
    assert (answer.status, answer.message) == (400, f'Pod in version "v1" cannot be handled as a Pod: {text}')


async def test_a_number_is_a_quantity(api: Api) -> None:
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"cpu": 1.5, "pods": 2}}}
    made = await api.made("/api/v1/namespaces/default/resourcequotas", quota)
    assert made["spec"]["hard"] == {"cpu": "1500m", "pods": "2"}


# --- delete ---


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        (PODS, pod("p"), "Pod"),
        ("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "p"}}, "ServiceAccount"),
        ("/apis/storage.k8s.io/v1/storageclasses", {"metadata": {"name": "p"}, "provisioner": "a.b/c"}, "StorageClass"),
        (MAPS, {"metadata": {"name": "p"}}, "Status"),
        (WIDGETS, widget("p"), "Status"),
    ],
)
async def test_some_kinds_answer_a_deletion_with_what_they_were(api: Api, path: str, body: dict[str, Any], kind: str) -> None:
    # Source: api/openapi-spec/swagger.json (deleteCoreV1NamespacedPod and others), ReturnDeletedObject of their registries.
    made = await api.made(path, body)
    answer = await api.delete(f"{path}/p")
    assert (answer.status, answer.body["kind"]) == (200, kind)
    if kind != "Status":
        assert answer.body["metadata"]["uid"] == made["metadata"]["uid"]
    assert (await api.get(f"{path}/p")).status == 404


async def test_the_core_group_may_be_spelled_with_a_slash(api: Api) -> None:
    # apimachinery/pkg/runtime/schema/group_version.go (ParseGroupVersion): Go writes the core group's versions so at times
    made = await api.post("/api/v1/namespaces/default/configmaps", {"apiVersion": "/v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    assert (made.status, made.body["apiVersion"]) == (201, "v1")


async def test_a_resource_version_that_is_no_number_does_not_stop_a_creation(api: Api) -> None:
    # k8s.io/apiserver/pkg/storage/etcd3/store.go (Create)
    assert (await api.post(WIDGETS, widget("a", {"resourceVersion": "x"}, color="red"))).status == 201
    assert (await api.post(WIDGETS, widget("b", {"resourceVersion": "5"}, color="red"))).status == 400
