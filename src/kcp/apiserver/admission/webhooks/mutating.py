"""Mutating webhooks: called one after the other, each with what the one before it made of the object.

Before: `admission.mutation`. After: `caller`. Source: k8s.io/apiserver/pkg/admission/plugin/webhook/mutating/dispatcher.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson

from kcp.apimachinery.errors import InternalError
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.patch import json_patch
from kcp.apimachinery.patch.errors import PatchError
from kcp.apiserver.admission.configured import Configured
from kcp.apiserver.admission.mutation import Mutated, Step, settled
from kcp.apiserver.admission.occasion import Occasion
from kcp.apiserver.admission.webhooks.caller import Relevant, WebhookCalls
from kcp.apiserver.admission.webhooks.model import Configuration
from kcp.apiserver.admission.webhooks.review import Answer
from kcp.registry.backend import Notes


class MutatingWebhooks:
    def __init__(self, configurations: Configured[Configuration], calls: WebhookCalls) -> None:
        self._configurations = configurations
        self._calls = calls

    def has_any(self, occasion: Occasion) -> bool:
        return bool(self._configurations.of(occasion.configured_in))

    async def steps(self, occasion: Occasion) -> AsyncIterator[Step]:
        configurations = self._configurations.of(occasion.configured_in)
        async for relevant in self._calls.relevant(configurations, occasion):
            yield _WebhookStep(self._calls, relevant)


class _WebhookStep:
    def __init__(self, calls: WebhookCalls, relevant: Relevant) -> None:
        self._calls = calls
        self._relevant = relevant
        self._turn = 0
        self.is_reinvoked = relevant.webhook.is_reinvoked

    def occasion(self, occasion: Occasion) -> Occasion:
        return occasion.in_version(self._relevant.occasion.gvr, self._relevant.occasion.kind)

    async def run(self, occasion: Occasion) -> Mutated:
        """Raises StatusError where the webhook refuses, or fails and that is not ignored."""
        turn, self._turn = self._turn, self._turn + 1
        answer = await self._calls.call(self._relevant, occasion, phase="mutation", turn=turn)
        if answer is None:
            return Mutated(None)
        patched = self._patched(answer, occasion)
        if (notes := occasion.attributes.notes) is not None:
            self._note(notes, answer, turn, has_changed=patched is not None and patched != occasion.new)
        return Mutated(None if patched is None else settled(patched, occasion))

    def _patched(self, answer: Answer, occasion: Occasion) -> JSONObject | None:
        if not answer.patch:
            return None
        if occasion.new is None:
            name = self._relevant.webhook.name
            text = f'admission webhook "{name}" attempted to modify the object, which is not supported for this operation'
            raise InternalError(f"Internal error occurred: {text}")
        try:
            patched = json_patch.apply(occasion.new, answer.patch)
        except PatchError as error:
            raise InternalError(f"Internal error occurred: {error}") from error
        if not isinstance(patched, dict):
            raise InternalError("Internal error occurred: the patch of a webhook left no object")
        return patched

    def _note(self, notes: Notes, answer: Answer, turn: int, *, has_changed: bool) -> None:
        """Source: mutating/dispatcher.go, webhookAnnotator."""
        told: JSONObject = {"configuration": self._relevant.configuration, "webhook": self._relevant.webhook.name}
        suffix = f"webhook.admission.k8s.io/round_{turn}_index_{self._relevant.index}"
        notes.add(f"mutation.{suffix}", orjson.dumps({**told, "mutated": has_changed}).decode())
        if answer.patch and notes.has_bodies:
            notes.add(f"patch.{suffix}", orjson.dumps({**told, "patch": answer.patch, "patchType": "JSONPatch"}).decode())
