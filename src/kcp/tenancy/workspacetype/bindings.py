"""The APIBindings that a workspace type asks for: which, and what is in them. Pure.

Called by `initialization`, which makes them in a new workspace, and `maintenance`, which keeps them.
Source: kcp pkg/reconciler/tenancy/initialization/apibinder_initializer_reconcile.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.tenancy import kinds
from kcp.tenancy.workspacetype.model import ExportReference

ClaimsOf = Callable[[ExportReference], Sequence[JSONObject]]
"""The permission claims of an APIExport; none while it is unknown."""


def claims_from(get_export: Callable[[ObjectKey], JSONObject | None], resolve: Callable[[str], ClusterName | None]) -> ClaimsOf:
    """Args: get_export: `Informer.peek` of the APIExports. resolve: workspace path → cluster."""

    def claims_of(export: ExportReference) -> Sequence[JSONObject]:
        cluster = resolve(export.path)
        held = get_export(ObjectKey(cluster, "", export.export)) if cluster is not None else None
        return meta.nested(held, "spec", "permissionClaims", default=()) if held is not None else ()

    return claims_of


def binding_object(name: str, export: ExportReference, claims: Sequence[JSONObject] = ()) -> JSONObject:
    """A default binding accepts all that its export claims."""
    spec: JSONObject = {"reference": {"export": {"path": export.path, "name": export.export}}}
    if claims:
        spec["permissionClaims"] = [_accepted(claim) for claim in claims]
    return {"apiVersion": kinds.API_BINDINGS.api_version, "kind": "APIBinding", "metadata": {"name": name}, "spec": spec}


def _accepted(claim: JSONObject) -> JSONObject:
    asked = {key: value for key, value in claim.items() if key != "defaultSelector"}
    return {**asked, "selector": claim.get("defaultSelector") or {"matchAll": True}, "state": "Accepted"}


def exports_for(bindings: Iterable[ExportReference], path: str) -> list[ExportReference]:
    """The default bindings a workspace at `path` needs; an export is not bound in the workspace it comes from."""
    return [export for export in bindings if export.path != path]


def missing_and_unready(
    wanted: Iterable[ExportReference], bindings: Iterable[Mapping[str, object]]
) -> tuple[list[ExportReference], list[str]]:
    """Exports without a binding, and names of bindings that are not bound yet. Any binding to the export counts, whatever its name."""
    by_export = {export_of(b): b for b in bindings if not meta.deletion_timestamp(b)}
    missing = [export for export in wanted if export not in by_export]
    unready = sorted(meta.name(by_export[e]) for e in wanted if e in by_export and not _is_bound(by_export[e]))
    return missing, unready


def export_of(binding: Mapping[str, object]) -> ExportReference:
    export = meta.nested(binding, "spec", "reference", "export", default={})
    return ExportReference(export.get("path") or "", export.get("name") or "")


def _is_bound(binding: Mapping[str, object]) -> bool:
    return meta.nested(binding, "status", "phase") == "Bound" or conditions.is_true(binding, "InitialBindingCompleted")
