"""AdmissionReview: the question that a webhook is asked, and what its answer means.

Before: `caller`. Source: k8s.io/apiserver/pkg/admission/plugin/webhook/{request/admissionreview,errors/statuserror}.go,
k8s.io/api/admission/v1/types.go.
"""

from __future__ import annotations

import binascii
import uuid
from dataclasses import dataclass
from typing import Any

import orjson

from kcp.apimachinery.errors import StatusError, from_status
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.occasion import Occasion


class Unusable(Exception):
    """The webhook answered something that is no answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    is_allowed: bool
    status: JSONObject
    patch: list[JSONObject]
    warnings: tuple[str, ...]
    audit_annotations: dict[str, str]


def question(occasion: Occasion, version: str) -> tuple[str, bytes]:
    """Its uid, and the AdmissionReview to send."""
    uid = str(uuid.uuid4())
    request = {"uid": uid, **occasion.request(), "object": occasion.new, "oldObject": occasion.old}
    return uid, orjson.dumps({"kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{version}", "request": request})


def read_answer(uid: str, raw: bytes, version: str, *, is_mutating: bool) -> Answer:
    """Of v1beta1 neither the version of the answer, nor its uid, nor the type of its patch was ever looked at.

    Raises Unusable.
    """
    try:
        review = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Unusable(f"the answer is not JSON: {error}") from None
    if not isinstance(review, dict) or not isinstance(review.get("response"), dict):
        raise Unusable("webhook response was absent")
    is_strict = version == "v1"
    if is_strict and (review.get("apiVersion"), review.get("kind")) != ("admission.k8s.io/v1", "AdmissionReview"):
        found = f"{review.get('apiVersion')}, Kind={review.get('kind')}"
        raise Unusable(f"expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {found}")
    response: JSONObject = review["response"]
    if is_strict and response.get("uid") != uid:
        raise Unusable(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    status = response.get("status")
    warnings, annotations = response.get("warnings"), response.get("auditAnnotations")
    return Answer(
        response.get("allowed") is True,
        status if isinstance(status, dict) else {},
        _patch(response if is_strict else _pinned(response)) if is_mutating else _no_patch(response) if is_strict else [],
        tuple(text for text in warnings if isinstance(text, str)) if isinstance(warnings, list) else (),
        {key: text for key, text in annotations.items() if isinstance(text, str)} if isinstance(annotations, dict) else {},
    )


def _pinned(response: JSONObject) -> JSONObject:
    return {**response, "patchType": "JSONPatch" if response.get("patch") else None}


def _no_patch(response: JSONObject) -> list[JSONObject]:
    if response.get("patch"):
        raise Unusable("webhook returned response.patch, but a validating webhook may not patch")
    return []


def _patch(response: JSONObject) -> list[JSONObject]:
    given, kind = response.get("patch"), response.get("patchType")
    if not given:
        if kind is not None:
            raise Unusable("webhook returned response.patchType but not response.patch")
        return []
    if kind is None:
        raise Unusable("webhook returned response.patch but not response.patchType")
    if kind != "JSONPatch":
        raise Unusable(f"webhook returned invalid response.patchType of {kind}")
    try:
        decoded: Any = orjson.loads(binascii.a2b_base64(given))
    except (binascii.Error, TypeError, ValueError) as error:
        raise Unusable(f"received undecodable patch in webhook response: {error}") from None
    if decoded is not None and not isinstance(decoded, list):
        raise Unusable("received undecodable patch in webhook response: a JSON patch is an array")
    return decoded or []


def refusal(webhook: str, status: JSONObject) -> StatusError:
    """What the client is told of a denial: the webhook's own Status, with its name."""
    denied = f'admission webhook "{webhook}" denied the request'
    text, reason = status.get("message"), status.get("reason")
    message = f"{denied}: {text}" if text else f"{denied}: {reason}" if reason else f"{denied} without explanation"
    code = status.get("code")
    if not isinstance(code, int) or not 400 <= code < 600:
        code = 403
    refused = from_status(code, {**status, "message": message})
    if refused.code == code:
        return refused
    kind = type("WebhookDenial", (StatusError,), {"code": code, "reason": reason or ""})  # a code that no class of ours stands for
    denial: StatusError = kind(message, causes=refused.causes)
    return denial
