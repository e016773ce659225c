"""Values for the variables of expressions, and match conditions.

Before: `policies`, `webhooks`. After: `apimachinery.cel.admission`, `authz`.
Source: k8s.io/apiserver/pkg/admission/plugin/cel/{activation,condition}.go, pkg/admission/plugin/webhook/matchconditions/matcher.go.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery.cel.admission import Budget, Compiled
from kcp.apimachinery.cel.costs import PER_MATCH_CONDITIONS
from kcp.apimachinery.cel.library.authorization import Check, Question, authorizer, resource_check
from kcp.apimachinery.cel.library.authorization import Decision as Answer
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.occasion import Occasion
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes, Decision
from kcp.registry.backend import UserInfo


@dataclass(frozen=True, slots=True)
class Named:
    """One match condition."""

    name: str
    compiled: Compiled


@dataclass(frozen=True, slots=True)
class Outcome:
    """What match conditions came to."""

    is_match: bool
    error: str = ""


def values_for(
    occasion: Occasion, *, asks: Authorizer | None, namespace: JSONObject | None = None, params: JSONObject | None = None
) -> dict[str, Any]:
    """What the declared variables hold, `variables` aside."""
    values: dict[str, Any] = {
        "object": occasion.new,
        "oldObject": occasion.old,
        "request": occasion.request(),
        "namespaceObject": namespace,
        "params": params,
    }
    if asks is not None:
        values |= _authorization(occasion, asks)
    return values


def evaluate_conditions(conditions: Sequence[Named], values: Mapping[str, Any]) -> Outcome:
    """All must be true; one that is false decides, whatever errors there are."""
    budget = Budget(PER_MATCH_CONDITIONS)
    errors: list[str] = []
    for condition in conditions:
        found = budget.evaluate(condition.compiled, values)
        if found.error:
            errors.append(f"expression '{condition.compiled.text}' resulted in error: {found.error}")
            if found.is_exceeded:
                break
        elif found.value is False:
            return Outcome(is_match=False)
        elif found.value is not True:
            errors.append(f"expression '{condition.compiled.text}' resulted in error: must evaluate to bool")
    if errors:
        return Outcome(is_match=False, error=errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")
    return Outcome(is_match=True)


# --- the variable `authorizer` ---


def _authorization(occasion: Occasion, asks: Authorizer) -> dict[str, Check]:
    scope = occasion.attributes.scope

    def answer(question: Question) -> Answer:
        namespace, account = question.service_account
        user = _service_account(namespace, account) if account else occasion.attributes.user
        attributes = AuthzAttributes(
            user, question.verb, scope.cluster, question.group, question.resource, question.subresource, question.namespace,
            question.name, question.path, is_resource=not question.path,
        )  # fmt: skip
        decision = _answered(asks.authorize(attributes))
        return Answer(decision.is_allowed, decision.reason)

    about = Question(
        group=occasion.gvr.group,
        resource=occasion.gvr.resource,
        subresource=occasion.subresource,
        namespace=occasion.namespace,
        name=occasion.name,
    )
    return {"authorizer": authorizer(answer), "authorizer.requestResource": resource_check(answer, about)}


def _answered(asking: Coroutine[Any, Any, Decision]) -> Decision:
    """Authorizers decide from memory and never wait, which is what lets an expression ask one."""
    try:
        asking.send(None)
    except StopIteration as done:
        decision: Decision = done.value
        return decision
    asking.close()
    raise RuntimeError("an authorizer that waits cannot be asked from an expression")


def _service_account(namespace: str, name: str) -> UserInfo:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return UserInfo(f"system:serviceaccount:{namespace}:{name}", groups)
