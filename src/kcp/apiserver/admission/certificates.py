"""CertificateSigningRequests: who asks is written by the server; who may approve, deny and sign is asked of the authorizer.

Before: `admission.chain`. After: `apis.kubernetes.certificates`.
Source: k8s.io/kubernetes/pkg/registry/certificates/certificates/strategy.go, plugin/pkg/admission/certificates/{approval,signing,
subjectrestriction}/admission.go, pkg/certauthorization.
"""

from __future__ import annotations

import base64
import binascii

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Invalid
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes.certificates import APPROVED, DENIED, FAILED, condition_faults
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.refusal import forbidden
from kcp.apiserver.authn.reviews import user_object
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes
from kcp.registry.backend import Attributes

_GROUP = "certificates.k8s.io"
_REQUESTS = frozenset((GroupResource(_GROUP, "certificatesigningrequests"),))
_CLIENTS = "kubernetes.io/kube-apiserver-client"
_MASTERS = "system:masters"


class CertificateRequests:
    def __init__(self, authorizer: Authorizer, clock: Clock) -> None:
        self._authorizer = authorizer
        self._clock = clock

    def plugins(self) -> tuple[Plugin, ...]:
        return (
            Plugin(name="CertificateSubjectRestriction", mutate=self.say_who_asks, validate=_refuse_masters, verbs=("CREATE",),
                   resources=_REQUESTS),
            Plugin(name="CertificateApproval", mutate=self.stamp, validate=self.check_approval, verbs=("UPDATE",), resources=_REQUESTS,
                   subresources=frozenset(("approval",))),
            Plugin(name="CertificateSigning", mutate=self.stamp, validate=self.check_signing, verbs=("UPDATE",), resources=_REQUESTS,
                   subresources=frozenset(("status",))),
        )  # fmt: skip

    async def say_who_asks(self, attributes: Attributes) -> JSONObject | None:
        request = attributes.new
        if request is not None:
            spec = meta.ensure(request, "spec")
            for part in ("username", "uid", "groups", "extra"):
                spec.pop(part, None)
            spec |= user_object(attributes.user)
        return request

    async def stamp(self, attributes: Attributes) -> JSONObject | None:
        """Times of new and changed conditions. Source: strategy.go, populateConditionTimestamps."""
        new, now = attributes.new, rfc3339(self._clock.now())
        held = {c.get("type"): c for c in meta.nested(attributes.old or {}, "status", "conditions", default=())}
        for condition in meta.nested(new or {}, "status", "conditions", default=()):
            before = held.get(condition.get("type")) or {}
            if condition != before and not condition.get("lastUpdateTime"):
                condition["lastUpdateTime"] = now
            if before.get("status") == condition.get("status") and before.get("lastTransitionTime"):
                condition["lastTransitionTime"] = before["lastTransitionTime"]
            elif not condition.get("lastTransitionTime"):
                condition["lastTransitionTime"] = now
        return new

    async def check_approval(self, attributes: Attributes) -> None:
        _check_conditions(attributes, may_add=(APPROVED, DENIED))
        await self._ask(attributes, "approve")

    async def check_signing(self, attributes: Attributes) -> None:
        _check_conditions(attributes, may_add=(FAILED,))
        new, old = attributes.new or {}, attributes.old or {}
        if meta.nested(new, "status", "certificate") != meta.nested(old, "status", "certificate"):
            await self._ask(attributes, "sign")

    async def _ask(self, attributes: Attributes, verb: str) -> None:
        """Whether the user may do `verb` for this signer, or for all of its domain. Raises Forbidden."""
        signer = str(meta.nested(attributes.old or {}, "spec", "signerName", default=""))
        for name in (signer, signer.partition("/")[0] + "/*"):
            question = AuthzAttributes(attributes.user, verb, attributes.scope.cluster, _GROUP, "signers", name=name)
            if (await self._authorizer.authorize(question)).is_allowed:
                return
        raise forbidden(attributes, f'user not permitted to {verb} requests with signerName "{signer}"')


def _check_conditions(attributes: Attributes, *, may_add: tuple[str, ...]) -> None:
    causes = list(condition_faults(attributes.new or {}, attributes.old or {}, may_add=may_add))
    if causes:
        resource = attributes.scope.resource
        raise Invalid.of(resource.group_resource, resource.kind, attributes.scope.name, causes)


async def _refuse_masters(attributes: Attributes) -> None:
    """Nobody becomes a cluster administrator by a certificate that this API gives out. Raises Forbidden."""
    spec = meta.nested(attributes.new or {}, "spec", default={})
    if spec.get("signerName") != _CLIENTS:
        return
    from cryptography import x509

    try:
        request = x509.load_pem_x509_csr(base64.b64decode(spec.get("request") or ""))
    except (ValueError, binascii.Error) as error:
        raise forbidden(attributes, f"failed to parse CSR: {error}") from error
    if any(name.value == _MASTERS for name in request.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)):
        raise forbidden(attributes, f"use of {_CLIENTS} signer with {_MASTERS} group is not allowed")
