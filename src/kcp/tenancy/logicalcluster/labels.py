"""Labels of Workspaces and LogicalClusters that say their phase, what initializes them and what terminates them. Pure.

The initializing and terminating virtual workspaces select by them.
Source: kcp pkg/reconciler/core/logicalcluster/logicalcluster_reconcile_metadata.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kcp.tenancy import kinds
from kcp.tenancy.logicalcluster.names import initializer_label, terminator_label

_PREFIXES = (kinds.INITIALIZER_LABEL_PREFIX, kinds.TERMINATOR_LABEL_PREFIX)


def phase_labels(phase: str, initializers: Iterable[str], terminators: Iterable[str] = ()) -> dict[str, str]:
    """The labels that virtual workspaces and users select by."""
    return {
        kinds.PHASE_LABEL: phase,
        **dict(initializer_label(i) for i in initializers),
        **dict(terminator_label(t) for t in terminators),
    }


def with_phase_labels(
    labels: Mapping[str, str], phase: str, initializers: Iterable[str], terminators: Iterable[str] = ()
) -> dict[str, str]:
    """`labels` with those of phase, initializers and terminators brought up to date, others kept."""
    kept = {k: v for k, v in labels.items() if k != kinds.PHASE_LABEL and not k.startswith(_PREFIXES)}
    return kept | phase_labels(phase, initializers, terminators)
