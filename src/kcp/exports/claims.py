"""Permission claims: what an export asks for in its consumers' workspaces, what a binding grants of it, and the labels on the objects.

Pure. Before: the binding controller, `claimindex`, `virtual.apiexport`.
Source: kcp sdk/apis/apis/v1alpha2/permissionclaims/labels.go, pkg/permissionclaim/permissionclaim_labeler.go.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, base62, base62_sha224
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.exports.conversion import V1ALPHA1_CLAIMS, carried

CLAIM_LABEL = "claimed.internal.apis.kcp.io/"
"""Prefix of the label on claimed objects; what follows stands for the export, the value for the claim."""
ACCEPTED = "Accepted"
OWN_BINDING = base62(bytes(range(10)) * 2 + bytes(range(8)))
"""Value on APIBindings to the export itself, which it may read without a claim."""

_AUTHORIZATION, _AUTHENTICATION, _ADMISSION = "authorization.k8s.io", "authentication.k8s.io", "admissionregistration.k8s.io"
_RBAC = "rbac.authorization.k8s.io"
ACCOUNT_TOKENS = GroupResource("", "serviceaccounts/token")
"""The one subresource that is claimed by itself: who may read accounts may not be them."""
CLAIMABLE: frozenset[GroupResource] = frozenset(
    GroupResource(group, resource)
    for group, resources in {
        "": ("namespaces", "configmaps", "events", "limitranges", "resourcequotas", "secrets", "serviceaccounts", ACCOUNT_TOKENS.resource),
        _RBAC: ("clusterroles", "clusterrolebindings", "roles", "rolebindings"),
        "certificates.k8s.io": ("certificatesigningrequests",),
        "coordination.k8s.io": ("leases",),
        _ADMISSION: (
            "mutatingwebhookconfigurations", "validatingwebhookconfigurations", "validatingadmissionpolicies",
            "validatingadmissionpolicybindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
        ),
        "events.k8s.io": ("events",),
        "apiextensions.k8s.io": ("customresourcedefinitions",),
        "core.kcp.io": ("logicalclusters",),
        "apis.kcp.io": ("apibindings", "apiexports", "apiresourceschemas", "apiexportendpointslices"),
        _AUTHORIZATION: ("subjectaccessreviews", "localsubjectaccessreviews"),
        _AUTHENTICATION: ("tokenreviews",),
    }.items()
    for resource in resources
)  # fmt: skip
"""Kinds without an identity that an export may claim. Source: kcp pkg/virtual/apiexport/schemas/builtin/builtin.go."""


@dataclass(frozen=True, slots=True)
class ClaimKey:
    """Which resource is claimed: claims differ in it."""

    group_resource: GroupResource
    identity: str
    """"" for built-in kinds."""

    @classmethod
    def of(cls, claim: Mapping[str, Any]) -> ClaimKey:
        return cls(GroupResource(claim.get("group") or "", claim["resource"]), claim.get("identityHash") or "")

    @property
    def is_agnostic(self) -> bool:
        """Whether each consumer's own binding says whose objects are meant. See `claimpolicies` for who may ask so."""
        return not self.identity and self.group_resource not in CLAIMABLE

    def __str__(self) -> str:
        return f"{self.group_resource}:{self.identity}" if self.identity else str(self.group_resource)


@lru_cache(maxsize=1024)
def claim_label(cluster: ClusterName, export: str) -> str:
    """The label of objects that this export has claimed: one text for the thousands of workspaces that bind it."""
    return CLAIM_LABEL + base62_sha224(f"{cluster}:{export}")


@lru_cache(maxsize=1024)
def claim_value(key: ClaimKey) -> str:
    """The label's value: of what never changes in a claim, written as Go writes it."""
    gr = key.group_resource
    said: JSONObject = {"group": gr.group} if gr.group else {}
    said |= {"resource": gr.resource, "verbs": None}
    if key.identity:
        said["identityHash"] = key.identity
    return base62_sha224(json.dumps(said, separators=(",", ":")))


def common_verbs(asked: Sequence[str], granted: Sequence[str]) -> list[str]:
    """What both name; `*` names every verb.

    >>> common_verbs(["get", "list"], ["*"]), common_verbs(["get", "list"], ["list", "watch"])
    (['get', 'list'], ['list'])
    """
    if "*" in asked:
        return list(granted)
    return [verb for verb in asked if verb in granted or "*" in granted]


def applied_claims(binding: JSONObject, export: JSONObject) -> tuple[list[JSONObject], list[ClaimKey]]:
    """`status.appliedPermissionClaims`, and what the binding grants although the export does not ask for it."""
    asked = {ClaimKey.of(claim): claim for claim in meta.nested(export, "spec", "permissionClaims", default=())}
    applied: list[JSONObject] = []
    unexpected: list[ClaimKey] = []
    for claim in meta.nested(binding, "spec", "permissionClaims", default=()):
        key = ClaimKey.of(claim)
        wanted = asked.get(key)
        if wanted is None:
            if claim.get("state") == ACCEPTED:
                unexpected.append(key)
            continue
        verbs = common_verbs(wanted.get("verbs") or (), claim.get("verbs") or ())
        if claim.get("state") == ACCEPTED and verbs:
            entry = {name: claim.get(name) or "" for name in ("group", "resource", "identityHash")}  # as the schema's defaults make it
            applied.append({**entry, "verbs": verbs, "selector": claim.get("selector") or {"matchAll": True}})
    return applied, sorted(unexpected, key=str)


@dataclass(frozen=True, slots=True)
class Claim:
    """One granted claim, as it is looked up for every write in the workspace."""

    label: str
    value: str
    key: ClaimKey
    verbs: frozenset[str]
    labels: LabelSelector | None
    """None: objects are selected by `names`."""
    names: tuple[tuple[str, str], ...] = ()
    """(namespace, name) pairs of v1alpha1, either "" for any."""
    stamp: tuple[tuple[str, str], ...] = ()
    """Labels that an object must carry to be selected."""

    def selects(self, obj: JSONObject) -> bool:
        if self.labels is not None:
            return self.labels.matches(meta.labels(obj))
        held = (meta.namespace(obj), meta.name(obj))
        return any(all(wanted in ("", has) for wanted, has in zip(pair, held, strict=True)) for pair in self.names)

    def allows(self, verb: str) -> bool:
        return verb in self.verbs or "*" in self.verbs


def granted_claims(binding: JSONObject, export_cluster: ClusterName, export: str) -> Iterable[Claim]:
    """What a binding's status says is applied."""
    label = claim_label(export_cluster, export)
    named = {ClaimKey.of(claim): claim["resourceSelector"] for claim in carried(binding, V1ALPHA1_CLAIMS) if "resourceSelector" in claim}
    for entry in meta.nested(binding, "status", "appliedPermissionClaims", default=()):
        key, selector = ClaimKey.of(entry), entry.get("selector") or {"matchAll": True}
        verbs = frozenset(entry.get("verbs") or ())
        if key in named:
            names = tuple((chosen.get("namespace") or "", chosen.get("name") or "") for chosen in named[key])
            yield Claim(label, claim_value(key), key, verbs, None, names)
        else:
            chosen = (
                {}
                if selector.get("matchAll")
                else {part: selector[part] for part in ("matchLabels", "matchExpressions") if part in selector}
            )
            stamp = tuple((chosen.get("matchLabels") or {}).items())
            nothing = not selector.get("matchAll") and not chosen
            yield Claim(label, claim_value(key), key, verbs, LabelSelector.from_object(None if nothing else chosen), (), stamp)
