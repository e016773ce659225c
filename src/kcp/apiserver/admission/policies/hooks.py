"""Which policies a write is subject to, with which parameters: the part that validating and mutating policies have in common.

Before: `validating`, `mutating`. After: `configured`, `matching`, `params`.
Source: k8s.io/apiserver/pkg/admission/plugin/policy/generic/{policy_dispatcher,policy_source}.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.configured import Configured
from kcp.apiserver.admission.matching import Serves, is_exempt
from kcp.apiserver.admission.occasion import NamespaceLookup, Occasion
from kcp.apiserver.admission.policies.model import Binding, Hook, Policy
from kcp.apiserver.admission.policies.params import Params


@dataclass(frozen=True, slots=True)
class Invocation:
    """One policy to be evaluated for a write, by one of its bindings, with one parameter object."""

    policy: Policy
    binding: Binding | None
    occasion: Occasion
    param: JSONObject | None = None
    error: str = ""
    """Why it cannot be evaluated."""


class Hooks:
    """The policies of one kind, of all clusters."""

    def __init__(self, policies: Configured[Policy], bindings: Configured[Binding], params: Params, serves: Serves) -> None:
        self._policies = policies
        self._bindings = bindings
        self._params = params
        self._serves = serves
        self._paired: dict[ClusterName, tuple[Sequence[Policy], Sequence[Binding], tuple[Hook, ...]]] = {}

    def of(self, cluster: ClusterName) -> Sequence[Hook]:
        """The policies of a cluster that some binding uses, by name."""
        policies = self._policies.of(cluster)
        if not policies:
            self._paired.pop(cluster, None)
            return ()
        bindings = self._bindings.of(cluster)
        held = self._paired.get(cluster)
        if held is None or held[0] is not policies or held[1] is not bindings:
            paired = ((policy, tuple(b for b in bindings if b.policy == policy.name)) for policy in policies)
            held = self._paired[cluster] = (policies, bindings, tuple(Hook(policy, used) for policy, used in paired if used))
        return held[2]

    async def invocations(self, occasion: Occasion, namespace_of: NamespaceLookup) -> AsyncIterator[Invocation]:
        """What is to be evaluated, in order. Raises NotFound where the write's namespace is gone."""
        if is_exempt(occasion):
            return
        for hook in self.of(occasion.configured_in):
            found = hook.policy.match.find(occasion, self._serves)
            if found is None or not await hook.policy.match.selects(found, namespace_of):
                continue
            for binding in hook.bindings:
                if binding.match.find(occasion, self._serves) is None or not await binding.match.selects(occasion, namespace_of):
                    continue
                try:
                    params = await self._params.collect(hook.policy.param_kind, binding.param_ref, occasion)
                except StatusError as error:
                    yield Invocation(hook.policy, binding, found, error=f"failed to configure binding: {error.message}")
                    continue
                for param in params:
                    yield Invocation(hook.policy, binding, found, param)
