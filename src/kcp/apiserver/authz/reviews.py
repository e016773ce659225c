"""SubjectAccessReview, LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview: `kubectl auth can-i`.

Before: the resource dispatcher (`apiserver.reviews`). After: the same authorizer that decides about requests.
Source: k8s.io/kubernetes/pkg/registry/authorization/{subjectaccessreview,localsubjectaccessreview,selfsubjectaccessreview,
selfsubjectrulesreview}/rest.go, util/helpers.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kcp.apimachinery import meta
from kcp.apimachinery.errors import BadRequest, Cause
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes, Decision, Verdict
from kcp.apiserver.authz.rbac import Grant
from kcp.apiserver.request import Request, Response
from kcp.apiserver.reviews import ReviewHandlers, answer, invalid, read_review
from kcp.registry.backend import UserInfo

GROUP = "authorization.k8s.io"
_VERSION = f"{GROUP}/v1"
DEEP_HEADER = "x-kcp-internal-deep-subjectaccessreview"
"""With this header a SubjectAccessReview of a privileged caller answers as if the user had access to the workspace.

Source: kcp pkg/authorization/deep_sar.go.
"""
_PRIVILEGED = "system:masters"


class RuleLister(Protocol):
    """`rbac.RBACAuthorizer`, for the rules review."""

    def grants(self, user: UserInfo, cluster: ClusterName) -> tuple[list[Grant], str]: ...


def access_reviews(authorizer: Authorizer, rules: RuleLister) -> ReviewHandlers:
    """The handlers by (group, resource, subresource)."""
    reviews = AccessReviews(authorizer, rules)
    return {
        (GROUP, "subjectaccessreviews", ""): reviews.subject,
        (GROUP, "localsubjectaccessreviews", ""): reviews.local,
        (GROUP, "selfsubjectaccessreviews", ""): reviews.self_subject,
        (GROUP, "selfsubjectrulesreviews", ""): reviews.self_rules,
    }


@dataclass(frozen=True, slots=True)
class AccessReviews:
    authorizer: Authorizer
    rules: RuleLister

    async def subject(self, req: Request) -> Response:
        kind = "SubjectAccessReview"
        obj = await read_review(req, kind)
        spec = _spec(obj, "subjectaccessreviews", kind)
        user = _subject_of(spec, "subjectaccessreviews", kind)
        return await self._answer(req, obj, kind, user, spec)

    async def local(self, req: Request) -> Response:
        """Only about the namespace of the URL."""
        kind = "LocalSubjectAccessReview"
        obj = await read_review(req, kind)
        spec = _spec(obj, "localsubjectaccessreviews", kind)
        user = _subject_of(spec, "localsubjectaccessreviews", kind)
        attributes = spec.get("resourceAttributes")
        if attributes is None:
            fault = Cause.invalid("spec.nonResourceAttributes", spec.get("nonResourceAttributes"), "disallowed on this kind of request")
            raise invalid(GROUP, "localsubjectaccessreviews", kind, fault)
        if attributes.get("namespace") != req.info.namespace:
            wanted = f"must match metadata.namespace: {req.info.namespace}"
            fault = Cause.invalid("spec.resourceAttributes.namespace", attributes.get("namespace") or "", wanted)
            raise invalid(GROUP, "localsubjectaccessreviews", kind, fault)
        return await self._answer(req, obj, kind, user, spec)

    async def self_subject(self, req: Request) -> Response:
        kind = "SelfSubjectAccessReview"
        obj = await read_review(req, kind)
        return await self._answer(req, obj, kind, req.user, _spec(obj, "selfsubjectaccessreviews", kind))

    async def self_rules(self, req: Request) -> Response:
        obj = await read_review(req, "SelfSubjectRulesReview")
        namespace = meta.nested(obj, "spec", "namespace", default="")
        if not namespace:
            raise BadRequest("no namespace on request")
        grants, unresolved = self.rules.grants(req.user, req.info.cluster)
        status = rules_status([g for g in grants if g.namespace in ("", namespace)], unresolved)
        return answer(obj, _VERSION, "SelfSubjectRulesReview", status)

    async def _answer(self, req: Request, obj: JSONObject, kind: str, user: UserInfo, spec: Mapping[str, Any]) -> Response:
        attributes = _attributes(user, req.info.cluster, spec)
        if kind == "SubjectAccessReview" and req.headers.get(DEEP_HEADER) == "true" and _PRIVILEGED in req.user.groups:
            attributes = attributes._replace(is_deep=True)
        return answer(obj, _VERSION, kind, _status(await self.authorizer.authorize(attributes)))


def _spec(obj: JSONObject, resource: str, kind: str) -> Mapping[str, Any]:
    """The spec, with exactly one of the two kinds of attributes."""
    spec: Mapping[str, Any] = obj.get("spec") or {}
    resources, urls = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resources is not None and urls is not None:
        detail = "cannot be specified in combination with resourceAttributes"
        raise invalid(GROUP, resource, kind, Cause.invalid("spec.nonResourceAttributes", urls, detail))
    if resources is None and urls is None:
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise invalid(GROUP, resource, kind, Cause.invalid("spec.resourceAttributes", None, detail))
    return spec


def _subject_of(spec: Mapping[str, Any], resource: str, kind: str) -> UserInfo:
    name, groups = spec.get("user") or "", tuple(spec.get("groups") or ())
    if not name and not groups:
        raise invalid(GROUP, resource, kind, Cause.invalid("spec.user", "", "at least one of user or group must be specified"))
    extra = {key.lower(): tuple(values) for key, values in (spec.get("extra") or {}).items()}
    return UserInfo(name, groups, spec.get("uid") or "", extra)


def _attributes(user: UserInfo, cluster: ClusterName, spec: Mapping[str, Any]) -> AuthzAttributes:
    found = spec.get("resourceAttributes")
    if found is None:
        found = spec["nonResourceAttributes"]
        return AuthzAttributes(user, found.get("verb") or "", cluster, path=found.get("path") or "", is_resource=False)
    return AuthzAttributes(
        user, found.get("verb") or "", cluster, found.get("group") or "", found.get("resource") or "",
        found.get("subresource") or "", found.get("namespace") or "", found.get("name") or "",
        version=found.get("version") or "",
    )  # fmt: skip


def _status(decision: Decision) -> JSONObject:
    status: JSONObject = {"allowed": decision.is_allowed}
    if decision.verdict is Verdict.DENY:
        status["denied"] = True
    if decision.reason:
        status["reason"] = decision.reason
    return status


def rules_status(grants: Sequence[Grant], unresolved: str) -> JSONObject:
    """`status` of a SelfSubjectRulesReview."""
    listed = [grant.rule.to_object() for grant in grants]
    status: JSONObject = {
        "resourceRules": [rule for rule in listed if "resources" in rule],
        "nonResourceRules": [rule for rule in listed if "nonResourceURLs" in rule],
        "incomplete": bool(unresolved),
    }
    if unresolved:
        status["evaluationError"] = unresolved
    return status
