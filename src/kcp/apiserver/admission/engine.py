"""The engines of configurable admission, put together: imported when the first cluster has a policy or webhook.

Before: `configurable`. After: `policies`, `webhooks`, `mutation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.configurable import AdmissionParts
from kcp.apiserver.admission.configured import Configured
from kcp.apiserver.admission.matching import Serves
from kcp.apiserver.admission.mutation import Mutation
from kcp.apiserver.admission.policies.hooks import Hooks
from kcp.apiserver.admission.policies.model import parse_binding, parse_policy
from kcp.apiserver.admission.policies.mutating import MutatingPolicies
from kcp.apiserver.admission.policies.params import Params
from kcp.apiserver.admission.policies.validating import ValidatingPolicies
from kcp.apiserver.admission.webhooks.caller import WebhookCalls
from kcp.apiserver.admission.webhooks.client import WebhookClient
from kcp.apiserver.admission.webhooks.model import parse_configuration
from kcp.apiserver.admission.webhooks.mutating import MutatingWebhooks
from kcp.apiserver.admission.webhooks.validating import ValidatingWebhooks
from kcp.registry.backend import Attributes

PARSERS: Mapping[str, Callable[[JSONObject], Any]] = {
    "mutatingadmissionpolicies": parse_policy,
    "validatingadmissionpolicies": parse_policy,
    "mutatingadmissionpolicybindings": parse_binding,
    "validatingadmissionpolicybindings": parse_binding,
    "mutatingwebhookconfigurations": parse_configuration,
    "validatingwebhookconfigurations": parse_configuration,
}


class Engine:
    def __init__(self, parts: AdmissionParts, configured: Mapping[str, Configured[Any]]) -> None:
        catalog, namespace_of, authorizer = parts.catalog, parts.namespace_of, parts.authorizer
        serves: Serves = catalog.resolve
        params = Params(parts.cache, catalog.resources, catalog.version)

        def hooks(kind: str) -> Hooks:
            return Hooks(configured[f"{kind}admissionpolicies"], configured[f"{kind}admissionpolicybindings"], params, serves)

        self._client = WebhookClient()
        calls = WebhookCalls(self._client, serves, namespace_of, authorizer, parts.resolve)
        policies = MutatingPolicies(hooks("mutating"), namespace_of, authorizer)
        self._mutation = Mutation((policies, MutatingWebhooks(configured["mutatingwebhookconfigurations"], calls)))
        self._policies = ValidatingPolicies(hooks("validating"), namespace_of, authorizer)
        self._webhooks = ValidatingWebhooks(configured["validatingwebhookconfigurations"], calls)

    async def mutate(self, attributes: Attributes) -> JSONObject | None:
        return await self._mutation.mutate(attributes)

    async def validate(self, attributes: Attributes) -> None:
        """Policies first: they cost less than a webhook."""
        await self._policies.validate(attributes)
        await self._webhooks.validate(attributes)

    async def close(self) -> None:
        await self._client.close()
