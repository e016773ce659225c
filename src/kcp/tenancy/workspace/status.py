"""What a Workspace's status says, given its LogicalCluster: a pure function from both to the wanted status.

Source: kcp pkg/reconciler/tenancy/workspace/workspace_reconcile_phase.go.
"""

from __future__ import annotations

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.meta import JSONObject
from kcp.tenancy import kinds
from kcp.tenancy.logicalcluster.labels import with_phase_labels
from kcp.tenancy.logicalcluster.lifecycle import forget_groups, pending_initializers, pending_terminators


def labelled(workspace: JSONObject) -> JSONObject:
    """A copy whose labels say what the status says; of the creator of a Ready workspace only the name is kept."""
    wanted: JSONObject = meta.copy_json(workspace)
    now = workspace.get("status") or {}
    wanted["metadata"]["labels"] = with_phase_labels(
        meta.labels(workspace), now.get("phase", ""), now.get("initializers") or (), now.get("terminators") or ()
    )
    if now.get("phase") == kinds.READY:
        forget_groups(wanted)
    return wanted


def unschedulable(workspace: JSONObject, problem: str, *, now: str) -> JSONObject:
    """A copy that says why the workspace has no shard."""
    wanted: JSONObject = meta.copy_json(workspace)
    meta.ensure(wanted, "status")["phase"] = kinds.SCHEDULING
    condition = conditions.build(
        kinds.WORKSPACE_SCHEDULED, conditions.FALSE, reason="Unschedulable", message=problem, severity="Error", now=now
    )
    conditions.set_condition(wanted, condition)
    return wanted


def scheduled(workspace: JSONObject, cluster: JSONObject | None, *, now: str) -> JSONObject:
    """A copy that mirrors the phase and initializers of its logical cluster; `cluster` is None if that has disappeared."""
    wanted: JSONObject = meta.copy_json(workspace)
    conditions.set_condition(wanted, conditions.build(kinds.WORKSPACE_SCHEDULED, conditions.TRUE, now=now))
    if cluster is None:
        _disappeared(wanted, now)
        return wanted
    status = meta.ensure(wanted, "status")
    phase = meta.nested(cluster, "status", "phase", default=kinds.INITIALIZING)
    initializers = pending_initializers(cluster)
    status["phase"] = phase
    if initializers:
        status["initializers"] = initializers
    else:
        status.pop("initializers", None)
    if terminators := pending_terminators(cluster):
        status["terminators"] = terminators
    else:
        status.pop("terminators", None)
    conditions.set_condition(wanted, _initialized(phase, initializers, now))
    _copy_condition(cluster, wanted, kinds.BINDINGS_INITIALIZED)
    return wanted


def deleting(workspace: JSONObject, cluster: JSONObject) -> JSONObject:
    """A copy of a deleted workspace that tells what its logical cluster tells of its deletion."""
    wanted: JSONObject = meta.copy_json(workspace)
    phase = meta.nested(cluster, "status", "phase", default="")
    status = meta.ensure(wanted, "status")
    if phase in (kinds.TERMINATING, kinds.DELETING):
        status["phase"] = phase
    if terminators := pending_terminators(cluster):
        status["terminators"] = terminators
    else:
        status.pop("terminators", None)
    if (told := conditions.get(cluster, kinds.CONTENT_DELETED)) is not None:
        conditions.set_condition(wanted, dict(told))
    return wanted


def _initialized(phase: str, initializers: list[str], now: str) -> JSONObject:
    if phase == kinds.INITIALIZING or initializers:
        return conditions.build(
            kinds.WORKSPACE_INITIALIZED, conditions.FALSE, reason="InitializerExists", severity="Info",
            message=f"Initializers still exist: [{' '.join(initializers)}]", now=now,
        )  # fmt: skip
    return conditions.build(kinds.WORKSPACE_INITIALIZED, conditions.TRUE, now=now)


def _disappeared(wanted: JSONObject, now: str) -> None:
    phase = meta.nested(wanted, "status", "phase", default="")
    meta.ensure(wanted, "status")["phase"] = kinds.UNAVAILABLE if phase == kinds.READY else phase or kinds.INITIALIZING
    condition = conditions.build(
        kinds.WORKSPACE_INITIALIZED, conditions.FALSE, reason="WorkspaceDisappeared", severity="Error",
        message="LogicalCluster disappeared", now=now,
    )  # fmt: skip
    conditions.set_condition(wanted, condition)


def _copy_condition(source: JSONObject, target: JSONObject, kind: str) -> None:
    """Show a condition of the logical cluster, where few users look, on the workspace; drop it once it is true."""
    held = conditions.get(source, kind)
    if held is None or held.get("status") == conditions.TRUE:
        conditions.remove(target, kind)
    else:
        conditions.set_condition(target, dict(held))
