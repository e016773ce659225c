"""The words in which a decision explains itself; they stand in status.decisions and in PlacementDecisions."""

from __future__ import annotations

from enum import StrEnum

from kcp.tmc.errors import ErrorType


class Reason(StrEnum):
    """Why a target was, or was not, chosen."""

    SELECTED = "Selected"
    KEPT = "Kept"
    """Chosen before and still fit."""
    KEPT_UNREADY = "KeptWhileUnready"
    """Chosen before, not ready now, but for less than the eviction grace, or nobody else could take its work."""
    KEPT_FOR_BUDGET = "KeptForBudget"
    """To be left, but as many clusters as the budget allows are being left already."""
    LOCATION_MISMATCH = "LocationNotMatched"
    WORKSPACE_NOT_SERVED = "WorkspaceNotServed"
    NOT_READY = "NotReady"
    UNSCHEDULABLE = "Unschedulable"
    EVICTED = "Evicted"
    TAINTED = "TaintNotTolerated"
    API_INCOMPATIBLE = "APINotSupported"
    NO_GROUP = "InNoClusterGroup"
    CONSTRAINT = "ConstraintNotMet"
    INSUFFICIENT = "InsufficientResources"
    AFFINITY = "ClusterAffinityNotMatched"
    ANTI_AFFINITY = "ClusterAntiAffinityMatched"
    PLACEMENT_AFFINITY = "PlacementAffinityNotMet"
    PLACEMENT_ANTI_AFFINITY = "PlacementAntiAffinity"
    NO_TOPOLOGY = "TopologyLabelMissing"
    SKEW = "TopologySpread"
    """One more here would exceed maxSkew."""
    REBALANCED = "Rebalanced"
    """A better cluster takes its place."""
    NOT_NEEDED = "EnoughClustersChosen"


CHOSEN = frozenset({Reason.SELECTED, Reason.KEPT, Reason.KEPT_UNREADY, Reason.KEPT_FOR_BUDGET})


_ERRORS = {
    Reason.INSUFFICIENT: ErrorType.PLACEMENT_CAPACITY,
    Reason.NOT_READY: ErrorType.CLUSTER_UNAVAILABLE,
    Reason.UNSCHEDULABLE: ErrorType.PLACEMENT_POLICY,
    Reason.EVICTED: ErrorType.PLACEMENT_POLICY,
    Reason.TAINTED: ErrorType.PLACEMENT_POLICY,
    Reason.WORKSPACE_NOT_SERVED: ErrorType.PLACEMENT_POLICY,
}


def error_of(reason: Reason) -> ErrorType:
    """Which of TMC's errors a refusal is."""
    return _ERRORS.get(reason, ErrorType.PLACEMENT_CONSTRAINT)
