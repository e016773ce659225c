"""Mutating webhooks: called one after the other, each with what the one before it made of the object.

Before: `admission.mutation`. After: `caller`. Source: k8s.io/apiserver/pkg/admission/plugin/webhook/mutating/dispatcher.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from kcp.apimachinery.errors import InternalError
from kcp.apimachinery.patch import json_patch
from kcp.apimachinery.patch.errors import PatchError
from kcp.apiserver.admission.configured import Configured
from kcp.apiserver.admission.mutation import Mutated, Step, settled
from kcp.apiserver.admission.occasion import Occasion
from kcp.apiserver.admission.webhooks.caller import WebhookCalls
from kcp.apiserver.admission.webhooks.model import Configuration, Webhook


class MutatingWebhooks:
    def __init__(self, configurations: Configured[Configuration], calls: WebhookCalls) -> None:
        self._configurations = configurations
        self._calls = calls

    def has_any(self, occasion: Occasion) -> bool:
        return bool(self._configurations.of(occasion.configured_in))

    async def steps(self, occasion: Occasion) -> AsyncIterator[Step]:
        configurations = self._configurations.of(occasion.configured_in)
        async for webhook, shown in self._calls.relevant(configurations, occasion):
            yield _WebhookStep(self._calls, webhook, shown)


class _WebhookStep:
    def __init__(self, calls: WebhookCalls, webhook: Webhook, shown: Occasion) -> None:
        self._calls = calls
        self._webhook = webhook
        self._shown = shown
        self.is_reinvoked = webhook.is_reinvoked

    def occasion(self, occasion: Occasion) -> Occasion:
        return occasion.in_version(self._shown.gvr, self._shown.kind)

    async def run(self, occasion: Occasion) -> Mutated:
        """Raises StatusError where the webhook refuses, or fails and that is not ignored."""
        answer = await self._calls.call(self._webhook, occasion, is_mutating=True)
        if answer is None or not answer.patch:
            return Mutated(None)
        if occasion.new is None:
            text = f'admission webhook "{self._webhook.name}" attempted to modify the object, which is not supported for this operation'
            raise InternalError(f"Internal error occurred: {text}")
        try:
            patched = json_patch.apply(occasion.new, answer.patch)
        except PatchError as error:
            raise InternalError(f"Internal error occurred: {error}") from error
        if not isinstance(patched, dict):
            raise InternalError("Internal error occurred: the patch of a webhook left no object")
        return Mutated(settled(patched, occasion))
