"""Why is this Deployment, or whatever else clusters run, not where it should be: what `diagnose` says of synced objects.

From the object's own conditions outwards: the namespace it is in, the placements of the workspace. The clusters are not asked: what they
say stands in the condition `Synced`.
Before: `plugin_diagnose`. After: `plugin_findings`, the API.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_findings import REMEDIES, Finding, condition_findings, deletion_findings
from kcp.cli.plugin_session import Session
from kcp.client import kubeconfig

PLACEMENTS = GVR("scheduling.kcp.io", "v1alpha1", "placements")
NAMESPACES = GVR("", "v1", "namespaces")

KINDS = {
    "deployment": GVR("apps", "v1", "deployments"), "statefulset": GVR("apps", "v1", "statefulsets"),
    "daemonset": GVR("apps", "v1", "daemonsets"), "job": GVR("batch", "v1", "jobs"), "cronjob": GVR("batch", "v1", "cronjobs"),
    "service": GVR("", "v1", "services"), "ingress": GVR("networking.k8s.io", "v1", "ingresses"),
    "persistentvolumeclaim": GVR("", "v1", "persistentvolumeclaims"),
}  # fmt: skip
ALIASES = {
    "deploy": "deployment", "sts": "statefulset", "ds": "daemonset", "cj": "cronjob", "svc": "service", "ing": "ingress",
    "ingresses": "ingress", "pvc": "persistentvolumeclaim",
}  # fmt: skip
_STATE_LABEL = "state.workload.kcp.io/"
_GOOD_IF_FALSE = frozenset(("Drifted", "ReplicaFailure", "Failed", "Suspended", "FailureTarget"))
"""Types of conditions that tell of a fault by being True."""
_GOOD_IF_ABSENT = frozenset(("Complete", "SuccessCriteriaMet"))
"""Of jobs: not True before the end, and that is no fault."""


def namespace_of(session: Session, given: str) -> str:
    """As kubectl finds it: the flag, the context's, `default`."""
    return given or (kubeconfig.find(session.merged, "contexts", session.context) or {}).get("namespace") or "default"


async def workload_findings(session: Session, obj: JSONObject, kind: str) -> AsyncIterator[Finding]:
    for finding in [*deletion_findings(obj, kind), *_own(obj)]:
        yield finding
    async for finding in _around(session, obj):
        yield finding


def _own(obj: JSONObject) -> Iterator[Finding]:
    """What its conditions say, each read the way it is meant."""
    for condition in meta.nested(obj, "status", "conditions", default=()):
        kind, is_true = condition.get("type"), condition.get("status") == "True"
        if kind in _GOOD_IF_ABSENT or is_true != (kind in _GOOD_IF_FALSE):
            continue
        if not is_true:
            yield from condition_findings({"status": {"conditions": [condition]}})
            continue
        reason = condition.get("reason") or ""
        said = str(condition.get("message") or "").rstrip(".")
        yield Finding(f"{kind} is True: {reason}: {said}.", REMEDIES.get(reason, ""))
    pending = [label for label, state in meta.labels(obj).items() if label.startswith(_STATE_LABEL) and not state]
    if pending:
        yield Finding(f"{len(pending)} of its clusters are chosen, and not yet given to their syncers.", "This passes by itself.")


async def _around(session: Session, obj: JSONObject) -> AsyncIterator[Finding]:
    """Why no cluster is chosen for it, where none is."""
    if any(label.startswith(_STATE_LABEL) for label in meta.labels(obj)):
        return
    try:
        namespace = await session.workspace.resource(NAMESPACES).get(meta.namespace(obj))
        placements = (await session.workspace.resource(PLACEMENTS).list()).items
    except Forbidden:
        yield Finding("You may not read its namespace and the placements here.", "Ask an administrator of the workspace.", is_fault=False)
        return
    except NotFound:
        yield Finding("No cluster runs it: there are no placements in this workspace.", _WITHOUT_TMC)
        return
    held = meta.nested(namespace, "status", "conditions", default=())
    scheduled = next((condition for condition in held if condition.get("type") == "NamespaceScheduled"), None)
    if scheduled is not None and scheduled.get("status") != "True":
        said = str(scheduled.get("message") or scheduled.get("reason") or "").rstrip(".")
        yield Finding(f"No cluster is chosen for its namespace {meta.name(namespace)}: {said}.", _NONE if not placements else "")
    elif not placements:
        yield Finding("No cluster runs it: there is no Placement here.", _NONE)
    for placement in placements:
        for finding in condition_findings(placement):
            yield Finding(f"Placement {meta.name(placement)}: {finding.what}", finding.remedy)


_NONE = "`kubectl kcp bind compute PATH` makes one, PATH being the workspace of the SyncTargets."
_WITHOUT_TMC = "Bind scheduling.kcp.io, as new workspaces do under `kcp start --enable-tmc`."
