"""What initializing and terminating differ in: words, labels, and when a workspace is open to whoever does it.

Before: `backend`, `workspace`. After: `tenancy`.
Source: kcp pkg/virtual/{initializing,terminating}workspaces, sdk/apis/tenancy/{initialization,termination}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.tenancy import kinds
from kcp.tenancy.logicalcluster.index import ClusterRecord
from kcp.tenancy.logicalcluster.names import initializer_label, terminator_label
from kcp.tenancy.workspacetype.model import WorkspaceType


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    """Of the virtual workspace in URLs."""
    verb: str
    """What one needs on the workspace type."""
    noun: str
    """`initializer` or `terminator`; its plural is the name of the field of a LogicalCluster's status."""
    group_prefix: str
    """Of the group that marks requests which were checked against the type's permissions."""
    selector: Callable[[str], LabelSelector]
    """Finds the LogicalClusters that wait for the one of this name."""
    shows: Callable[[JSONObject], bool]
    """Whether a LogicalCluster that is found so is at this stage."""
    waits_for: Callable[[ClusterRecord], Sequence[str]]
    """Whom a workspace is open to now."""
    permissions: Callable[[WorkspaceType], Sequence[JSONObject]]

    @property
    def field(self) -> str:
        return f"{self.noun}s"


def _initializing(initializer: str) -> LabelSelector:
    return LabelSelector.from_labels({kinds.PHASE_LABEL: kinds.INITIALIZING, **dict([initializer_label(initializer)])})


def _terminating(terminator: str) -> LabelSelector:
    return LabelSelector.from_labels(dict([terminator_label(terminator)]))


INITIALIZING = Stage(
    name="initializingworkspaces",
    verb="initialize",
    noun="initializer",
    group_prefix=kinds.INITIALIZER_GROUP_PREFIX,
    selector=_initializing,
    shows=lambda cluster: True,
    waits_for=lambda record: record.initializers if record.phase == kinds.INITIALIZING else (),
    permissions=lambda type_: type_.initializer_permissions,
)
TERMINATING = Stage(
    name="terminatingworkspaces",
    verb="terminate",
    noun="terminator",
    group_prefix=kinds.TERMINATOR_GROUP_PREFIX,
    selector=_terminating,
    shows=lambda cluster: bool(meta.deletion_timestamp(cluster)),
    waits_for=lambda record: record.terminators if record.deleting else (),
    permissions=lambda type_: type_.terminator_permissions,
)
