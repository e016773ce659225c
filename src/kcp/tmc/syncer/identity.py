"""Who a syncer works for."""

from __future__ import annotations

from dataclasses import dataclass

from kcp.apimachinery.keys import ClusterName
from kcp.tmc.model.names import STATE_LABEL, NamespaceLocator, sync_target_key


@dataclass(frozen=True, slots=True)
class Identity:
    """One SyncTarget: its workspace, name and uid."""

    cluster: ClusterName
    """Logical cluster of the SyncTarget (a name, not a path)."""
    name: str
    uid: str

    @property
    def key(self) -> str:
        return sync_target_key(self.cluster, self.name)

    @property
    def state_label(self) -> str:
        return STATE_LABEL + self.key

    def locator(self, cluster: ClusterName, namespace: str) -> NamespaceLocator:
        return NamespaceLocator(self.cluster, self.name, self.uid, cluster, namespace)

    def view_path(self) -> str:
        """Base path of this target's virtual workspace, all workspaces in one."""
        return f"/services/syncer/{self.cluster}/{self.name}/{self.uid}/clusters/*"
