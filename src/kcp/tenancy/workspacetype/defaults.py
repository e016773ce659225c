"""The workspace types every installation has, in `root`. Data, built from what is switched on.

Called by `bootstrap.content`. Source: kcp config/root/workspacetype-*.yaml (0.11 for the TMC bindings).
"""

from __future__ import annotations

from dataclasses import dataclass

from kcp.apimachinery.meta import JSONObject
from kcp.tenancy.kinds import BATTERY, CREATE_ONLY, WORKSPACE_TYPES

_ROOT = "root"
_TMC_EXPORTS = ("scheduling.kcp.io", "workload.kcp.io", "tmc.kcp.io", "apiresource.kcp.io")


@dataclass(frozen=True, kw_only=True, slots=True)
class TypeOptions:
    """What a new workspace gets by default."""

    tmc: bool = False
    """Bind the APIs of TMC in every universal workspace."""
    compute_binding: bool = True
    """With TMC: also bind `kubernetes` of root:compute, so that a Deployment can be created in any new workspace."""
    compute_path: str = "root:compute"
    default_child_of_root: str = "organization"


def default_types(options: TypeOptions) -> list[JSONObject]:
    """root, universal, organization, team, home."""
    extend_universal = {"extend": {"with": [_reference("universal")]}}
    return [
        _type("universal", _universal(options), create_only=False),
        _type(
            "root",
            {
                **extend_universal,
                "defaultChildWorkspaceType": _reference(options.default_child_of_root),
                "limitAllowedParents": {"none": True},
            },
        ),
        _type(
            "organization",
            {
                **extend_universal,
                "defaultChildWorkspaceType": _reference("universal"),
                "limitAllowedChildren": {"types": [_reference("universal")]},
                "limitAllowedParents": {"types": [_reference("root")]},
            },
            battery=True,
        ),
        _type(
            "team",
            {
                **extend_universal,
                "defaultChildWorkspaceType": _reference("universal"),
                "limitAllowedParents": {"types": [_reference("organization"), _reference("team")]},
            },
            battery=True,
        ),
        _type(
            "home",
            {**extend_universal, "defaultChildWorkspaceType": _reference("universal"), "limitAllowedParents": {"none": True}},
        ),
    ]


def _universal(options: TypeOptions) -> JSONObject:
    exports = ["tenancy.kcp.io", "topology.kcp.io", *(_TMC_EXPORTS if options.tmc else ())]
    bindings = [{"path": _ROOT, "export": export} for export in exports]
    if options.tmc and options.compute_binding:
        bindings.append({"path": options.compute_path, "export": "kubernetes"})
    return {"initializer": True, "defaultChildWorkspaceType": _reference("universal"), "defaultAPIBindings": bindings}


def _reference(name: str) -> JSONObject:
    return {"name": name, "path": _ROOT}


def _type(name: str, spec: JSONObject, *, create_only: bool = True, battery: bool = False) -> JSONObject:
    annotations = {CREATE_ONLY: "true"} if create_only else {}
    if battery:
        annotations[BATTERY] = "workspace-types"
    metadata: JSONObject = {"name": name, "annotations": annotations} if annotations else {"name": name}
    return {"apiVersion": WORKSPACE_TYPES.api_version, "kind": "WorkspaceType", "metadata": metadata, "spec": spec}
