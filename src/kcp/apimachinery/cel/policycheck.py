"""Warnings about a policy's expressions: what they would do wrong with the kinds that the policy names, as far as the schemas tell.

A policy is not refused for them, because one expression may be meant for several kinds.
Before: `apiserver.admission.policytypes`. After: `admission`, `declared`.
Source: k8s.io/apiserver/pkg/admission/plugin/policy/validating/typechecking.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kcp.apimachinery.cel.admission import Kind, environment
from kcp.apimachinery.cel.declared import Declarations
from kcp.apimachinery.cel.errors import CompileError
from kcp.apimachinery.cel.program import Program
from kcp.apimachinery.cel.types import DYN, Field, Type
from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.schema.node import Schema


def expression_warnings(spec: Mapping[str, Any], kinds: Sequence[tuple[GVK, Schema]]) -> list[JSONObject]:
    """`status.typeChecking.expressionWarnings`.

    Args: kinds: those that the policy's rules name, with their schemas.
    """
    declarations = Declarations()
    typed = [(gvk, declared) for gvk, schema in kinds if (declared := declarations.of(schema, is_root=True)) is not None]
    found: list[JSONObject] = []
    for index, validation in enumerate(spec.get("validations") or ()):
        for field in ("expression", "messageExpression"):
            text = validation.get(field)
            warnings = [f"{_shown(gvk)}: {fault}\n" for gvk, declared in typed for fault in _faults(text, spec, declared)] if text else []
            if warnings:
                found.append({"fieldRef": f"spec.validations[{index}].{field}", "warning": "\n".join(warnings)})
    return found


def _shown(gvk: GVK) -> str:
    return f"{gvk.group}/{gvk.version}, Kind={gvk.kind}"


def _faults(text: str, spec: Mapping[str, Any], declared: Type) -> Iterable[str]:
    kind = Kind(has_params=bool(spec.get("paramKind")))
    known: dict[str, Field] = {}
    for variable in spec.get("variables") or ():
        program, _ = _compiled(str(variable.get("expression") or ""), kind, dict(known), declared)
        known[str(variable.get("name") or "")] = Field(str(variable.get("name") or ""), program.type if program is not None else DYN)
    _, fault = _compiled(text, kind, known, declared)
    return [fault] if fault else []


def _compiled(text: str, kind: Kind, variables: Mapping[str, Field], declared: Type) -> tuple[Program | None, str]:
    try:
        return Program(text, environment(kind, Type("object", "variables", fields=lambda: variables), objects=declared)), ""
    except CompileError as error:
        return None, str(error)
