"""PermissionClaimPolicies: which exports may claim without naming an identity, and who may export the groups that this is about.

Since only its providers export a policy's groups, who binds one of them has the genuine one: nobody need know its identity.
Fed by the watch cache with each policy. Before: `server.foundation`, `admission`. After: nothing.
Source: kcp sdk/apis/admin/v1alpha1/types_permissionclaimpolicy.go, pkg/admission/apiexport/admission.go (validatePolicies).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes.checks import numbered, obj_at
from kcp.exports.names import APIS_GROUP, exported_resources
from kcp.registry.backend import UserInfo

CLAIM_POLICIES = GVR("admin.kcp.io", "v1alpha1", "permissionclaimpolicies")
GLOBAL_ADMIN = ClusterName("system:global-admin")
"""Logical cluster of what concerns the whole installation; to be reached through the virtual workspace `admin` only."""
_NEEDED = "identityHash is required for API types that are not built-in"


@dataclass(frozen=True, slots=True)
class _Policy:
    name: str
    providers: frozenset[tuple[str, str]]
    """Kind and name: users and groups."""
    claims: frozenset[tuple[str, str]]
    """Group of the claimer, group that it may claim."""
    reserved: frozenset[str]

    @classmethod
    def of(cls, policy: JSONObject) -> Self:
        spec = policy["spec"]
        claims = frozenset((rule["claimer"], group) for rule in spec["claims"] for group in rule["groups"])
        providers = frozenset((subject["kind"], subject["name"]) for subject in spec.get("providers") or ())
        return cls(meta.name(policy), providers, claims, frozenset(group for pair in claims for group in pair))

    def admits(self, user: UserInfo) -> bool:
        return ("User", user.name) in self.providers or any(("Group", group) in self.providers for group in user.groups)


class ClaimPolicies:
    """All policies of the installation."""

    def __init__(self) -> None:
        self._policies: dict[str, _Policy] = {}

    def changed(self, key: ObjectKey, policy: JSONObject | None) -> None:
        """Take note of one policy as it is now stored; None: it is gone."""
        self._policies.pop(key.name, None)
        if policy is not None:
            self._policies[key.name] = _Policy.of(policy)

    def faults(self, export: JSONObject, old: JSONObject | None, user: UserInfo, builtin: Collection[GroupResource]) -> Iterator[Cause]:
        """What an export claims without an identity and may not, and what its writer may not export; both in the order of the export.

        Groups that were exported before are not asked about again, so that others can go on changing the export.
        """
        groups = _groups(export)
        for at, claim in numbered(obj_at(export, "spec"), "permissionClaims", "spec.permissionClaims"):
            claimed = claim.get("group") or ""
            is_named = claim.get("identityHash") or GroupResource(claimed, claim.get("resource") or "") in builtin or claimed == APIS_GROUP
            if not is_named and not self._allows(groups, claimed):
                whose = ", ".join(sorted(set(groups))) or "no API group"
                why = f'no PermissionClaimPolicy allows an APIExport exporting {whose} to claim group "{claimed}" without one'
                yield Cause.invalid(f"{at}.identityHash", "", f"{_NEEDED}, and {why}")
        before = set(_groups(old)) if old is not None else set()
        for number, group in enumerate(groups):
            for policy in self._policies.values():
                if group not in before and group in policy.reserved and not policy.admits(user):
                    why = f'API group "{group}" is reserved by PermissionClaimPolicy "{policy.name}"; only its providers may export it'
                    yield Cause.forbidden(f"spec.resources[{number}].group", why)

    def _allows(self, claimers: Iterable[str], group: str) -> bool:
        return any((claimer, group) in policy.claims for policy in self._policies.values() for claimer in claimers)


def _groups(export: JSONObject) -> list[str]:
    """Of each resource that is exported, in either version."""
    return [own.group_resource.group for own in exported_resources(export)]
