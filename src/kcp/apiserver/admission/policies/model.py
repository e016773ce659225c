"""Policies and their bindings as admission uses them: parsed once per change, expressions compiled once for all clusters.

Before: `validating`, `mutating`. After: `apimachinery.cel.admission`, `matching`.
Source: k8s.io/api/admissionregistration/v1/types.go, k8s.io/apiserver/pkg/admission/plugin/policy/{validating,mutating}/plugin.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.cel.admission import Compiled, Kind, compile_in
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.expressions import Named
from kcp.apiserver.admission.matching import Match


@dataclass(frozen=True, slots=True)
class Validation:
    expression: Compiled
    message: str
    message_expression: Compiled | None
    reason: str


@dataclass(frozen=True, slots=True)
class AuditAnnotation:
    key: str
    value: Compiled


@dataclass(frozen=True, slots=True)
class Mutation:
    is_json_patch: bool
    expression: Compiled


@dataclass(frozen=True, slots=True)
class Policy:
    """A ValidatingAdmissionPolicy or MutatingAdmissionPolicy."""

    name: str
    param_kind: tuple[str, str] | None
    """(apiVersion, kind)."""
    match: Match
    conditions: tuple[Named, ...]
    variables: Mapping[str, Compiled]
    is_ignoring: bool
    """failurePolicy Ignore."""
    validations: tuple[Validation, ...] = ()
    mutations: tuple[Mutation, ...] = ()
    audit_annotations: tuple[AuditAnnotation, ...] = ()
    is_reinvoked: bool = False


@dataclass(frozen=True, slots=True)
class Binding:
    name: str
    policy: str
    match: Match
    param_ref: Mapping[str, Any] | None
    actions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hook:
    """A policy and the bindings that put it to use."""

    policy: Policy
    bindings: tuple[Binding, ...]


def parse_policy(obj: JSONObject) -> Policy:
    spec = obj.get("spec") or {}
    param_kind = spec.get("paramKind")
    kind = Kind(has_params=bool(param_kind), makes_objects="mutations" in spec)
    variables = [(str(v.get("name") or ""), str(v.get("expression") or "")) for v in spec.get("variables") or ()]
    return Policy(
        name=meta.name(obj),
        param_kind=(str(param_kind.get("apiVersion") or ""), str(param_kind.get("kind") or "")) if param_kind else None,
        match=Match.of_resources(spec.get("matchConstraints"), rules_required=True),
        conditions=parse_conditions(spec.get("matchConditions") or (), kind),
        variables={name: compile_in(kind, variables[:index], text, ()) for index, (name, text) in enumerate(variables)},
        is_ignoring=spec.get("failurePolicy") == "Ignore",
        validations=tuple(_validation(given, kind, variables) for given in spec.get("validations") or ()),
        mutations=tuple(_mutation(given, kind, variables) for given in spec.get("mutations") or ()),
        audit_annotations=tuple(_audit_annotation(given, kind, variables) for given in spec.get("auditAnnotations") or ()),
        is_reinvoked=spec.get("reinvocationPolicy") == "IfNeeded",
    )


def parse_conditions(given: Sequence[Mapping[str, Any]], kind: Kind) -> tuple[Named, ...]:
    """Conditions do not see a policy's variables."""
    return tuple(Named(str(c.get("name") or ""), compile_in(kind, (), str(c.get("expression") or ""), ("bool",))) for c in given)


def _validation(given: Mapping[str, Any], kind: Kind, variables: Sequence[tuple[str, str]]) -> Validation:
    shown = str(given.get("messageExpression") or "")
    without_authorizer = Kind(has_params=kind.has_params, has_authorizer=False)
    return Validation(
        compile_in(kind, variables, str(given.get("expression") or ""), ("bool",)),
        str(given.get("message") or "").strip(),
        compile_in(without_authorizer, variables, shown, ("string",)) if shown.strip() else None,
        str(given.get("reason") or ""),
    )


def _audit_annotation(given: Mapping[str, Any], kind: Kind, variables: Sequence[tuple[str, str]]) -> AuditAnnotation:
    value = compile_in(kind, variables, str(given.get("valueExpression") or ""), ("string", "null"))
    return AuditAnnotation(str(given.get("key") or ""), value)


def _mutation(given: Mapping[str, Any], kind: Kind, variables: Sequence[tuple[str, str]]) -> Mutation:
    is_json_patch = given.get("patchType") == "JSONPatch"
    held = given.get("jsonPatch" if is_json_patch else "applyConfiguration") or {}
    return Mutation(
        is_json_patch, compile_in(kind, variables, str(held.get("expression") or ""), ("list",) if is_json_patch else ("object",))
    )


def parse_binding(obj: JSONObject) -> Binding:
    spec = obj.get("spec") or {}
    return Binding(
        meta.name(obj),
        str(spec.get("policyName") or ""),
        Match.of_resources(spec.get("matchResources"), rules_required=False),
        spec.get("paramRef"),
        tuple(spec.get("validationActions") or ()),
    )
