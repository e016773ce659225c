"""Objects that are answered, never stored: access reviews, token reviews, token requests.

A review arrives as a POST of an object and is answered with the same object and a `status`. The table of handlers is made by
`authz.reviews.access_reviews` and `authn.reviews.token_reviews`; the resource dispatcher looks a POST up there by (group, resource,
subresource) before it asks the backend.
Source: k8s.io/kubernetes/pkg/registry/authorization, pkg/registry/authentication.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import orjson

from kcp.apimachinery.errors import BadRequest, Cause, Invalid
from kcp.apimachinery.gvk import GVK, GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.body import check_types, read_object
from kcp.apiserver.request import Handler, Request, Response

ReviewKey: TypeAlias = tuple[str, str, str]
"""Group, resource and subresource."""

ReviewHandlers: TypeAlias = Mapping[ReviewKey, Handler]


_AUTHENTICATION, _AUTHORIZATION = "authentication.k8s.io", "authorization.k8s.io"
_GROUPS: Mapping[str, str] = {
    "TokenReview": _AUTHENTICATION, "TokenRequest": _AUTHENTICATION, "SelfSubjectReview": _AUTHENTICATION,
    "SubjectAccessReview": _AUTHORIZATION, "LocalSubjectAccessReview": _AUTHORIZATION, "SelfSubjectAccessReview": _AUTHORIZATION,
    "SelfSubjectRulesReview": _AUTHORIZATION, "Binding": "", "Eviction": "policy",
}  # fmt: skip


async def read_review(req: Request, kind: str) -> JSONObject:
    """The posted object. Raises BadRequest if it cannot be read, is of another kind, or has values of other types than the kind's."""
    obj = (await read_object(req, kind)).fresh()
    found = obj.get("kind")
    if found not in (None, "", kind):
        raise BadRequest(f'{found} in version "{obj.get("apiVersion", "")}" cannot be handled as a {kind}')
    check_types(obj, GVK(_GROUPS[kind], "v1", kind))
    return obj


def answer(obj: JSONObject, api_version: str, kind: str, status: Mapping[str, Any]) -> Response:
    """The review with its status, as a 201."""
    answered = {**obj, "apiVersion": api_version, "kind": kind, "metadata": obj.get("metadata") or {}, "status": status}
    return Response(201, orjson.dumps(answered))


def invalid(group: str, resource: str, kind: str, cause: Cause) -> Invalid:
    return Invalid.of(GroupResource(group, resource), kind, "", [cause])
