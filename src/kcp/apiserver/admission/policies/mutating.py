"""MutatingAdmissionPolicy: changes objects on their way, by apply configurations and JSON patches that expressions give.

Before: `admission.mutation`. After: `hooks`, `applying`.
Source: k8s.io/apiserver/pkg/admission/plugin/policy/mutating/dispatcher.go, KEP-3962.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from kcp.apimachinery.cel.admission import Budget, Variables
from kcp.apimachinery.cel.costs import PER_OBJECT
from kcp.apimachinery.errors import Cause, Forbidden
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.expressions import evaluate_conditions, values_for
from kcp.apiserver.admission.mutation import Mutated, Step, settled
from kcp.apiserver.admission.occasion import NamespaceLookup, Occasion
from kcp.apiserver.admission.policies.applying import MutationError, apply_configuration, apply_json_patch
from kcp.apiserver.admission.policies.hooks import Hooks, Invocation
from kcp.apiserver.admission.policies.model import Mutation
from kcp.apiserver.authz.attributes import Authorizer


class MutatingPolicies:
    def __init__(self, hooks: Hooks, namespace_of: NamespaceLookup, authorizer: Authorizer) -> None:
        self._hooks = hooks
        self._namespace_of = namespace_of
        self._authorizer = authorizer

    def has_any(self, occasion: Occasion) -> bool:
        return bool(self._hooks.of(occasion.configured_in))

    async def steps(self, occasion: Occasion) -> AsyncIterator[Step]:
        """One step for each policy, binding and parameter that the write is subject to."""
        if occasion.new is None:
            return
        async for invocation in self._hooks.invocations(occasion, self._namespace_of):
            yield _PolicyStep(self, invocation)

    async def run(self, invocation: Invocation, occasion: Occasion) -> Mutated:
        """Raises Forbidden where the policy cannot be evaluated and does not ignore that."""
        if invocation.error:
            return self._failed(invocation, invocation.error)
        policy = invocation.policy
        namespace = await occasion.namespace_object(self._namespace_of)
        matched = evaluate_conditions(
            policy.conditions, values_for(occasion, asks=self._authorizer, namespace=namespace, params=invocation.param)
        )
        if matched.error:
            return self._failed(invocation, matched.error)
        if not matched.is_match:
            return Mutated(None)
        for mutation in policy.mutations:
            try:
                occasion = occasion.with_new(self._mutate(mutation, invocation, occasion, namespace))
            except MutationError as error:
                self._failed(invocation, str(error))
        return Mutated(occasion.new)

    def _mutate(self, mutation: Mutation, invocation: Invocation, occasion: Occasion, namespace: JSONObject | None) -> JSONObject:
        """Every mutation sees what those before it have done. Raises MutationError."""
        policy, obj = invocation.policy, occasion.new
        assert obj is not None
        budget = Budget(PER_OBJECT)
        values = values_for(occasion, asks=self._authorizer, namespace=namespace, params=invocation.param)
        values["variables"] = Variables(policy.variables, values, budget)
        found = budget.evaluate(mutation.expression, values)
        if found.error:
            raise MutationError(f"expression '{mutation.expression.text}' resulted in error: {found.error}")
        if mutation.is_json_patch:
            patched = apply_json_patch(obj, found.value)
        else:
            schema = occasion.attributes.scope.resource.schema if occasion.subresource != "scale" else None
            patched = apply_configuration(obj, found.value, schema)
        return settled(patched, occasion)

    def _failed(self, invocation: Invocation, error: str) -> Mutated:
        if invocation.policy.is_ignoring:
            return Mutated(None)
        by = f" with binding '{invocation.binding.name}'" if invocation.binding is not None else ""
        message = f"policy '{invocation.policy.name}'{by} denied request: {error}"
        scope = invocation.occasion.attributes.scope
        raise Forbidden(message, resource=scope.resource.group_resource, name=invocation.occasion.name, causes=[Cause("", "", message)])


class _PolicyStep:
    """One invocation as a step of the mutating phase."""

    def __init__(self, policies: MutatingPolicies, invocation: Invocation) -> None:
        self._policies = policies
        self._invocation = invocation
        self.is_reinvoked = invocation.policy.is_reinvoked

    def occasion(self, occasion: Occasion) -> Occasion:
        return occasion.in_version(self._invocation.occasion.gvr, self._invocation.occasion.kind)

    async def run(self, occasion: Occasion) -> Mutated:
        return await self._policies.run(self._invocation, occasion)
