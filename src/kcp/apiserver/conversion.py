"""Conversion webhooks of CRDs: a ConversionReview out, the objects of its answer back, and nothing changed that may not change.

What it takes to call one is imported with the first call.
Before: `registry.versions`, which decides what has to be converted. After: `admission.webhooks.client`.
Source: k8s.io/apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause, Unexplained
from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.keys import CLUSTER_ANNOTATION
from kcp.apimachinery.meta import JSONObject
from kcp.registry.objectmeta import annotation_faults, label_faults
from kcp.registry.versions import WebhookConversion

if TYPE_CHECKING:
    from kcp.apiserver.admission.webhooks.client import Refused, WebhookClient
    from kcp.apiserver.admission.webhooks.model import ServiceResolver

_TIMEOUT_S = 30
_GROUP = "apiextensions.k8s.io"
_REVIEWS = ("v1", "v1beta1")
_SAME = {"name": "name", "namespace": "namespace", "uid": "UID"}
_ANSWERS = {
    401: "the server has asked for the client to provide credentials",
    403: "the server does not allow this request",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    503: "the server is currently unable to handle the request",
}
"""Source: k8s.io/apimachinery/pkg/api/errors/errors.go, NewGenericServerResponse."""


class _Unusable(Exception):
    """An answer that is none; the text says why."""


class ConversionWebhooks:
    """Implements the registry's Converter. `close` it in the end."""

    def __init__(self, resolve: ServiceResolver | None = None) -> None:
        """`resolve`: where Services lead; None: nowhere, as in a workspace."""
        self._resolve = resolve
        self._client: WebhookClient | None = None

    async def convert(self, webhook: WebhookConversion, objects: Sequence[JSONObject], api_version: str) -> list[JSONObject]:
        """The objects in another version, in order. Raises Unexplained with upstream's text."""
        review = next((version for version in webhook.review_versions if version in _REVIEWS), None)
        if review is None:
            raise Unexplained("no supported conversion review versions")
        told = f"conversion webhook for {_kind(objects[0])}"
        uid = str(uuid.uuid4())
        request = {"uid": uid, "desiredAPIVersion": api_version, "objects": objects}
        asked = {"kind": "ConversionReview", "apiVersion": f"{_GROUP}/{review}", "request": request}
        try:
            converted = read_answer(await self._ask(webhook, orjson.dumps(asked)), review, uid)
        except _Unusable as fault:
            raise Unexplained(f"{told} failed: {fault}") from None
        if len(converted) != len(objects):
            raise Unexplained(f"{told} returned {len(converted)} objects, expected {len(objects)}")
        for given, made in zip(objects, converted, strict=True):
            check_and_restore(given, made, api_version)
        return converted

    async def _ask(self, webhook: WebhookConversion, body: bytes) -> bytes:
        from kcp.apiserver.admission.webhooks.client import Refused, Unreachable, WebhookClient
        from kcp.apiserver.admission.webhooks.model import Endpoint

        if self._client is None:
            self._client = WebhookClient()
        try:
            target = await Endpoint.of(webhook.client_config).target(webhook.cluster, self._resolve, timeout_s=_TIMEOUT_S)
            return await self._client.post(target, body, timeout_s=_TIMEOUT_S)
        except Refused as error:
            raise _Unusable(_refusal(error)) from None
        except Unreachable as error:
            raise _Unusable(str(error)) from error

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


def _refusal(error: Refused) -> str:
    if error.status >= 500 and error.status not in _ANSWERS:
        return f"an error on the server ({orjson.dumps(error.text or 'unknown').decode()}) has prevented the request from succeeding"
    return _ANSWERS.get(error.status, "the server rejected our request for an unknown reason")


def read_answer(raw: bytes, version: str, uid: str) -> list[JSONObject]:
    """The converted objects of an answer. Raises _Unusable."""
    try:
        review = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _Unusable(f"the answer is not JSON: {error}") from None
    if not isinstance(review, dict):
        raise _Unusable("the answer is not a JSON object")
    wanted = GVK(_GROUP, "v1", "ConversionReview")
    found = GVK.of(str(review.get("apiVersion") or ""), str(review.get("kind") or ""))
    if version == "v1" and found != wanted:
        raise _Unusable(f"expected webhook response of {_shown(wanted)}, got {_shown(found)}")
    response = review.get("response")
    if not isinstance(response, dict):
        raise _Unusable("no response provided")
    if version == "v1" and response.get("uid") != uid:
        raise _Unusable(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    given = response.get("result")
    result: JSONObject = given if isinstance(given, dict) else {}
    if result.get("status") != "Success":
        raise _Unusable(result.get("message") or f"response.result.status was '{result.get('status') or ''}', not 'Success'")
    return response.get("convertedObjects") or []


def check_and_restore(given: JSONObject, made: Any, api_version: str) -> None:
    """Put the metadata of `given` into `made`, all but labels and annotations. Raises Unexplained for what a conversion may not change."""
    told = f"conversion webhook for {_kind(given)} returned invalid"
    if not isinstance(made, dict):
        raise Unexplained(f"{told} object at index 0: it is not an object")
    if made.get("apiVersion") != api_version:
        where = f"invalid groupVersion (expected {api_version}, received {made.get('apiVersion') or ''})"
        raise Unexplained(f"{told} object at index 0: {where}")
    if made.get("kind") != given["kind"]:
        where = f"invalid kind (expected {given['kind']}, received {made.get('kind') or ''})"
        raise Unexplained(f"{told} object at index 0: {where}")
    metadata = made.get("metadata")
    if not isinstance(metadata, dict):
        raise Unexplained(f"{told} metadata: missing metadata in converted object")
    for part, word in _SAME.items():
        if (had := meta.metadata(given).get(part) or "") != (has := metadata.get(part) or ""):
            raise Unexplained(f"{told} object: must have the same {word}: {had} != {has}")
    restored = dict(given["metadata"])
    for part in ("labels", "annotations"):
        value = metadata.get(part)
        restored.pop(part, None)
        if value is not None:
            if value and (fault := _fault(part, value, meta.metadata(given).get(part))):
                raise Unexplained(f"{told} metadata: {fault}")
            restored[part] = value
    made["metadata"] = restored
    if cluster := meta.cluster(given):
        meta.set_annotation(made, CLUSTER_ANNOTATION, cluster)  # the server's own, not the webhook's


def _fault(part: str, value: Any, had: Mapping[str, str] | None) -> str:
    """What is wrong with converted labels or annotations; those that did not change are not looked at."""
    if not isinstance(value, dict):
        return f"invalid metadata.{part} of type {type(value).__name__} in converted object"
    for key, text in value.items():
        if not isinstance(text, str):
            return f"metadata.{part}[{key}] must be a string, but is {_GO.get(type(text), 'map[string]interface {}')} in converted object"
    if value == had:
        return ""
    faults: list[Cause] = list(label_faults(value) if part == "labels" else annotation_faults(value))
    texts = [str(fault) for fault in faults]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]" if texts else ""


_GO = {int: "int64", float: "float64", bool: "bool", list: "[]interface {}", type(None): "<nil>"}


def _kind(obj: JSONObject) -> str:
    return _shown(meta.gvk(obj))


def _shown(kind: GVK) -> str:
    return f"{kind.api_version}, Kind={kind.kind}"
