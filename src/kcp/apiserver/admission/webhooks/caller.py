"""One call of one webhook: dry run, time limit, answer, and what a failure means.

Before: `mutating`, `validating`. After: `client`, `review`.
Source: k8s.io/apiserver/pkg/admission/plugin/webhook/{mutating,validating}/dispatcher.go.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from kcp.apimachinery.errors import BadRequest, InternalError
from kcp.apiserver.admission.expressions import evaluate_conditions, values_for
from kcp.apiserver.admission.matching import Serves, is_exempt
from kcp.apiserver.admission.occasion import NamespaceLookup, Occasion
from kcp.apiserver.admission.webhooks.client import Unreachable, WebhookClient
from kcp.apiserver.admission.webhooks.model import Configuration, ServiceResolver, Webhook
from kcp.apiserver.admission.webhooks.review import Answer, Unusable, question, read_answer, refusal
from kcp.apiserver.authz.attributes import Authorizer

log = logging.getLogger(__name__)

Phase: TypeAlias = Literal["mutation", "validating"]
"""As upstream names the two in audit annotations."""


@dataclass(frozen=True, slots=True)
class Relevant:
    """A webhook to call for a write."""

    webhook: Webhook
    occasion: Occasion
    """The write in the version that the webhook asks for."""
    configuration: str
    index: int
    """Among all webhooks of the workspace, those included that are not to be called."""


@dataclass(frozen=True, slots=True)
class WebhookCalls:
    """What calling webhooks takes; shared by the mutating and the validating ones."""

    client: WebhookClient
    serves: Serves
    namespace_of: NamespaceLookup
    authorizer: Authorizer
    resolve: ServiceResolver | None

    async def relevant(self, configurations: Sequence[Configuration], occasion: Occasion) -> AsyncIterator[Relevant]:
        """The webhooks to call for a write, in order.

        Raises: InternalError for match conditions that cannot be evaluated, where that is not ignored.
        """
        if is_exempt(occasion):
            return
        everything = ((configuration.name, webhook) for configuration in configurations for webhook in configuration.webhooks)
        for index, (configuration, webhook) in enumerate(everything):
            found = webhook.match.find(occasion, self.serves)
            if found is None or not await webhook.match.selects(found, self.namespace_of):
                continue
            if webhook.conditions and not self._meets(webhook, found):
                continue
            yield Relevant(webhook, found, configuration, index)

    def _meets(self, webhook: Webhook, occasion: Occasion) -> bool:
        outcome = evaluate_conditions(webhook.conditions, values_for(occasion, asks=self.authorizer))
        if not outcome.error:
            return outcome.is_match
        if webhook.is_ignoring:
            log.warning("match conditions of webhook %s cannot be evaluated and it is left out: %s", webhook.name, outcome.error)
            return False
        raise InternalError(f'Internal error occurred: failed evaluating match conditions of webhook "{webhook.name}": {outcome.error}')

    async def call(self, relevant: Relevant, occasion: Occasion, *, phase: Phase, turn: int = 0) -> Answer | None:
        """Its answer, which allows the write; None where a failure is ignored.

        Args: turn: 1 where it is called again.

        Raises: BadRequest for a dry run that it does not support, InternalError where it cannot be reached, what it answers for a denial.
        """
        webhook, notes = relevant.webhook, occasion.attributes.notes
        if occasion.attributes.dry_run and webhook.has_side_effects:
            raise BadRequest(f'admission webhook "{webhook.name}" does not support dry run')
        try:
            answer = await self._ask(webhook, occasion, is_mutating=phase == "mutation")
        except (Unreachable, Unusable) as error:
            what = "failed to call webhook" if isinstance(error, Unreachable) else "received invalid webhook response"
            _note_failure(webhook, f"{what}: {error}")
            if notes is not None:
                notes.add(f"failed-open.{phase}.webhook.admission.k8s.io/round_{turn}_index_{relevant.index}", webhook.name)
            return None
        occasion.attributes.warnings.extend(answer.warnings)
        if notes is not None:
            for key, text in answer.audit_annotations.items():
                notes.add(f"{webhook.name}/{key}", text)
        if not answer.is_allowed:
            raise refusal(webhook.name, answer.status)
        return answer

    async def _ask(self, webhook: Webhook, occasion: Occasion, *, is_mutating: bool) -> Answer:
        version = webhook.review_version
        if not version:
            raise Unreachable("webhook does not accept known AdmissionReview versions (v1, v1beta1)")
        uid, body = question(occasion, version)
        target = await webhook.endpoint.target(occasion.cluster, self.resolve, timeout_s=webhook.timeout_s)
        answer = await self.client.post(target, body, timeout_s=webhook.timeout_s)
        return read_answer(uid, answer, version, is_mutating=is_mutating)


def _note_failure(webhook: Webhook, why: str) -> None:
    """Raises InternalError unless the webhook's failures are ignored."""
    if webhook.is_ignoring:
        log.warning("webhook %s failed and is left out: %s", webhook.name, why)
        return
    raise InternalError(f'Internal error occurred: failed calling webhook "{webhook.name}": {why}')
