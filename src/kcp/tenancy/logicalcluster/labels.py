"""Labels of Workspaces and LogicalClusters that say their phase and what initializes them. Pure.

The initializing virtual workspace selects by them. Source: kcp pkg/reconciler/core/logicalcluster/logicalcluster_reconcile_metadata.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kcp.tenancy import kinds
from kcp.tenancy.logicalcluster.names import initializer_label


def phase_labels(phase: str, initializers: Iterable[str]) -> dict[str, str]:
    """The labels that virtual workspaces and users select by."""
    return {kinds.PHASE_LABEL: phase, **dict(initializer_label(i) for i in initializers)}


def with_phase_labels(labels: Mapping[str, str], phase: str, initializers: Iterable[str]) -> dict[str, str]:
    """`labels` with the phase and initializer labels brought up to date, others kept."""
    kept = {k: v for k, v in labels.items() if k != kinds.PHASE_LABEL and not k.startswith(kinds.INITIALIZER_LABEL_PREFIX)}
    return kept | phase_labels(phase, initializers)
