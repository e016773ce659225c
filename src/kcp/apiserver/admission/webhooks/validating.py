"""Validating webhooks: called all at the same time, with the object as it will be stored.

Before: `engine`. After: `caller`. Source: k8s.io/apiserver/pkg/admission/plugin/webhook/validating/dispatcher.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.admission.occasion import Occasion
from kcp.apiserver.admission.webhooks.caller import Relevant, WebhookCalls
from kcp.apiserver.admission.webhooks.model import Configuration
from kcp.registry.backend import Attributes


class Configurations(Protocol):
    """What is configured where."""

    def of(self, cluster: ClusterName) -> Sequence[Configuration]: ...


class ValidatingWebhooks:
    def __init__(self, configurations: Configurations, calls: WebhookCalls) -> None:
        self._configurations = configurations
        self._calls = calls

    async def validate(self, attributes: Attributes) -> None:
        """Raises what the first webhook that refuses says."""
        occasion = Occasion.of(attributes)
        configurations = self._configurations.of(occasion.configured_in)
        if not configurations:
            return
        relevant = [found async for found in self._calls.relevant(configurations, occasion)]
        if not relevant:
            return
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(self._call(found)) for found in relevant]
        for call in calls:
            refused = call.result()
            if refused is not None:
                raise refused

    async def _call(self, relevant: Relevant) -> StatusError | None:
        try:
            await self._calls.call(relevant, relevant.occasion, phase="validating")
        except StatusError as refused:
            return refused
        return None
