"""What is legal in a CertificateSigningRequest, beyond its schema. Pure: whether the request's signature is right is the signer's matter.

Before: `rules`, `apiserver.admission.certificates`. Source: k8s.io/kubernetes/pkg/apis/certificates/validation/validation.go.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject, nested

APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
DECISIONS = (APPROVED, DENIED, FAILED)
_USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only",
    "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement",
    "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping",
)  # fmt: skip
_PEM = re.compile(rb"^-----BEGIN ([^-\n]+)-----[ \t\r]*\n[A-Za-z0-9+/=\s]*^-----END \1-----[ \t\r]*$", re.MULTILINE)
"""The first block counts, whatever stands before and after it. Source: Go's encoding/pem, Decode."""
_SHORTEST_S = 600


def validate(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    """Of a creation, and of an update of the object itself: what follows from the spec cannot change later."""
    if old is not None:
        return ()
    spec: Mapping[str, Any] = new.get("spec") or {}
    return [*_request(spec), *_usages(spec.get("usages") or ()), *_signer(str(spec.get("signerName") or "")), *_lifetime(spec)]


def _request(spec: Mapping[str, Any]) -> Iterator[Cause]:
    text = str(spec.get("request") or "")
    try:
        pem = base64.b64decode(text, validate=True)
    except binascii.Error:
        return  # not base64 at all: the schema says so
    block = _PEM.search(pem)
    if block is None or block[1] != b"CERTIFICATE REQUEST":
        yield Cause.invalid("spec.request", text, "PEM block type must be CERTIFICATE REQUEST")


def _usages(usages: Sequence[Any]) -> Iterator[Cause]:
    if not usages:
        yield Cause.required("spec.usages")
    for index, usage in enumerate(usages):
        if usage not in _USAGES:
            yield Cause.not_supported(f"spec.usages[{index}]", usage, _USAGES)
        elif usage in usages[:index]:
            yield Cause.duplicate(f"spec.usages[{index}]", usage)


def _signer(name: str) -> Iterator[Cause]:
    if not name:
        yield Cause.required("spec.signerName")
        return
    domain, slash, path = name.partition("/")
    if not slash or not path or "." not in domain:
        detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        yield Cause.invalid("spec.signerName", name, detail)
        return
    yield from (Cause.invalid("spec.signerName", name, fault) for fault in names.dns1123_subdomain(domain))


def _lifetime(spec: Mapping[str, Any]) -> Iterator[Cause]:
    seconds = spec.get("expirationSeconds")
    if isinstance(seconds, int) and seconds < _SHORTEST_S:
        yield Cause.invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 600 seconds (10 minutes)")


def condition_faults(new: JSONObject, old: JSONObject, *, may_add: Sequence[str]) -> Iterator[Cause]:
    """Of an update through `approval` (which may add Approved and Denied) or `status` (Failed). Decisions stand once they are made."""
    path = "status.conditions"
    conditions = nested(new, "status", "conditions", default=())
    kinds, before = _kinds(conditions), _kinds(nested(old, "status", "conditions", default=()))
    for index, condition in enumerate(conditions):
        kind, status = condition.get("type") or "", condition.get("status")
        if not kind:
            yield Cause.required(f"{path}[{index}].type")
        if kind in DECISIONS and status != "True":
            yield Cause.not_supported(f"{path}[{index}].status", status or "", ("True",))
        if kind in kinds[:index]:
            yield Cause.duplicate(f"{path}[{index}].type", kind)
        if kind in DECISIONS and kind not in before and kind not in may_add:
            yield Cause.forbidden(path, f'updates may not add a condition of type "{kind}"')
    for kind in DECISIONS:
        if kind in before and kind not in kinds:
            yield Cause.forbidden(path, f'updates may not remove a condition of type "{kind}"')
    if APPROVED in kinds and DENIED in kinds:
        yield Cause.invalid(f"{path}[{kinds.index(DENIED)}].type", DENIED, "Approved and Denied conditions are mutually exclusive")


def _kinds(conditions: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(condition.get("type") or "") for condition in conditions]
