"""ValidatingAdmissionPolicy: refuses, warns of, or notes for the audit log, writes that its expressions do not hold for.

Before: `engine`. After: `hooks`, `expressions`.
Source: k8s.io/apiserver/pkg/admission/plugin/policy/validating/{dispatcher,validator}.go, KEP-3488.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from kcp.apimachinery.cel.admission import Budget, Compiled, Variables
from kcp.apimachinery.cel.costs import PER_OBJECT
from kcp.apimachinery.errors import Cause, Forbidden, Invalid, RequestEntityTooLarge, StatusError, Unauthorized
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.expressions import evaluate_conditions, values_for
from kcp.apiserver.admission.occasion import NamespaceLookup, Occasion
from kcp.apiserver.admission.policies.hooks import Hooks, Invocation
from kcp.apiserver.admission.policies.model import AuditAnnotation, Validation
from kcp.apiserver.admission.refusal import forbidden
from kcp.apiserver.authz.attributes import Authorizer
from kcp.registry.backend import Attributes, Notes

Annotations: TypeAlias = dict[str, list[str]]
"""Of one policy: by key, the different values."""

_LONGEST_MESSAGE = 5 * 1024
_LONGEST_ANNOTATION = 10 * 1024
_REASONS: dict[str, type[StatusError]] = {
    "Forbidden": Forbidden, "Unauthorized": Unauthorized, "RequestEntityTooLarge": RequestEntityTooLarge,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Denial:
    """What one evaluation has against the write."""

    message: str
    reason: str = ""
    index: int = 0
    """Of the validation in its policy."""
    is_fault: bool = False
    """An audit annotation could not be made: refused whatever the binding says."""


class ValidatingPolicies:
    def __init__(self, hooks: Hooks, namespace_of: NamespaceLookup, authorizer: Authorizer) -> None:
        self._hooks = hooks
        self._namespace_of = namespace_of
        self._authorizer = authorizer

    async def validate(self, attributes: Attributes) -> None:
        """Raises Invalid, or what the reason of the first denying validation says."""
        occasion = Occasion.of(attributes)
        if not self._hooks.of(occasion.configured_in):
            return
        refusals: list[tuple[Invocation, Denial]] = []
        annotations: dict[str, Annotations] = {}
        async for invocation in self._hooks.invocations(occasion, self._namespace_of):
            if invocation.error:
                if not invocation.policy.is_ignoring:
                    refusals.append((invocation, Denial(invocation.error)))
                continue
            namespace = await invocation.occasion.namespace_object(self._namespace_of)
            for denial in self._evaluate(invocation, namespace, annotations.setdefault(invocation.policy.name, {})):
                _act(invocation, denial, attributes, refusals)
        if attributes.notes is not None:
            _publish(annotations, attributes.notes)
        if refusals:
            raise _refusal(attributes, *refusals[0])

    def _evaluate(self, invocation: Invocation, namespace: JSONObject | None, annotations: Annotations) -> list[Denial]:
        """What it has against the write; the values of its audit annotations go into `annotations`."""
        policy = invocation.policy
        values = values_for(invocation.occasion, asks=self._authorizer, namespace=namespace, params=invocation.param)
        matched = evaluate_conditions(policy.conditions, values)
        if matched.error:
            return [] if policy.is_ignoring else [Denial(matched.error)]
        if not matched.is_match:
            return []
        budget = Budget(PER_OBJECT)
        values["variables"] = Variables(policy.variables, values, budget)
        found = (_judge(i, validation, values, budget, is_ignoring=policy.is_ignoring) for i, validation in enumerate(policy.validations))
        denials = [denial for denial in found if denial is not None]
        for annotation in policy.audit_annotations:
            if (error := _annotate(annotation, values, budget, annotations)) and not policy.is_ignoring:
                denials.append(Denial(error, is_fault=True))
        return denials


def _annotate(annotation: AuditAnnotation, values: dict[str, Any], budget: Budget, annotations: Annotations) -> str:
    """What is wrong with the expression. Source: validating/validator.go: null and the empty string mean no annotation."""
    found = budget.evaluate(annotation.value, values)
    if found.error:
        return f"valueExpression '{annotation.value.text}' resulted in error: {found.error}"
    if found.value is None:
        return ""
    if type(found.value) is not str:
        return f"valueExpression '{annotation.value.text}' resulted in unsupported return type: must be string or null"
    if text := found.value.strip():
        given = annotations.setdefault(annotation.key, [])
        if (cut := text.encode()[:_LONGEST_ANNOTATION].decode(errors="ignore")) not in given:
            given.append(cut)
    return ""


def _publish(annotations: Mapping[str, Annotations], notes: Notes) -> None:
    """Several bindings or parameters may give several values of one annotation. Source: dispatcher.go, auditAnnotationCollector."""
    for policy, given in annotations.items():
        for key, values in given.items():
            notes.add(f"{policy}/{key}", ", ".join(values))


def _judge(index: int, validation: Validation, values: dict[str, Any], budget: Budget, *, is_ignoring: bool) -> Denial | None:
    expression = validation.expression
    found = budget.evaluate(expression, values)
    if found.error:
        return None if is_ignoring else Denial(f"expression '{expression.text}' resulted in error: {found.error}", index=index)
    if found.value is True:
        return None
    message = _message(validation.message_expression, values, budget) or validation.message
    return Denial(message or f"failed expression: {expression.text.strip()}", validation.reason, index)


def _message(expression: Compiled | None, values: dict[str, Any], budget: Budget) -> str:
    """What messageExpression says, "" where it fails or says what a message may not be."""
    if expression is None:
        return ""
    found = budget.evaluate(expression, values).value
    text = found.strip() if type(found) is str else ""
    return text if len(text.encode()) <= _LONGEST_MESSAGE and "\n" not in text else ""


def _act(invocation: Invocation, denial: Denial, attributes: Attributes, refusals: list[tuple[Invocation, Denial]]) -> None:
    """As the binding's validationActions say."""
    assert invocation.binding is not None
    if denial.is_fault:
        refusals.append((invocation, denial))
        return
    if "Deny" in invocation.binding.actions:
        refusals.append((invocation, denial))
    if "Audit" in invocation.binding.actions and attributes.notes is not None:
        failure = {
            "message": denial.message, "policy": invocation.policy.name, "binding": invocation.binding.name,
            "expressionIndex": denial.index, "validationActions": invocation.binding.actions,
        }  # fmt: skip
        attributes.notes.add("validation.policy.admission.k8s.io/validation_failure", orjson.dumps([failure]).decode())
    if "Warn" in invocation.binding.actions:
        attributes.warnings.append(
            f"Validation failed for ValidatingAdmissionPolicy '{invocation.policy.name}' with binding '{invocation.binding.name}': "
            f"{denial.message}"
        )


def _refusal(attributes: Attributes, invocation: Invocation, denial: Denial) -> StatusError:
    by = f" with binding '{invocation.binding.name}'" if invocation.binding is not None else ""
    message = f"ValidatingAdmissionPolicy '{invocation.policy.name}'{by} denied request: {denial.message}"
    refused = forbidden(attributes, message)
    kind = _REASONS.get(denial.reason, Invalid)
    return kind(refused.message, resource=refused.resource, name=refused.name, causes=[Cause("", "", message)])
