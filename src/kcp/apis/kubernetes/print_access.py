"""Columns of RBAC, admission, certificates and leases. Source: k8s.io/kubernetes/pkg/printers/internalversion/printers.go."""

from __future__ import annotations

from datetime import datetime, timedelta

from kcp.apimachinery.meta import JSONObject, controller_of, nested
from kcp.apimachinery.table import NAME, Column, human_duration
from kcp.apis.kubernetes.printing import AGE, CREATED_AT, NONE, UNSET, field, number, text

ROLE = (NAME, CREATED_AT)
CREATED = (NAME, CREATED_AT)


def _role_ref(binding: JSONObject, _now: datetime) -> str:
    ref = binding.get("roleRef") or {}
    return f"{ref.get('kind', '')}/{ref.get('name', '')}"


def _subjects(binding: JSONObject, kind: str) -> str:
    found = [s for s in binding.get("subjects") or () if s.get("kind") == kind]
    return ", ".join(f"{s.get('namespace', '')}/{s.get('name', '')}" if kind == "ServiceAccount" else str(s.get("name", "")) for s in found)


BINDING = (
    NAME,
    text("Role", _role_ref),
    AGE,
    text("Users", lambda obj, _now: _subjects(obj, "User"), wide=True),
    text("Groups", lambda obj, _now: _subjects(obj, "Group"), wide=True),
    text("ServiceAccounts", lambda obj, _now: _subjects(obj, "ServiceAccount"), wide=True),
)


def _csr_condition(csr: JSONObject, _now: datetime) -> str:
    kinds = [c.get("type") for c in nested(csr, "status", "conditions", default=())]
    words = [word for word in ("Approved", "Denied", "Failed") if word in kinds] or ["Pending"]
    if "Denied" in words:
        words = [w for w in words if w != "Approved"]
    if nested(csr, "status", "certificate"):
        words.append("Issued")
    return ",".join(words)


def _requested(csr: JSONObject, _now: datetime) -> str:
    seconds = nested(csr, "spec", "expirationSeconds")
    return NONE if seconds is None else human_duration(timedelta(seconds=seconds))


CERTIFICATE_SIGNING_REQUEST = (
    NAME,
    AGE,
    field("SignerName", "spec", "signerName", default=NONE),
    field("Requestor", "spec", "username"),
    text("RequestedDuration", _requested),
    text("Condition", _csr_condition),
)
LEASE = (NAME, field("Holder", "spec", "holderIdentity"), AGE)
WEBHOOK_CONFIGURATION = (NAME, Column("Webhooks", type="integer", getter=lambda obj, _now: len(obj.get("webhooks") or ())), AGE)


def _param_kind(policy: JSONObject, _now: datetime) -> str:
    kind = nested(policy, "spec", "paramKind", default={})
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET


ADMISSION_POLICY = (
    NAME,
    Column("Validations", type="integer", getter=lambda obj, _now: len(nested(obj, "spec", "validations", default=()))),
    text("ParamKind", _param_kind),
    AGE,
)


def _param_ref(binding: JSONObject, _now: datetime) -> str:
    ref = nested(binding, "spec", "paramRef", default={})
    if not ref:
        return UNSET
    return f"{ref['namespace']}/{ref.get('name', '*')}" if ref.get("namespace") else str(ref.get("name", "*"))


ADMISSION_POLICY_BINDING = (NAME, field("PolicyName", "spec", "policyName"), text("ParamRef", _param_ref), AGE)


def _controller(revision: JSONObject, _now: datetime) -> str:
    owner = controller_of(revision)
    if owner is None:
        return NONE
    group = str(owner.get("apiVersion", "")).rpartition("/")[0]
    kind = str(owner.get("kind", "")).lower()
    return f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"


CONTROLLER_REVISION = (NAME, text("Controller", _controller), number("Revision", "revision"), AGE)
RUNTIME_CLASS = (NAME, field("Handler", "handler"), AGE)


def _service(api: JSONObject, _now: datetime) -> str:
    service = nested(api, "spec", "service", default=None)
    return f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"


def _available(api: JSONObject, _now: datetime) -> str:
    """Source: k8s.io/kube-aggregator/pkg/registry/apiservice/etcd/etcd.go (ConvertToTable)."""
    told = next((c for c in nested(api, "status", "conditions", default=()) if c.get("type") == "Available"), None)
    if told is None:
        return "Unknown"
    return "True" if told.get("status") == "True" else f"{told.get('status')} ({told.get('reason') or ''})"


API_SERVICE = (NAME, text("Service", _service), text("Available", _available), AGE)
