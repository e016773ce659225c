"""Which claims are granted in which workspace, and so which labels an object must carry. Fed by the watch cache with each binding.

Before: admission of every write (`claimlabels`), the virtual workspace `apiexport`. After: `claims`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.exports.claims import CLAIM_LABEL, OWN_BINDING, Claim, claim_label, granted_claims
from kcp.exports.names import BINDINGS, EXPORT_LABEL, ExportReference

_NOTHING: Mapping[str, tuple[Claim, ...]] = {}


class ClaimIndex:
    """Workspaces that bind no export with claims cost nothing here but their bindings' places."""

    def __init__(self) -> None:
        self._bound: dict[ClusterName, dict[str, str]] = {}
        """Cluster → binding → label of its export."""
        self._granted: dict[ClusterName, dict[str, tuple[Claim, ...]]] = {}
        """Cluster → binding → its claims."""
        self._consumers: dict[str, Sequence[ClusterName]] = {}
        """Label of an export → the clusters that bind it, where somebody has asked, until a binding changes."""

    def changed(self, cluster: ClusterName, name: str, binding: JSONObject | None) -> None:
        """Take note of one binding as it is now stored; None: it is gone. One that is being deleted grants nothing any more."""
        before = self._bound.get(cluster, {}).get(name)
        _forget(self._bound, cluster, name)
        _forget(self._granted, cluster, name)
        reference = ExportReference.of(binding) if binding is not None else None
        export_cluster = ClusterName(meta.nested(binding or {}, "status", "apiExportClusterName", default=""))
        label = claim_label(export_cluster, reference.name) if reference is not None and export_cluster else None
        for changed in {before, label} if before != label else ():
            self._consumers.pop(changed or "", None)
        if binding is None or reference is None or label is None:
            return
        self._bound.setdefault(cluster, {})[name] = label
        claims = () if meta.deletion_timestamp(binding) else tuple(granted_claims(binding, export_cluster, reference.name))
        if claims:
            self._granted.setdefault(cluster, {})[name] = claims

    def is_bound(self, cluster: ClusterName, label: str) -> bool:
        """Whether a workspace binds the export of this label."""
        return label in self._bound.get(cluster, {}).values()

    def consumers(self, label: str) -> Sequence[ClusterName]:
        """The workspaces that bind the export of this label, in order."""
        found = self._consumers.get(label)
        if found is None:
            found = self._consumers[label] = sorted(cluster for cluster, bound in self._bound.items() if label in bound.values())
        return found

    def granted(self, cluster: ClusterName, label: str, group_resource: GroupResource) -> Sequence[Claim]:
        """What a workspace grants an export on one resource."""
        return [claim for claim in self._of(cluster, group_resource) if claim.label == label]

    def granting(self, label: str, group_resource: GroupResource) -> Iterator[ClusterName]:
        """The workspaces that grant an export something on one resource. Looks at all that grant anything."""
        for cluster in self._granted:
            if self.granted(cluster, label, group_resource):
                yield cluster

    def wanted_labels(self, cluster: ClusterName, group_resource: GroupResource, obj: JSONObject) -> dict[str, str]:
        """The labels under `CLAIM_LABEL` that an object must carry: no others."""
        wanted: dict[str, str] = {}
        if group_resource == BINDINGS.group_resource and (export := meta.labels(obj).get(EXPORT_LABEL)):
            wanted[CLAIM_LABEL + export] = OWN_BINDING
        for claim in self._of(cluster, group_resource):
            if claim.selects(obj):
                wanted[claim.label] = claim.value
        return wanted

    def _of(self, cluster: ClusterName, group_resource: GroupResource) -> Sequence[Claim]:
        granted = self._granted.get(cluster, _NOTHING)
        return [claim for claims in granted.values() for claim in claims if claim.key.group_resource == group_resource]

    def is_quiet(self, cluster: ClusterName) -> bool:
        """Whether nothing is claimed in a workspace, so that objects need not be looked at."""
        return cluster not in self._granted


def _forget(
    held: dict[ClusterName, dict[str, tuple[Claim, ...]]] | dict[ClusterName, dict[str, str]], cluster: ClusterName, name: str
) -> None:
    inner = held.get(cluster)
    if inner is not None:
        inner.pop(name, None)
        if not inner:
            del held[cluster]


def claim_labels(obj: JSONObject) -> dict[str, str]:
    """The labels of claims that an object carries now."""
    return {key: value for key, value in meta.labels(obj).items() if key.startswith(CLAIM_LABEL)}
