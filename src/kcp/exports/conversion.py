"""APIExports and APIBindings are stored as v1alpha2; this shows them as v1alpha1 and takes them back, losing nothing on the way.

What one version cannot say travels in annotations of the other's view. Before: `server.foundation` (resources of the kinds of our own).
Source: kcp sdk/apis/apis/v1alpha2/types_{apiexport,apibinding}_conversion.go.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.exports.names import APIS_GROUP, group_resource_of_schema
from kcp.registry.resource import Conversion

RESOURCE_SCHEMAS = "apis.v1alpha2.kcp.io/resource-schemas"
"""On a v1alpha1 APIExport: resources that are not stored as custom resources."""
PERMISSION_CLAIMS = "apis.v1alpha2.kcp.io/permission-claims"
"""On a v1alpha1 APIExport: claims with other verbs than `*`, or with a default selector."""
ACCEPTABLE_CLAIMS = "apis.v1alpha2.kcp.io/acceptable-permission-claims"
"""On a v1alpha1 APIBinding: the same, and claims that select by label."""
V1ALPHA1_CLAIMS = "apis.v1alpha2.kcp.io/v1alpha1-permission-claims"
"""On v1alpha2 objects: claims that select by name."""

_EVERY_VERB = ["*"]
_SAID_IN_BOTH = ("group", "resource", "identityHash", "state")


def conversion_of(plural: str, version: str) -> Conversion | None:
    """How a kind of the group apis.kcp.io is shown in a version it is not stored in; None: there is nothing to convert."""
    return _CONVERSIONS.get((plural, version))


def _export_from_stored(stored: JSONObject) -> JSONObject:
    export, spec = _opened(stored, "v1alpha1")
    resources = spec.pop("resources", None) or ()
    if latest := [r["schema"] for r in resources if _is_custom_resource(r)]:
        spec["latestResourceSchemas"] = latest
    _annotate(export, RESOURCE_SCHEMAS, [r for r in resources if not _is_custom_resource(r)])
    if claims := spec.get("permissionClaims"):
        _annotate(export, PERMISSION_CLAIMS, [c for c in claims if c.get("verbs") != _EVERY_VERB or "defaultSelector" in c])
        spec["permissionClaims"] = _old_claims(claims, _take(export, V1ALPHA1_CLAIMS))
    return export


def _export_to_stored(shown: JSONObject) -> JSONObject:
    export, spec = _opened(shown, "v1alpha2")
    resources = [_resource_of(name) for name in spec.pop("latestResourceSchemas", None) or ()]
    if resources := [*resources, *_take(export, RESOURCE_SCHEMAS)]:
        spec["resources"] = resources
    if claims := spec.get("permissionClaims"):
        _annotate(export, V1ALPHA1_CLAIMS, _selecting_by_name(claims))
        spec["permissionClaims"] = _new_claims(claims, _take(export, PERMISSION_CLAIMS))
    _take(export, PERMISSION_CLAIMS)
    return export


def _binding_from_stored(stored: JSONObject) -> JSONObject:
    binding, spec = _opened(stored, "v1alpha1")
    named = _take(binding, V1ALPHA1_CLAIMS)
    if claims := spec.get("permissionClaims"):
        _annotate(binding, ACCEPTABLE_CLAIMS, [c for c in claims if not _is_plain(c, named)])
        spec["permissionClaims"] = _old_claims(claims, named)
    _convert_status(binding, lambda claims: _old_claims(claims, named))
    return binding


def _binding_to_stored(shown: JSONObject) -> JSONObject:
    binding, spec = _opened(shown, "v1alpha2")
    wider = _take(binding, ACCEPTABLE_CLAIMS)
    if claims := spec.get("permissionClaims"):
        _annotate(binding, V1ALPHA1_CLAIMS, _selecting_by_name(claims))
        spec["permissionClaims"] = [_selecting(new, old) for new, old in zip(_new_claims(claims, wider), claims, strict=True)]
    _convert_status(binding, lambda claims: _new_claims(claims, wider))
    return binding


def _convert_status(binding: JSONObject, convert: Callable[[Sequence[JSONObject]], list[JSONObject]]) -> None:
    status = binding.get("status")
    if not isinstance(status, dict):
        return
    binding["status"] = status = dict(status)
    for name in ("appliedPermissionClaims", "exportPermissionClaims"):
        if claims := status.get(name):
            status[name] = convert(claims)


def _opened(obj: JSONObject, version: str) -> tuple[JSONObject, JSONObject]:
    """A copy whose metadata, annotations and spec may be changed."""
    opened = {**obj, "apiVersion": f"{APIS_GROUP}/{version}", "metadata": dict(obj["metadata"])}
    if annotations := opened["metadata"].get("annotations"):
        opened["metadata"]["annotations"] = dict(annotations)
    if isinstance(obj.get("spec"), dict):
        opened["spec"] = dict(obj["spec"])
    return opened, opened.get("spec") or {}


def _annotate(obj: JSONObject, name: str, value: Sequence[JSONObject]) -> None:
    meta.set_annotation(obj, name, json.dumps(value, separators=(",", ":")) if value else None)


def carried(obj: JSONObject, annotation: str) -> list[JSONObject]:
    """What an annotation carries; nothing if somebody wrote something else into it."""
    text = meta.annotations(obj).get(annotation)
    if text is None:
        return []
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _take(obj: JSONObject, annotation: str) -> list[JSONObject]:
    """What an annotation carries, which is removed."""
    found = carried(obj, annotation)
    meta.set_annotation(obj, annotation, None)
    return found


def _is_custom_resource(resource: Mapping[str, Any]) -> bool:
    storage = resource.get("storage") or {"crd": {}}
    return storage.get("crd") is not None


def _resource_of(schema: str) -> JSONObject:
    gr = group_resource_of_schema(schema)
    return {"group": gr.group, "name": gr.resource, "schema": schema, "storage": {"crd": {}}}


def _same(claim: Mapping[str, Any]) -> tuple[str, str, str]:
    return claim.get("group") or "", claim.get("resource") or "", claim.get("identityHash") or ""


def _is_plain(claim: Mapping[str, Any], named: Iterable[Mapping[str, Any]]) -> bool:
    """Whether v1alpha1 can say it all: every verb, on all objects or on those that `named` names."""
    by_name = any(_same(claim) == _same(other) for other in named)
    selector = claim.get("selector") or {"matchAll": True}
    return claim.get("verbs") == _EVERY_VERB and selector == {"matchAll": not by_name} and "defaultSelector" not in claim


def _selecting_by_name(claims: Iterable[Mapping[str, Any]]) -> list[JSONObject]:
    return [dict(claim) for claim in claims if claim.get("resourceSelector")]


def _old_claims(claims: Iterable[Mapping[str, Any]], named: Iterable[Mapping[str, Any]]) -> list[JSONObject]:
    """v1alpha1 claims. Args: named: those that select by name."""
    by_name = {_same(claim): claim["resourceSelector"] for claim in named if claim.get("resourceSelector")}
    found = []
    for claim in claims:
        old = {key: claim[key] for key in _SAID_IN_BOTH if key in claim}
        names = by_name.get(_same(claim))
        found.append({**old, "resourceSelector": names} if names else {**old, "all": True})
    return found


def _new_claims(claims: Iterable[Mapping[str, Any]], wider: Iterable[Mapping[str, Any]]) -> list[JSONObject]:
    """v1alpha2 claims. Args: wider: those of which v1alpha1 showed only a part."""
    carried = {_same(claim): claim for claim in wider}
    found = []
    for claim in claims:
        whole = carried.get(_same(claim), {})
        more = {key: value for key, value in whole.items() if key in ("verbs", "defaultSelector", "selector")}
        found.append({**{key: claim[key] for key in _SAID_IN_BOTH if key in claim}, "verbs": _EVERY_VERB, **more})
    return found


def _selecting(new: JSONObject, old: Mapping[str, Any]) -> JSONObject:
    """An accepted claim with its selector; one by name stays in the annotation and selects nothing by label."""
    return new if "selector" in new else {**new, "selector": {"matchAll": not old.get("resourceSelector")}}


_CONVERSIONS: Mapping[tuple[str, str], Conversion] = {
    ("apiexports", "v1alpha1"): Conversion(f"{APIS_GROUP}/v1alpha2", _export_to_stored, _export_from_stored),
    ("apibindings", "v1alpha1"): Conversion(f"{APIS_GROUP}/v1alpha2", _binding_to_stored, _binding_from_stored),
}
