"""Defaults and rules of CustomResourceDefinitions.

Before: `rules`. After: `apimachinery.schema` (is the schema structural?).
Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/{v1/defaults.go,validation/validation.go}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kcp.apimachinery import conditions, jsonpath, meta, names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject, ensure, name
from kcp.apimachinery.schema.structural import structural_violations
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at
from kcp.apis.kubernetes.pod_defaults import fill

APPROVED = "api-approved.kubernetes.io"
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")


def default(obj: JSONObject) -> None:
    spec = ensure(obj, "spec")
    held = ensure(spec, "names")
    if kind := held.get("kind"):
        fill(held, singular=str(kind).lower(), listKind=f"{kind}List")
    fill(ensure(spec, "conversion"), strategy="None")
    stored = ensure(obj, "status").setdefault("storedVersions", [])
    for version in list_at(spec, "versions"):
        if isinstance(version, Mapping) and version.get("storage") and version.get("name") not in stored:
            stored.append(version.get("name"))


def validate(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    group, plural = str(spec.get("group") or ""), str(obj_at(spec, "names").get("plural") or "")
    causes: list[Cause] = []
    if name(new) != f"{plural}.{group}":
        causes.append(Cause.invalid("metadata.name", name(new), 'must be spec.names.plural+"."+spec.group'))
    causes += _group(group)
    causes += checks.one_of(spec, "spec", "scope", ("Cluster", "Namespaced"))
    causes += names_faults(obj_at(spec, "names"), "spec.names")
    causes += _versions(spec)
    causes += _conversion(obj_at(spec, "conversion"))
    if spec.get("preserveUnknownFields"):
        detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        causes.append(Cause.invalid("spec.preserveUnknownFields", spec["preserveUnknownFields"], detail))
    causes += _approval(new, group)
    causes += _stored_versions(new)
    return [*causes, *(_update(spec, old) if old is not None else ())]


def _group(group: str) -> Iterator[Cause]:
    if not group:
        yield Cause.required("spec.group")
        return
    yield from checks.named(group, "spec.group", names.dns1123_subdomain)
    if "." not in group:
        yield Cause.invalid("spec.group", group, "should be a domain with at least one dot")


def names_faults(held: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """Rules of a CRD's or APIResourceSchema's `names`."""
    for field in ("plural", "kind", "listKind"):
        if not held.get(field):
            yield Cause.required(f"{at}.{field}")
    for field in ("plural", "singular"):
        yield from checks.named(held.get(field), f"{at}.{field}", names.dns1035_label)
    for field in ("kind", "listKind"):
        for fault in names.dns1035_label(str(held[field]).lower()) if held.get(field) else ():
            yield Cause.invalid(f"{at}.{field}", held[field], f"may have mixed case, but should otherwise match: {fault}")
    if held.get("kind") and held.get("kind") == held.get("listKind"):
        yield Cause.invalid(f"{at}.listKind", held["listKind"], "kind and listKind may not be the same")
    for field in ("shortNames", "categories"):
        for index, text in enumerate(list_at(held, field)):
            yield from checks.named(text, f"{at}.{field}[{index}]", names.dns1035_label)


def _versions(spec: Mapping[str, Any]) -> Iterator[Cause]:
    versions = list_at(spec, "versions")
    shared = len(versions) == 1  # upstream moves a schema that all versions share to spec.validation, and its errors say so
    for path, version in numbered(spec, "versions", "spec.versions"):
        yield from checks.named(version.get("name"), f"{path}.name", names.dns1035_label)
        yield from version_faults(
            version, path, schema_at="spec.validation.openAPIV3Schema" if shared else f"{path}.schema.openAPIV3Schema"
        )
    held = [v.get("name") for v in versions if isinstance(v, Mapping)]
    if len(set(held)) != len(held):
        yield Cause.invalid("spec.versions", held, "must contain unique version names")
    if sum(bool(v.get("storage")) for v in versions if isinstance(v, Mapping)) != 1:
        yield Cause.invalid("spec.versions", held, "must have exactly one version marked as storage version")


def version_faults(version: Mapping[str, Any], at: str, *, schema_at: str) -> Iterator[Cause]:
    """Rules of one version of a CRD."""
    schema = obj_at(version, "schema").get("openAPIV3Schema")
    if not isinstance(schema, dict):
        yield Cause.required(schema_at, "schemas are required")
    else:
        wrong = structural_violations(schema, schema_at)
        yield from wrong
        if not wrong and declares_rules(schema):
            from kcp.apimachinery.cel.rulecheck import rule_faults

            yield from rule_faults(schema, schema_at)
    yield from subresource_faults(version, at)


def declares_rules(schema: Any) -> bool:
    """Whether a schema has x-kubernetes-validations anywhere: without them nothing of CEL is loaded."""
    waiting = [schema]
    while waiting:
        held = waiting.pop()
        if isinstance(held, Mapping):
            if "x-kubernetes-validations" in held:
                return True
            waiting += held.values()
        elif isinstance(held, list):
            waiting += held
    return False


def subresource_faults(version: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """Rules of scale paths, printer columns and selectable fields."""
    scale = obj_at(version, "subresources").get("scale")
    if isinstance(scale, Mapping):
        for field, root in (("specReplicasPath", ".spec"), ("statusReplicasPath", ".status"), ("labelSelectorPath", "")):
            yield from _scale_path(scale.get(field), root, f"{at}.subresources.scale.{field}")
    for path, column in numbered(version, "additionalPrinterColumns", f"{at}.additionalPrinterColumns"):
        yield from checks.required(column, path, "name", "type", "jsonPath")
        yield from checks.one_of(column, path, "type", _COLUMN_TYPES)
        yield from _json_path(column.get("jsonPath"), f"{path}.jsonPath")
    for path, selectable in numbered(version, "selectableFields", f"{at}.selectableFields"):
        where = str(selectable.get("jsonPath") or "")
        if not where or not jsonpath.simple_fields(where):
            yield Cause.invalid(f"{path}.jsonPath", where, "is an invalid path: must be a simple path to a field")


def _scale_path(text: Any, root: str, at: str) -> Iterator[Cause]:
    if not text:
        if root:
            yield Cause.required(at)
        return
    fields = jsonpath.simple_fields(str(text))
    if fields is None:
        yield Cause.invalid(at, text, "is an array-notated or malformed json path: must be a simple json path")
    elif root and (len(fields) < 2 or f".{fields[0]}" != root):
        yield Cause.invalid(at, text, f"should be a json path under {root}")
    elif not root and fields[0] not in ("spec", "status"):
        yield Cause.invalid(at, text, "should be a json path under either .spec or .status")


def _json_path(text: Any, at: str) -> Iterator[Cause]:
    if not isinstance(text, str) or not text:
        return
    if not text.startswith("."):
        yield Cause.invalid(at, text, "must be a simple json path starting with .")
        return
    try:
        jsonpath.compile(text)
    except jsonpath.JSONPathError as fault:
        yield Cause.invalid(at, text, f"is an invalid json path: {fault}")


def _conversion(conversion: Mapping[str, Any]) -> Iterator[Cause]:
    yield from checks.one_of(conversion, "spec.conversion", "strategy", ("None", "Webhook"))
    webhook = conversion.get("webhook")
    if conversion.get("strategy") == "Webhook":
        if not isinstance(webhook, Mapping) or not webhook.get("clientConfig"):
            yield Cause.required("spec.conversion.webhookClientConfig", "required when strategy is set to Webhook")
        elif not webhook.get("conversionReviewVersions"):
            yield Cause.required("spec.conversion.conversionReviewVersions")
    elif webhook:
        yield Cause.forbidden("spec.conversion.webhookClientConfig", "should not be set when strategy is not set to Webhook")


def is_protected_group(group: str) -> bool:
    """Groups under k8s.io and kubernetes.io belong to Kubernetes. Source: KEP-1111."""
    return group.endswith((".k8s.io", ".kubernetes.io")) or group in ("k8s.io", "kubernetes.io")


def _approval(crd: JSONObject, group: str) -> Iterator[Cause]:
    if not is_protected_group(group):
        return
    value, at = meta.annotations(crd).get(APPROVED, ""), f"metadata.annotations[{APPROVED}]"
    see = "see https://github.com/kubernetes/enhancements/pull/1111"
    if not value:
        yield Cause.required(at, f'protected groups must have approval annotation "{APPROVED}", {see}')
    elif not value.startswith(("unapproved", "https://", "http://")):
        detail = (
            f'protected groups must have approval annotation "{APPROVED}" with either a URL or a reason starting with "unapproved", {see}'
        )
        yield Cause.invalid(at, value, detail)


def _stored_versions(crd: JSONObject) -> Iterator[Cause]:
    held = {v.get("name") for v in list_at(crd, "spec", "versions") if isinstance(v, Mapping)}
    for index, version in enumerate(list_at(crd, "status", "storedVersions")):
        if version not in held:
            detail = (
                f"missing from spec.versions; {version} was previously a storage version, and must remain in spec.versions until a storage "
                f"migration ensures no data remains persisted in {version} and removes {version} from status.storedVersions"
            )
            yield Cause.invalid(f"status.storedVersions[{index}]", version, detail)


def _update(spec: Mapping[str, Any], old: JSONObject) -> Iterator[Cause]:
    held = obj_at(old, "spec")
    yield from checks.unchanged(spec.get("group"), held.get("group"), "spec.group")
    yield from checks.unchanged(obj_at(spec, "names").get("plural"), obj_at(held, "names").get("plural"), "spec.names.plural")
    if conditions.is_true(old, "Established"):
        yield from checks.unchanged(spec.get("scope"), held.get("scope"), "spec.scope")
        yield from checks.unchanged(obj_at(spec, "names").get("kind"), obj_at(held, "names").get("kind"), "spec.names.kind")
