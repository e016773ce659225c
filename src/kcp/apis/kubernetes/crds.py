"""Defaults and rules of CustomResourceDefinitions.

Before: `rules`. After: `crd_versions`, the rules of each version.
Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/{v1/defaults.go,validation/validation.go}.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kcp.apimachinery import conditions, meta, names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject, ensure, name
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.admission import client_config
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at
from kcp.apis.kubernetes.crd_versions import SHARED, Places, deprecation_faults, version_faults
from kcp.apis.kubernetes.pod_defaults import fill

APPROVED = "api-approved.kubernetes.io"
SINGLE_SEGMENT_GROUPS = frozenset(("apps", "batch", "extensions", "policy", "autoscaling"))
"""Kubernetes' own groups that are no domains; besides them there is the core group, whose name is empty."""


def default(obj: JSONObject) -> None:
    spec = ensure(obj, "spec")
    held = ensure(spec, "names")
    if kind := held.get("kind"):
        fill(held, singular=str(kind).lower(), listKind=f"{kind}List")
    conversion = ensure(spec, "conversion")
    fill(conversion, strategy="None")
    if isinstance(service := obj_at(conversion, "webhook", "clientConfig").get("service"), dict):
        fill(service, port=443)
    stored = ensure(obj, "status").setdefault("storedVersions", [])
    for version in list_at(spec, "versions"):
        if isinstance(version, Mapping) and version.get("storage") and version.get("name") not in stored:
            stored.append(version.get("name"))


def validate(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    group, plural = str(spec.get("group") or ""), str(obj_at(spec, "names").get("plural") or "")
    causes: list[Cause] = []
    if name(new) != f"{plural}.{group or 'core'}":
        causes.append(Cause.invalid("metadata.name", name(new), 'must be spec.names.plural+"."+spec.group'))
    causes += _group(group)
    causes += checks.one_of(spec, "spec", "scope", ("Cluster", "Namespaced")) if spec.get("scope") else [Cause.required("spec.scope")]
    causes += _versions(spec)
    causes += _conversion(obj_at(spec, "conversion"), old)
    causes += accepted_names_faults(new)
    if spec.get("preserveUnknownFields"):
        detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        causes.append(Cause.invalid("spec.preserveUnknownFields", spec["preserveUnknownFields"], detail))
    causes += approval_faults(new, group)
    causes += _stored_versions(new)
    return [*causes, *(_update(spec, old) if old is not None else ())]


def _group(group: str) -> Iterator[Cause]:
    """A workspace may define Kubernetes' own kinds, which it does not have. Source: kcp-dev/kubernetes, validation.go."""
    if not group or group in SINGLE_SEGMENT_GROUPS:
        return
    yield from checks.named(group, "spec.group", names.dns1123_subdomain)
    if "." not in group:
        yield Cause.invalid("spec.group", group, "should be a domain with at least one dot")


def names_faults(held: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """Rules of a CRD's or APIResourceSchema's `names`."""
    for field in ("plural", "singular", "kind", "listKind"):
        if not held.get(field):
            yield Cause.required(f"{at}.{field}")
    yield from _names_rules(held, at)


def accepted_names_faults(crd: JSONObject) -> Iterator[Cause]:
    yield from _names_rules(obj_at(crd, "status", "acceptedNames"), "status.acceptedNames")


def _names_rules(held: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for field in ("plural", "singular"):
        yield from checks.named(held.get(field), f"{at}.{field}", names.dns1035_label)
    for field in ("kind", "listKind"):
        for fault in names.dns1035_label(str(held[field]).lower()) if held.get(field) else ():
            yield Cause.invalid(f"{at}.{field}", held[field], f"may have mixed case, but should otherwise match: {fault}")
    for field in ("shortNames", "categories"):
        if field == "categories" and held.get("kind") and held.get("kind") == held.get("listKind"):
            yield Cause.invalid(f"{at}.listKind", held["listKind"], "kind and listKind may not be the same")
        for index, text in enumerate(list_at(held, field)):
            yield from checks.named(text, f"{at}.{field}[{index}]", names.dns1035_label)


def _versions(spec: Mapping[str, Any]) -> Iterator[Cause]:
    versions = [version for version in list_at(spec, "versions") if isinstance(version, Mapping)]
    for path, version in numbered(spec, "versions", "spec.versions"):
        if not isinstance(obj_at(version, "schema").get("openAPIV3Schema"), dict):
            yield Cause.required(f"{path}.schema.openAPIV3Schema", "schemas are required")
    shared = _shared(versions)
    for path, version in numbered(spec, "versions", "spec.versions"):
        yield from checks.named(version.get("name"), f"{path}.name", names.dns1035_label)
        yield from deprecation_faults(version, path)
        own = Places.of(path)
        yield from version_faults(version, Places(**{part: "" if part in shared else getattr(own, part) for part in _PARTS}))
    held = [version.get("name") for version in versions]
    if len(set(held)) != len(held):
        yield Cause.invalid("spec.versions", held, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        yield Cause.invalid("spec.versions", held, "must have exactly one version marked as storage version")
    yield from names_faults(obj_at(spec, "names"), "spec.names")
    if shared:
        yield from version_faults(versions[0], Places(**{part: getattr(SHARED, part) if part in shared else "" for part in _PARTS}))


_PARTS = {"schema": "schema", "subresources": "subresources", "columns": "additionalPrinterColumns", "selectable": "selectableFields"}


def _shared(versions: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """The parts that all versions have alike. Source: pkg/apis/apiextensions/v1/conversion.go: they become the CRD's own."""
    if not versions:
        return frozenset()
    model = versions[0]
    return frozenset(part for part, key in _PARTS.items() if all((v.get(key) or None) == (model.get(key) or None) for v in versions))


def _conversion(conversion: Mapping[str, Any], old: JSONObject | None) -> Iterator[Cause]:
    yield from checks.one_of(conversion, "spec.conversion", "strategy", ("None", "Webhook"))
    webhook, at = conversion.get("webhook"), "spec.conversion.webhookClientConfig"
    held = obj_at(conversion, "webhook")
    if conversion.get("strategy") == "Webhook":
        if not isinstance(held.get("clientConfig"), Mapping):
            yield Cause.required(at, "required when strategy is set to Webhook")
        else:
            yield from client_config(held["clientConfig"], at)
            yield from _authorities(held["clientConfig"].get("caBundle"), old, f"{at}.caBundle")
        yield from review_version_faults(list_at(held, "conversionReviewVersions"), "spec.conversion.conversionReviewVersions")
    elif webhook:
        detail = "should not be set when strategy is not set to Webhook"
        if held.get("clientConfig") is not None:
            yield Cause.forbidden(at, detail)
        if held.get("conversionReviewVersions"):
            yield Cause.forbidden("spec.conversion.conversionReviewVersions", detail)


def review_version_faults(versions: Sequence[Any], at: str) -> Iterator[Cause]:
    if not versions:
        yield Cause.required(at)
        return
    for index, version in enumerate(versions):
        if version in versions[:index]:
            yield Cause.invalid(f"{at}[{index}]", version, "duplicate version")
        else:
            yield from (Cause.invalid(f"{at}[{index}]", version, fault) for fault in names.dns1035_label(str(version)))
    if not {"v1", "v1beta1"} & set(versions):
        yield Cause.invalid(at, list(versions), "must include at least one of v1, v1beta1")


def _authorities(bundle: Any, old: JSONObject | None, at: str) -> Iterator[Cause]:
    """An established CRD with good authorities does not get bad ones. Source: KEP-4595 (caBundle ratcheting)."""
    if not bundle or old is None or not conditions.is_true(old, "Established"):
        return
    if not _is_pem(bundle) and has_good_authorities(old):
        yield Cause.invalid(at, bundle, "unable to load root certificates: unable to parse bytes as PEM block")


def has_good_authorities(crd: JSONObject) -> bool:
    """Whether the CA bundle of a CRD's conversion webhook, if it has one, can be read."""
    bundle = obj_at(crd, "spec", "conversion", "webhook", "clientConfig").get("caBundle")
    return not bundle or _is_pem(bundle)


def _is_pem(bundle: Any) -> bool:
    try:
        return b"-----BEGIN CERTIFICATE-----" in binascii.a2b_base64(bundle)
    except (binascii.Error, TypeError, ValueError):
        return False


def is_protected_group(group: str) -> bool:
    """Groups under k8s.io and kubernetes.io belong to Kubernetes. Source: KEP-1111."""
    return group.endswith((".k8s.io", ".kubernetes.io")) or group in ("k8s.io", "kubernetes.io")


def approval_faults(crd: JSONObject, group: str) -> Iterator[Cause]:
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
