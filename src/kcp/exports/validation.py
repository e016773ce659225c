"""Rules of APIResourceSchemas, APIExports and APIBindings, in kcp's words. Pure.

kcp answers 403 to what its admission finds, and 422 to what rules in its CRDs find: `*_faults` are the former, `*_rule_faults` the latter.
The rules of CRDs are written out here, because CEL would be imported at start for them.
Before: `admission`. After: `apis.kubernetes.crds`, the rules that a schema shares with a CRD.
Source: kcp pkg/admission/{apiresourceschema,apiexport,apibinding}, sdk/apis/apis/{v1alpha1,v1alpha2} (XValidation).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from kcp.apimachinery import meta, names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.admission import client_config
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at
from kcp.apis.kubernetes.crd_versions import Places, deprecation_faults, version_faults
from kcp.apis.kubernetes.crds import SINGLE_SEGMENT_GROUPS, approval_faults, names_faults, review_version_faults
from kcp.exports.claims import ACCEPTED, ClaimKey
from kcp.exports.conversion import PERMISSION_CLAIMS, RESOURCE_SCHEMAS
from kcp.exports.names import ExportReference

_PREFIX = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
_prefix = re.compile(_PREFIX.removesuffix("$") + r"\Z")


# --- APIResourceSchema ---


def schema_faults(new: JSONObject, old: JSONObject | None) -> Iterator[Cause]:
    spec = obj_at(new, "spec")
    if old is not None:
        # What is stored was checked when it was made, and may not change since.
        if old.get("spec") != new.get("spec"):
            yield Cause.invalid("spec", "", "is immutable")
        return
    group, plural = str(spec.get("group") or ""), str(obj_at(spec, "names").get("plural") or "")
    if plural:
        yield from _schema_name(meta.name(new), f".{plural}.{group or 'core'}")
    yield from approval_faults(new, group)
    yield from _schema_group(group)
    yield from _schema_versions(spec)
    yield from names_faults(obj_at(spec, "names"), "spec.names")


def _schema_name(name: str, ending: str) -> Iterator[Cause]:
    if not name.endswith(ending):
        yield Cause.invalid("metadata.name", name, f"must end in {ending}")
    elif not _prefix.match(name.removesuffix(ending)):
        yield Cause.invalid("metadata.name", name, f"must match {_PREFIX} in front of {ending}")


def _schema_group(group: str) -> Iterator[Cause]:
    if not group:
        return
    if group == "core":
        yield Cause.invalid("spec.group", group, "must be empty string for the core group")
    elif faults := names.dns1123_subdomain(group):
        yield Cause.invalid("spec.group", group, ",".join(faults))
    elif "." not in group and group not in SINGLE_SEGMENT_GROUPS:
        yield Cause.invalid("spec.group", group, "should be a domain with at least one dot")


def _schema_versions(spec: Mapping[str, Any]) -> Iterator[Cause]:
    for at, version in numbered(spec, "versions", "spec.versions"):
        if faults := names.dns1035_label(str(version.get("name") or "")):
            yield Cause.invalid(f"{at}.name", version.get("name"), ",".join(faults))
        yield from deprecation_faults(version, at)
        if not isinstance(version.get("schema"), Mapping):
            yield Cause.required(f"{at}.schema")
        as_in_crd = {**version, "schema": {"openAPIV3Schema": version.get("schema")}}
        yield from version_faults(as_in_crd, replace(Places.of(at), schema=f"{at}.schema"))
    held = [version.get("name") for _, version in numbered(spec, "versions", "")]
    if len(set(held)) != len(held):
        yield Cause.invalid("spec.versions", held, "must contain unique version names")
    if sum(bool(version.get("storage")) for _, version in numbered(spec, "versions", "")) != 1:
        yield Cause.invalid("spec.versions", held, "must have exactly one version marked as storage version")


def schema_rule_faults(new: JSONObject, old: JSONObject | None) -> Iterator[Cause]:
    """A schema with several versions may leave its conversion out, as it might before kcp had webhooks for it: then it is None."""
    conversion = obj_at(new, "spec", "conversion")
    if old is not None or not conversion:
        return
    yield from checks.one_of(conversion, "spec.conversion", "strategy", ("None", "Webhook"))
    strategy, webhook = conversion.get("strategy"), obj_at(conversion, "webhook")
    if strategy in ("None", "Webhook") and (strategy == "Webhook") != ("webhook" in conversion):
        yield _broken("spec.conversion", "Webhook must be specified if strategy=Webhook")
    elif webhook:
        at = "spec.conversion.webhook"
        if "url" in obj_at(webhook, "clientConfig"):
            yield from client_config(obj_at(webhook, "clientConfig"), f"{at}.clientConfig")
        else:
            yield Cause.required(f"{at}.clientConfig.url", "a conversion webhook is called by its URL: name it here")
        yield from review_version_faults(list_at(webhook, "conversionReviewVersions"), f"{at}.conversionReviewVersions")


def _broken(at: str, message: str) -> Cause:
    """The fault of a rule about an object, which is not shown."""
    return Cause.invalid(at, "object", message)


# --- APIExport ---


def export_faults(new: JSONObject, version: str) -> Iterator[Cause]:
    """The first fault; those of its claims are in `claimpolicies`. Args: version: the one it is shown in."""
    yield from _overhanging(new) if version == "v1alpha1" else ()
    for at, resource in numbered(obj_at(new, "spec"), "resources", "spec.resources"):
        if "/" in str(resource.get("name")):
            why = "custom subresources are not served here: only a resource's schema can give it subresources, status and scale"
            yield Cause.invalid(f"{at}.name", resource.get("name"), why)
        ending = f".{resource.get('name')}.{resource.get('group') or 'core'}"
        if not str(resource.get("schema")).endswith(ending):
            yield Cause.invalid(f"{at}.schema", resource.get("schema"), f"must end in {ending}")


def _overhanging(export: JSONObject) -> Iterator[Cause]:
    """What a v1alpha1 export carries in annotations must be legible and fit its spec."""
    spec, annotations = obj_at(export, "spec"), meta.annotations(export)
    if (text := annotations.get(RESOURCE_SCHEMAS)) is not None:
        at, found = f"metadata.annotations[{RESOURCE_SCHEMAS}]", _entries(text)
        if found is None:
            yield Cause.invalid(at, text, "failed to decode overhanging resource schemas")
            return
        schemas = [entry.get("schema") for entry in found] + list_at(spec, "latestResourceSchemas")
        if len(set(schemas)) != len(schemas):
            yield Cause.invalid(at, text, "duplicate resource schema")
    if (text := annotations.get(PERMISSION_CLAIMS)) is not None:
        at, found = f"metadata.annotations[{PERMISSION_CLAIMS}]", _entries(text)
        if found is None:
            yield Cause.invalid(at, text, "failed to decode overhanging permission claims")
            return
        claimed = {_claimed(claim) for _, claim in numbered(spec, "permissionClaims", "")}
        if not {_claimed(claim) for claim in found} <= claimed:
            yield Cause.invalid(at, text, "permission claims defined in annotation do not match permission claims defined in spec")


def _entries(text: str) -> list[JSONObject] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, list) and all(isinstance(entry, dict) for entry in found) else None


def _claimed(claim: Mapping[str, Any]) -> tuple[str, str, str]:
    return claim.get("group") or "", claim.get("resource") or "", claim.get("identityHash") or ""


def export_rule_faults(new: JSONObject, version: str) -> Iterator[Cause]:
    spec = obj_at(new, "spec")
    if isinstance(policy := spec.get("maximalPermissionPolicy"), Mapping) and "local" not in policy:
        yield Cause.required("spec.maximalPermissionPolicy.local")
    for at, claim in numbered(spec, "permissionClaims", "spec.permissionClaims"):
        if version == "v1alpha1":
            yield from _claim_by_name(claim, at)
        elif "defaultSelector" in claim:
            yield from _selector(obj_at(claim, "defaultSelector"), f"{at}.defaultSelector")


def _claim_by_name(claim: Mapping[str, Any], at: str) -> Iterator[Cause]:
    if bool(claim.get("all")) == bool(claim.get("resourceSelector")):
        yield _broken(at, 'either "all" or "resourceSelector" must be set')
    for where, chosen in numbered(claim, "resourceSelector", f"{at}.resourceSelector"):
        if not chosen.get("name") and not chosen.get("namespace"):
            yield _broken(where, "at least one field must be set")


def _selector(selector: Mapping[str, Any], at: str) -> Iterator[Cause]:
    if sum(bool(selector.get(part)) for part in ("matchAll", "matchLabels", "matchExpressions")) != 1:
        yield _broken(at, 'either "matchAll", "matchLabels" or "matchExpressions" must be set')
    labelled = {part: selector[part] for part in ("matchLabels", "matchExpressions") if part in selector}
    yield from checks.selector(labelled, at)


# --- APIBinding ---


def binding_faults(new: JSONObject, old: JSONObject | None) -> Iterator[Cause]:
    reference = ExportReference.of(new)
    if reference is None:
        yield Cause.required("spec.reference.export", ".spec.reference.export is required")
    elif not reference.name:
        yield Cause.required("spec.reference.export.name")
    before, after = (obj_at(binding, "status").get("phase") or "" for binding in (old, new))
    if before and not after:
        yield Cause.forbidden("status.phase", f'cannot transition from "{before}" to ""')


def binding_rule_faults(new: JSONObject, old: JSONObject | None, version: str) -> Iterator[Cause]:
    if old is not None and ExportReference.of(old) != ExportReference.of(new):
        yield _broken("spec.reference", "APIExport reference must not be changed")
    for at, claim in numbered(obj_at(new, "spec"), "permissionClaims", "spec.permissionClaims"):
        if version == "v1alpha1":
            yield from _claim_by_name(claim, at)
        elif "selector" not in claim:
            yield Cause.required(f"{at}.selector")
        elif "/" in str(claim.get("resource")) and not claim["selector"]:
            continue  # of a subresource: what is selected is the resource
        elif claim not in list_at(old, "spec", "permissionClaims"):  # a v1alpha1 claim by name selects nothing by label
            yield from _selector(obj_at(claim, "selector"), f"{at}.selector")


def narrowed_faults(new: JSONObject, is_replicated: Callable[[ClaimKey], bool]) -> Iterator[Cause]:
    """Of one copy for all consumers, none can show a part: nobody may think that what is accepted is a part.

    Source: kcp pkg/permissionclaim/cachedresource.go, pkg/admission/apibinding.
    """
    for at, claim in numbered(obj_at(new, "spec"), "permissionClaims", "spec.permissionClaims"):
        is_whole = claim.get("all") or obj_at(claim, "selector").get("matchAll")
        if claim.get("state") == ACCEPTED and not is_whole and claim.get("identityHash") and is_replicated(key := ClaimKey.of(claim)):
            why = f"{key.group_resource} is served from a ClusterCachedResource: only all of it can be accepted, by matchAll"
            yield Cause.forbidden(f"{at}.selector", why)


def slice_rule_faults(new: JSONObject, old: JSONObject | None) -> Iterator[Cause]:
    if old is not None and ExportReference.of_slice(old) != ExportReference.of_slice(new):
        yield _broken("spec.export", "APIExport reference must not be changed")


def joined(faults: Iterable[Cause]) -> str:
    """Several faults as kcp's admission prints them.

    >>> joined([Cause.required("spec"), Cause.required("status")])
    '[spec: Required value status: Required value]'
    """
    return f"[{' '.join(map(str, faults))}]"
