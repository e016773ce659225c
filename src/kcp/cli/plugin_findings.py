"""What is wrong with an object, in sentences: from its conditions and from what it depends on. Pure.

Before: `plugin_diagnose`, which reads the objects. After: nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject

LONGEST_SHOWN = 400
"""Characters of a message; the rest repeats itself."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and what to do about it."""

    what: str
    remedy: str
    is_fault: bool = True
    """False: worth knowing, but nothing waits for it."""

    def lines(self) -> list[str]:
        return [f"- {self.what}", f"  → {self.remedy}"] if self.remedy else [f"- {self.what}"]


REMEDIES: Mapping[str, str] = {
    "Unschedulable": "Add a shard whose labels match spec.location.selector, or make the workspace again with another --location-selector.",
    "InitializerExists": "Its initializers are listed below; each has to be removed by its controller.",
    "WorkspaceDisappeared": "Its logical cluster is gone; delete the workspace and make it again.",
    "WaitingOnAPIBindings": "Its default APIBindings are listed below.",
    "WorkspaceTypesInvalid": "Correct the WorkspaceType that is named, or make the workspace with another --type.",
    "APIBindingErrors": "Its default APIBindings are listed below.",
    "APIExportInvalidReference": "Correct spec.reference.export: it is immutable, so delete the APIBinding and bind again.",
    "APIExportNotFound": "Create the APIExport in that workspace, or bind the right one with `kubectl kcp bind apiexport`.",
    "APIResourceSchemaInvalid": "The provider has to create the APIResourceSchema that its APIExport names, or to correct it.",
    "NamingConflicts": "Another APIBinding or CRD here serves the same resource: delete one of the two, with what is stored in it.",
    "WaitingForEstablished": "See the naming conflict; without one, this passes by itself.",
    "SomeResourcesRemain": "Objects of the bound API wait for their finalizers: see them with `kubectl get`, and end what holds them.",
    "InvalidPermissionClaims": "Answer only what the APIExport asks for: `kubectl kcp claims get apibinding` lists both sides.",
    "PermissionClaimsMismatch": "Answer with the verbs that the APIExport asks for: `kubectl kcp claims accept apibinding NAME --all`.",
    "IdentityGenerationFailed": "See whether the namespace of the identity Secret (kcp-system) can be written to.",
    "IdentityVerificationFailed": "Make the identity Secret, or put the old key back: the identity of an APIExport cannot change.",
    "PartitionNotFound": "Create the Partition that is named, in this workspace, or correct spec.partition.",
    "SyncerNotConnected": "Start its syncer: `kubectl kcp workload sync --help` says how.",
    "ErrorHeartbeat": "Its syncer has gone silent: see whether it runs, and whether it reaches this server.",
    "LocationNotFound": "Create a Location in the workspace of spec.locationWorkspace, or correct spec.locationWorkspace.",
    "LocationNoMatch": "No Location has labels that match spec.locationSelectors: label one, or change the selectors.",
    "NotPlaced": "Its Placement says why; without one, `kubectl kcp bind compute PATH` makes it.",
    "ClusterNotReady": "`kubectl kcp diagnose synctargets`, in the workspace of that cluster, says what is wrong with it.",
    "NotReported": "See whether the syncer of that cluster runs: `kubectl kcp diagnose synctargets` in its workspace.",
    "Contested": "Somebody keeps changing the copy in the cluster: stop them, or change the object here.",
    "NoValidTarget": "Make a SyncTarget of its Locations ready; the message says what keeps each of them.",
}  # fmt: skip


def condition_findings(obj: JSONObject) -> Iterator[Finding]:
    """One for each condition that is not True; the summary `Ready` last, and only if it gives a reason that no other one gives."""
    told = [c for c in meta.nested(obj, "status", "conditions", default=()) if c.get("status") != "True"]
    seen: set[tuple[str, str]] = set()
    for c in sorted(told, key=lambda c: c.get("type") == "Ready"):
        reason, message = c.get("reason") or "", shorten(c.get("message") or "", LONGEST_SHOWN, placeholder=" …")
        if (reason, message) in seen or (c.get("type") == "Ready" and reason in {known for known, _ in seen}):
            continue
        seen.add((reason, message))
        said = ": ".join(text for text in (reason, message) if text) or f"status {c.get('status')}"
        yield Finding(f"{c.get('type')} is {c.get('status')}: {said}.".replace("..", "."), REMEDIES.get(reason, ""))


def deletion_findings(obj: JSONObject, kind: str) -> Iterator[Finding]:
    """An object that is on its way out, and what holds it."""
    if not meta.deletion_timestamp(obj):
        return
    name, held = meta.name(obj), ", ".join(meta.finalizers(obj)) or "nothing"
    yield Finding(f"It is being deleted since {meta.deletion_timestamp(obj)}; its finalizers: {held}.",
                  f"Wait for the owners of the finalizers; what they say stands in `kubectl get {kind} {name} -o yaml`.")  # fmt: skip


def phase_finding(obj: JSONObject, *, ready: Sequence[str]) -> Iterator[Finding]:
    phase = meta.nested(obj, "status", "phase", default="")
    if phase not in ready:
        yield Finding(_PHASES.get(phase, f"Its phase is {phase}.") if phase else "No controller has looked at it yet.", "")


_PHASES = {
    "Scheduling": "It is being scheduled: no shard has taken it yet.",
    "Initializing": "It is being initialized: only its initializers' controllers and its owner may enter.",
    "Unavailable": "It is unavailable: what it is mounted on, or its shard, does not answer.",
    "Inactive": "It is inactive: all requests are refused.",
    "Terminating": "It is terminating: its terminators' controllers are still at work.",
    "Deleting": "It is being emptied.",
    "Binding": "It is being bound.",
    "Pending": "It is pending.",
    "Unbound": "It chose no location.",
}


def initializer_findings(initializers: Sequence[str], urls: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Args: urls: initializer → where its controller watches, as far as its type can be read."""
    for initializer in initializers:
        if initializer == "system:apibindings":
            yield Finding("It waits for its default APIBindings (initializer system:apibindings).", "They are listed below.")
            continue
        path, _, name = initializer.rpartition(":")
        where = f" at {urls[initializer][0]}" if urls.get(initializer) else ""
        yield Finding(
            f"Initializer {initializer} is not done.",
            f"The controller of WorkspaceType {name} in {path} has to remove it{where}: see that it runs, and that it may `initialize`"
            f" workspacetypes/{name} there.",
        )


def claim_findings(binding: JSONObject) -> Iterator[Finding]:
    """What the provider asks for, and the binding neither grants nor refuses; what it grants, and nobody asks for."""
    name = meta.name(binding)
    answered = {_key(c): c for c in meta.nested(binding, "spec", "permissionClaims", default=())}
    asked = {_key(c): c for c in meta.nested(binding, "status", "exportPermissionClaims", default=())}
    applied = {_key(c) for c in meta.nested(binding, "status", "appliedPermissionClaims", default=())}
    for key in asked:
        said = _text(key)
        if key not in answered:
            yield Finding(f"The provider asks for {said}, neither accepted nor rejected; it may not work without.",
                          f"`kubectl kcp claims accept apibinding {name} --resource {said}`, or `claims reject`.",
                          is_fault=False)  # fmt: skip
        elif answered[key].get("state") == "Accepted" and key not in applied and meta.nested(binding, "status", "phase") == "Bound":
            yield Finding(f"The accepted claim {said} is not applied: the two sides name no verb in common.",
                          f"Name the export's verbs ({', '.join(asked[key].get('verbs') or ())}) in spec.permissionClaims.")  # fmt: skip
        elif answered[key].get("state") == "Rejected":
            yield Finding(f"The claim {said} is rejected: the provider cannot see these objects.",
                          f"`kubectl kcp claims accept apibinding {name} --resource {said}`, if that is not meant.",
                          is_fault=False)  # fmt: skip
    if asked or meta.nested(binding, "status", "phase") == "Bound":
        for key in answered.keys() - asked.keys():
            yield Finding(f"The binding answers a claim for {_text(key)}, which its APIExport lacks.",
                          f"Take it out: `kubectl edit apibinding {name}`; another identityHash makes another claim.")  # fmt: skip


def _key(claim: JSONObject) -> tuple[str, str, str]:
    return claim.get("group") or "", claim["resource"], claim.get("identityHash") or ""


def _text(key: tuple[str, str, str]) -> str:
    return f"{key[1]}.{key[0] or 'core'}"


def export_findings(export: JSONObject, schemas: frozenset[str] | None, slices: Sequence[JSONObject] | None) -> Iterator[Finding]:
    """Args: schemas: names of the APIResourceSchemas that are there; slices: of this export. None: may not be read."""
    name = meta.name(export)
    resources = meta.nested(export, "spec", "resources", default=())
    if not resources and not meta.nested(export, "spec", "permissionClaims", default=()):
        yield Finding("It offers no resources.", "Name APIResourceSchemas in spec.resources; `kubectl kcp crd snapshot` makes them.",
                      is_fault=False)  # fmt: skip
    for entry in resources:
        if schemas is not None and entry.get("schema") not in schemas and "virtual" not in (entry.get("storage") or {}):
            yield Finding(f"APIResourceSchema {entry.get('schema')} for {entry.get('name')}.{entry.get('group')} does not exist.",
                          "Create it in this workspace, or name another in spec.resources.")  # fmt: skip
    if not meta.nested(export, "status", "identityHash"):
        yield Finding("It has no identity yet.", "Its controller makes a Secret in kcp-system; see the condition IdentityValid.")
    if slices is not None and not slices:
        yield Finding("It has no APIExportEndpointSlice: controllers find no URL to watch its consumers at.",
                      f"Create one that refers to {name}, or remove the annotation apiexports.apis.kcp.io/skip-endpointslice.",
                      is_fault=False)  # fmt: skip
