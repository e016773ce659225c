"""Kubernetes' protobuf: against Kubernetes' own test data, zero values, odd types, broken bytes, frames; and that nobody else pays for it.

`protobuf-objects.tar.xz` is test data of k8s.io/api and k8s.io/apiextensions-apiserver (Apache-2.0, The Kubernetes Authors): an object of
each kind with every field set. `protobuf-zeros.json.xz` has objects with nothing but zero values. Both are in JSON and in protobuf as
Kubernetes' own code writes them; `scripts/protobuf/generate.py` makes the files.
"""

from __future__ import annotations

import base64
import lzma
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.errors import InternalError
from kcp.apiserver.protobuf.envelope import MAGIC, NoMessage, Undecodable, Unfit, decode, encode, encode_document, frame, has_message
from kcp.apiserver.protobuf.types import types

OBJECTS = Path(__file__).with_name("protobuf-objects.tar.xz")
ZEROS = Path(__file__).with_name("protobuf-zeros.json.xz")
PREFIX = "k8s.io.apimachinery.pkg"


@cache
def samples() -> dict[str, bytes]:
    with tarfile.open(OBJECTS) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]  # files only


KIND_NAMES = sorted({name.rpartition(".")[0] for name in samples()})


def sealed(api_version: str, kind: str, raw: bytes, **more: str) -> bytes:
    """An envelope around any bytes."""
    made: Any = types().new(f"{PREFIX}.runtime.Unknown")
    made.typeMeta.apiVersion, made.typeMeta.kind, made.raw = api_version, kind, raw
    for field, value in more.items():
        setattr(made, field, value)
    return MAGIC + bytes(made.SerializeToString())


def back(obj: dict[str, Any]) -> dict[str, Any]:
    return decode(encode(obj))


# --- Kubernetes' own bytes ---


def test_there_is_test_data_for_most_kinds() -> None:
    assert len(KIND_NAMES) >= 80


@pytest.mark.parametrize("name", KIND_NAMES)
def test_what_kubernetes_encodes_is_read_as_kubernetes_would_print_it(name: str) -> None:
    assert decode(samples()[f"{name}.pb"]) == orjson.loads(samples()[f"{name}.json"])


@pytest.mark.parametrize("name", KIND_NAMES)
def test_what_kubernetes_prints_is_encoded_without_loss(name: str) -> None:
    obj = orjson.loads(samples()[f"{name}.json"])
    held = types()
    message = held.message_of(obj["apiVersion"], obj["kind"])
    assert message is not None
    ours, theirs = (_message(raw, message) for raw in (encode(obj), samples()[f"{name}.pb"]))
    assert held.converter(held.descriptor(message)).to_json(ours) == held.converter(held.descriptor(message)).to_json(theirs)


def _message(raw: bytes, name: str) -> Any:
    envelope: Any = types().new(f"{PREFIX}.runtime.Unknown")
    envelope.ParseFromString(raw[len(MAGIC) :])
    message = types().new(name)
    message.ParseFromString(envelope.raw)
    return message


@cache
def zeros() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(lzma.decompress(ZEROS.read_bytes()))
    return found


def without_nothing(value: Any) -> Any:
    """Without nulls and empty structs, lists and maps: these two forms may differ in them."""
    if isinstance(value, list):
        return [without_nothing(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    shown = {key: without_nothing(inner) for key, inner in value.items()}
    return {key: inner for key, inner in shown.items() if inner is not None and inner != {} and inner != []}


def test_zero_values_of_a_go_client_are_kept_and_left_out_as_in_its_json() -> None:
    assert len(zeros()) > 1000
    for each in zeros():
        shown = decode(base64.b64decode(each["protobuf"]))
        assert without_nothing(shown) == without_nothing(each["json"])
        assert back(each["json"]) == shown


def test_a_deployment_of_zero_values_holds_nothing_that_was_not_set() -> None:
    least = next(each for each in zeros() if each["json"]["kind"] == "Deployment")
    assert decode(base64.b64decode(least["protobuf"])) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {"template": {"spec": {"containers": []}}},
    }


# --- absent, empty, zero ---


def test_a_pointer_to_zero_is_kept() -> None:
    spec = {"replicas": 0, "paused": False, "minReadySeconds": 0, "revisionHistoryLimit": 0, "template": {}}
    shown = back({"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec})["spec"]
    assert shown == {"replicas": 0, "revisionHistoryLimit": 0, "template": {}}


def test_an_empty_text_behind_a_pointer_is_kept() -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {"storageClassName": "", "volumeName": ""}}
    assert back(claim)["spec"] == {"storageClassName": ""}


def test_an_empty_struct_behind_a_pointer_is_kept() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [], "volumes": [{"name": "a", "emptyDir": {}}], "securityContext": {}}}
    assert back(pod)["spec"] == pod["spec"]


def test_empty_lists_and_maps_and_nulls_count_as_absent() -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {}, "finalizers": [], "creationTimestamp": None}}
    assert back(obj) == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}


def test_a_list_that_kubernetes_always_writes_is_empty_where_it_is_absent() -> None:
    assert back({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"})["rules"] == []


def test_fields_that_the_message_does_not_have_are_passed_over() -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "colour": "red"}, "spec": {}}
    assert back(obj) == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}


# --- types that look different in JSON ---


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T05:04:05+02:00", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z"),
    ],
)
def test_a_time_has_whole_seconds(sent: str, shown: str) -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"creationTimestamp": sent}}
    assert back(obj)["metadata"] == {"creationTimestamp": shown}


@pytest.mark.parametrize("sent", ["2026-01-02T03:04:05.000006Z", "1969-12-31T23:59:59.500000Z", "1970-01-01T00:00:00.000000Z"])
def test_a_micro_time_has_microseconds(sent: str) -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"renewTime": sent}}
    assert back(lease) == lease


@pytest.mark.parametrize("port", [8080, "http", 0])
def test_an_int_or_string_stays_what_it_is(port: int | str) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80, "targetPort": port}]}}
    assert back(service) == service


@pytest.mark.parametrize(("sent", "shown"), [("100m", "100m"), (2, "2"), (0.5, "0.5"), ("1e3", "1e3")])
def test_a_quantity_is_a_text(sent: object, shown: str) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": {"cpu": sent}}}
    assert back(quota)["spec"]["hard"] == {"cpu": shown}


def test_bytes_are_base64_and_maps_are_in_order() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "data": {"b": "AAH/", "a": "", "c": "eA=="}}
    assert list(back(secret)["data"].items()) == [("a", ""), ("b", "AAH/"), ("c", "eA==")]


def test_large_numbers_are_whole() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [], "activeDeadlineSeconds": 2**62 + 1}}
    assert back(pod) == pod


def test_embedded_structs_stand_in_their_owner() -> None:
    container = {
        "name": "a",
        "livenessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 3},
        "env": [{"name": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": False}}}],
    }
    volume = {"name": "v", "projected": {"sources": [{"configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}}]}}
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container], "volumes": [volume]}}
    assert back(pod) == pod


def test_managed_fields_keep_their_json() -> None:
    entry = {"manager": "kubectl", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {".": {}}}}
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": [entry]}}
    assert back(obj) == obj


def test_an_object_inside_an_object_may_be_json_or_protobuf() -> None:
    inner = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "1"}}
    revision = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "data": inner, "revision": 3}
    assert back(revision) == revision
    message: Any = types().new("k8s.io.api.apps.v1.ControllerRevision")
    message.revision, message.data.raw = 3, encode(inner)
    assert decode(sealed("apps/v1", "ControllerRevision", message.SerializeToString())) == revision


def test_schemas_of_a_definition_keep_their_either_or_forms() -> None:
    schema = {
        "$schema": "x",
        "$ref": "#/a",
        "x-kubernetes-preserve-unknown-fields": False,
        "x-kubernetes-list-map-keys": ["a"],
        "default": {"a": [1, None, 2.5]},
        "enum": ["a", 1, False],
        "maximum": 3,
        "minimum": 0.5,
        "maxLength": 0,
        "additionalItems": False,
        "properties": {
            "a": {"items": {"type": "string"}, "additionalProperties": True},
            "b": {"items": [{"type": "string"}], "additionalProperties": {"type": "integer"}},
        },
        "dependencies": {"a": ["b"], "c": {"type": "object"}},
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}
    spec = {"group": "example.com", "names": {"plural": "widgets", "kind": "Widget"}, "scope": "Namespaced", "versions": [version]}
    definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec}
    assert back(definition) == definition


def test_extra_values_of_a_user_are_lists() -> None:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": "a", "extra": {"scopes": ["x", "y"]}, "resourceAttributes": {"verb": "get"}},
    }
    assert back(review)["spec"] == review["spec"]


@pytest.mark.parametrize("api_version", ["v1", "apps/v1", "rbac.authorization.k8s.io/v1"])
def test_delete_options_are_of_every_group(api_version: str) -> None:
    options = {"apiVersion": api_version, "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": "u"}}
    assert back(options) == options


# --- what cannot be read or written ---


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        MAGIC + b"\xff\xff",
        sealed("v1", "ConfigMap", b"\xff\xff"),
        sealed("v1", "ConfigMap", b"", contentEncoding="gzip"),
    ],
)
def test_broken_bytes_are_undecodable(raw: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(raw)


def test_a_time_beyond_the_calendar_is_undecodable() -> None:
    message: Any = types().new("k8s.io.api.coordination.v1.Lease")
    message.spec.renewTime.seconds = 2**62
    with pytest.raises(Undecodable):
        decode(sealed("coordination.k8s.io/v1", "Lease", message.SerializeToString()))


def test_broken_json_inside_is_undecodable() -> None:
    message: Any = types().new("k8s.io.api.apps.v1.ControllerRevision")
    message.data.raw = b"{"
    with pytest.raises(Undecodable):
        decode(sealed("apps/v1", "ControllerRevision", message.SerializeToString()))


def test_a_kind_without_a_message_is_told_apart_from_broken_bytes() -> None:
    assert not has_message("example.com/v1", "Widget")
    with pytest.raises(NoMessage, match='no kind "Widget" is registered for version "example.com/v1"'):
        decode(sealed("example.com/v1", "Widget", b""))
    with pytest.raises(NoMessage):
        encode({"kind": "Widget", "apiVersion": "example.com/v1"})


@pytest.mark.parametrize(
    "more",
    [
        {"spec": {"replicas": "three"}},
        {"spec": {"replicas": 2**40}},
        {"spec": 3},
        {"metadata": {"labels": ["a"]}},
        {"metadata": {"labels": {"a": 1}}},
        {"metadata": {"creationTimestamp": "yesterday"}},
        {"metadata": {"creationTimestamp": 7}},
    ],
)
def test_an_object_that_the_message_does_not_hold_is_unfit(more: dict[str, Any]) -> None:
    with pytest.raises(Unfit):
        encode({"apiVersion": "apps/v1", "kind": "Deployment", **more})


def nested(depth: int) -> dict[str, Any]:
    """A definition whose schema has so many levels."""
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    spec = {"group": "example.com", "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]}
    names = {"plural": "widgets", "kind": "Widget"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "spec": {**spec, "names": names, "scope": "Cluster"},
    }


def test_schemas_may_have_forty_levels() -> None:
    assert back(nested(40)) == nested(40)


def test_what_is_nested_too_deeply_is_refused_in_both_directions() -> None:
    with pytest.raises(Unfit):
        encode(nested(5000))
    with pytest.raises(Undecodable):
        decode(encode(nested(100)))


def test_envelopes_within_envelopes_end_somewhere() -> None:
    raw = encode({"apiVersion": "apps/v1", "kind": "ControllerRevision"})
    for _ in range(2000):
        message: Any = types().new("k8s.io.api.apps.v1.ControllerRevision")
        message.data.raw = raw
        raw = sealed("apps/v1", "ControllerRevision", message.SerializeToString())
    with pytest.raises(Undecodable):
        decode(raw)


# --- lists and frames ---


async def test_a_long_list_is_the_same_in_steps() -> None:
    items = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m{n}"}} for n in range(120)]
    obj = {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "7", "remainingItemCount": 3}, "items": items}
    made = await encode_document(orjson.dumps(obj), VirtualClock())
    shown = decode(made)
    assert shown["metadata"] == obj["metadata"]
    assert [item["metadata"]["name"] for item in shown["items"]] == [f"m{n}" for n in range(120)]
    assert encode(obj) == made


def test_a_frame_is_a_length_and_an_event_whose_object_has_an_envelope() -> None:
    obj = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}}
    line = orjson.dumps({"type": "ADDED", "object": obj}) + b"\n"
    made = frame(line)
    assert int.from_bytes(made[:4], "big") == len(made) - 4
    event: Any = types().new(f"{PREFIX}.apis.meta.v1.WatchEvent")
    event.ParseFromString(made[4:])
    assert (event.type, decode(event.object.raw)) == ("ADDED", obj)


def test_watchers_share_a_frame_unless_it_is_large() -> None:
    small = orjson.dumps({"type": "ADDED", "object": {"kind": "ConfigMap", "apiVersion": "v1"}})
    large = orjson.dumps({"type": "ADDED", "object": {"kind": "ConfigMap", "apiVersion": "v1", "data": {"x": "y" * 100_000}}})
    assert frame(small) is frame(bytes(bytearray(small)))
    assert frame(large) is not frame(large)


def test_an_event_that_cannot_be_shown_is_an_error() -> None:
    with pytest.raises(InternalError, match="cannot be sent as protobuf"):
        frame(orjson.dumps({"type": "ADDED", "object": {"kind": "Widget", "apiVersion": "example.com/v1"}}))


# --- costs ---


def test_a_server_that_nobody_speaks_protobuf_to_does_not_load_it() -> None:
    program = "import sys, kcp.server.compose, kcp.cli.kcp; print([m for m in sys.modules if m.startswith('google')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
