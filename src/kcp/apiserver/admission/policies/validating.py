"""ValidatingAdmissionPolicy: refuses, or warns of, writes that its expressions do not hold for.

Before: `engine`. After: `hooks`, `expressions`.
Source: k8s.io/apiserver/pkg/admission/plugin/policy/validating/{dispatcher,validator}.go, KEP-3488.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kcp.apimachinery.cel.admission import Budget, Compiled, Variables
from kcp.apimachinery.cel.costs import PER_OBJECT
from kcp.apimachinery.errors import Cause, Forbidden, Invalid, RequestEntityTooLarge, StatusError, Unauthorized
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.expressions import evaluate_conditions, values_for
from kcp.apiserver.admission.occasion import NamespaceLookup, Occasion
from kcp.apiserver.admission.policies.hooks import Hooks, Invocation
from kcp.apiserver.admission.policies.model import Validation
from kcp.apiserver.admission.refusal import forbidden
from kcp.apiserver.authz.attributes import Authorizer
from kcp.registry.backend import Attributes

_LONGEST_MESSAGE = 5 * 1024
_REASONS: dict[str, type[StatusError]] = {
    "Forbidden": Forbidden, "Unauthorized": Unauthorized, "RequestEntityTooLarge": RequestEntityTooLarge,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Denial:
    """What one evaluation has against the write."""

    message: str
    reason: str = ""


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
        async for invocation in self._hooks.invocations(occasion, self._namespace_of):
            if invocation.error:
                if not invocation.policy.is_ignoring:
                    refusals.append((invocation, Denial(invocation.error)))
                continue
            namespace = await invocation.occasion.namespace_object(self._namespace_of)
            for denial in self._evaluate(invocation, namespace):
                _act(invocation, denial, attributes, refusals)
        if refusals:
            raise _refusal(attributes, *refusals[0])

    def _evaluate(self, invocation: Invocation, namespace: JSONObject | None) -> list[Denial]:
        policy = invocation.policy
        values = values_for(invocation.occasion, asks=self._authorizer, namespace=namespace, params=invocation.param)
        matched = evaluate_conditions(policy.conditions, values)
        if matched.error:
            return [] if policy.is_ignoring else [Denial(matched.error)]
        if not matched.is_match:
            return []
        budget = Budget(PER_OBJECT)
        values["variables"] = Variables(policy.variables, values, budget)
        found = (_judge(validation, values, budget, is_ignoring=policy.is_ignoring) for validation in policy.validations)
        return [denial for denial in found if denial is not None]


def _judge(validation: Validation, values: dict[str, Any], budget: Budget, *, is_ignoring: bool) -> Denial | None:
    expression = validation.expression
    found = budget.evaluate(expression, values)
    if found.error:
        return None if is_ignoring else Denial(f"expression '{expression.text}' resulted in error: {found.error}")
    if found.value is True:
        return None
    message = _message(validation.message_expression, values, budget) or validation.message
    return Denial(message or f"failed expression: {expression.text.strip()}", validation.reason)


def _message(expression: Compiled | None, values: dict[str, Any], budget: Budget) -> str:
    """What messageExpression says, "" where it fails or says what a message may not be."""
    if expression is None:
        return ""
    found = budget.evaluate(expression, values).value
    text = found.strip() if type(found) is str else ""
    return text if len(text.encode()) <= _LONGEST_MESSAGE and "\n" not in text else ""


def _act(invocation: Invocation, denial: Denial, attributes: Attributes, refusals: list[tuple[Invocation, Denial]]) -> None:
    """As the binding's validationActions say. Audit: nothing, there is no audit log."""
    assert invocation.binding is not None
    if "Deny" in invocation.binding.actions:
        refusals.append((invocation, denial))
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
