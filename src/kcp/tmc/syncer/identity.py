"""Who a syncer works for."""

from __future__ import annotations

from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.errors import ErrorType, TMCError
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

    def view_path(self, view: str = "syncer") -> str:
        """Base path of one of this target's virtual workspaces, `syncer` or `upsyncer`, all workspaces in one."""
        return f"/services/{view}/{self.cluster}/{self.name}/{self.uid}/clusters/*"


def made_anew(target: JSONObject, uid: str) -> TMCError:
    """The SyncTarget has another uid than the one that its syncer was started for."""
    name = meta.name(target)
    message = (
        f'SyncTarget "{name}" has uid {meta.uid(target)}, not {uid}: it was made anew, or the uid was mistyped; '
        f"start with --sync-target-uid={meta.uid(target)}"
    )
    return TMCError(ErrorType.CONFIGURATION, message, name, "identify")
