"""What a binding grants of what its export asks for, in the binding's status and conditions. Pure.

Before: the binding controller. After: `claims`; objects are labelled by `claimlabels`.
Source: kcp pkg/reconciler/apis/permissionclaimlabel/permissionclaimlabel_reconcile.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.meta import JSONObject
from kcp.exports.claims import ACCEPTED, ClaimKey, applied_claims
from kcp.exports.names import PERMISSION_CLAIMS_APPLIED, PERMISSION_CLAIMS_VALID

CLAIMS_CHANGED, CLAIMS_WITHDRAWN = "ClaimsChanged", "ClaimsWithdrawn"
"""Reasons why PermissionClaimsApplied is false until the objects are labelled."""
_MOST_UNEXPECTED, _MOST_MISMATCHED = 10, 5


def grant(wanted: JSONObject, export: JSONObject, is_known: Callable[[ClaimKey], bool], now: str) -> None:
    """Say in `wanted`, a binding, what is asked for, what is granted of it, and what is wrong with that.

    Args: is_known: whether any export has the identity of a claim, and offers the resource.
    """
    status = wanted["status"]
    asked = meta.nested(export, "spec", "permissionClaims", default=[])
    _put(status, "exportPermissionClaims", asked)
    applied, unexpected = applied_claims(wanted, export)
    unknown = sorted({key for claim in applied if not is_known(key := ClaimKey.of(claim))}, key=str)
    _judge(wanted, unexpected, list(_mismatches(wanted, asked)), now)
    applied = [claim for claim in applied if ClaimKey.of(claim) not in unknown]
    held = conditions.get(wanted, PERMISSION_CLAIMS_APPLIED)
    if applied != status.get("appliedPermissionClaims", []):
        _put(status, "appliedPermissionClaims", applied)
        _set(wanted, PERMISSION_CLAIMS_APPLIED, now, CLAIMS_CHANGED, "objects are being labelled")
    elif held is not None and held.get("reason") in (CLAIMS_CHANGED, CLAIMS_WITHDRAWN):
        return  # until the objects are labelled
    elif unknown:
        told = joined([f"no APIExport with identity {key.identity} provides {key.group_resource}" for key in unknown])
        _set(wanted, PERMISSION_CLAIMS_APPLIED, now, "InternalError", f"Permission claims have not been fully applied: {told}")
    else:
        _set(wanted, PERMISSION_CLAIMS_APPLIED, now)


def _judge(wanted: JSONObject, unexpected: Sequence[ClaimKey], mismatches: Sequence[str], now: str) -> None:
    if mismatches:
        shown = mismatches[:_MOST_MISMATCHED]
        told = f"{len(mismatches)} permission claim(s) have mismatched verbs or selectors (showing first {len(shown)}): {', '.join(shown)}"
        _set(wanted, PERMISSION_CLAIMS_VALID, now, "PermissionClaimsMismatch", told, "Warning")
    elif unexpected:
        texts = [f'unexpected/invalid claim for {_dotted(key)} (identity "{key.identity}")' for key in unexpected]
        shown = texts[:_MOST_UNEXPECTED]
        told = f"{len(texts)} unexpected and/or invalid permission claims (showing first {len(shown)}): {joined(shown)}"
        _set(wanted, PERMISSION_CLAIMS_VALID, now, "InvalidPermissionClaims", told)
    else:
        _set(wanted, PERMISSION_CLAIMS_VALID, now)


def _mismatches(binding: JSONObject, asked: Iterable[JSONObject]) -> Iterator[str]:
    """Accepted claims with other verbs or another selector than the export asks for; they work as far as both agree."""
    wanted = {ClaimKey.of(claim): claim for claim in asked}
    accepted = [c for c in meta.nested(binding, "spec", "permissionClaims", default=()) if c.get("state") == ACCEPTED]
    for key, claim in sorted(((ClaimKey.of(claim), claim) for claim in accepted), key=lambda entry: _dotted(entry[0])):
        parts = list(_differences(claim, wanted[key])) if key in wanted else []
        if parts:
            yield f"{_dotted(key)} ({'; '.join(parts)})"


def _differences(accepted: Mapping[str, Any], exported: Mapping[str, Any]) -> Iterator[str]:
    ours, theirs = accepted.get("verbs") or [], exported.get("verbs") or []
    if "*" not in ours and "*" not in theirs and set(ours) != set(theirs):
        yield f"verbs: accepted [{' '.join(ours)}], exported [{' '.join(theirs)}]"
    if "defaultSelector" in exported and (accepted.get("selector") or {}) != exported["defaultSelector"]:
        yield "selector differs from defaultSelector"


def _dotted(key: ClaimKey) -> str:
    """As kcp writes it: with the dot even where the group is the core one."""
    return f"{key.group_resource.resource}.{key.group_resource.group}"


def joined(texts: Sequence[str]) -> str:
    """Several errors as one. Source: k8s.io/apimachinery/pkg/util/errors (Aggregate).

    >>> joined(["a"]), joined(["a", "b"])
    ('a', '[a, b]')
    """
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _set(obj: JSONObject, kind: str, now: str, reason: str = "", message: str = "", severity: str = "Error") -> None:
    status = conditions.FALSE if reason else conditions.TRUE
    conditions.set_condition(obj, conditions.build(kind, status, reason=reason, message=message, severity=severity, now=now))


def _put(status: JSONObject, name: str, value: list[JSONObject]) -> None:
    if value:
        status[name] = value
    else:
        status.pop(name, None)
