"""An authorizer outside of this server: asked with a SubjectAccessReview over HTTPS, its answers remembered for a while.

What it cannot answer, because it is down or says nothing that makes sense, it has no opinion about.
Before: the composition root, at the place in the chain that the operator chose. After: `client.http`.
Source: k8s.io/apiserver/plugin/pkg/authorizer/webhook/webhook.go, k8s.io/apiserver/pkg/util/webhook/webhook.go; kcp's cluster name.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from kcp.aio.clock import Clock
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.authz.attributes import NO_OPINION, AuthzAttributes, Decision, Verdict
from kcp.client.transport import RawRequest, Transport, TransportError

log = logging.getLogger(__name__)

GROUP = "authorization.k8s.io"
VERSIONS = ("v1", "v1beta1")
CLUSTER_EXTRA = "authorization.kcp.io/cluster-name"
"""Extra of the user: the logical cluster that the question is about."""
_MOST_ANSWERS = 8_192
_LONGEST_REMEMBERED = 10_000
"""Characters of what the asking chooses; longer questions may be meant to fill the memory."""
_ATTEMPTS, _FIRST_PAUSE_S, _FACTOR = 5, 0.5, 1.5
_WORTH_ANOTHER_TRY = frozenset((429, 500, 504))


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookRules:
    version: str = "v1beta1"
    """Of the SubjectAccessReview that is sent and expected."""
    authorized_ttl_s: float = 300.0
    unauthorized_ttl_s: float = 30.0


class WebhookAuthorizer:
    """One service."""

    def __init__(self, transport: Transport, path: str, rules: WebhookRules, *, clock: Clock) -> None:
        """Args: path: of the service's URL."""
        self._transport = transport
        self._path = path or "/"
        self._rules = rules
        self._clock = clock
        self._answers: OrderedDict[bytes, tuple[float, Decision]] = OrderedDict()

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        spec = orjson.dumps(self._spec(attributes))
        held = self._answers.get(spec)
        if held is not None and self._clock.monotonic() < held[0]:
            return held[1]
        try:
            status = await self._ask(spec)
        except (TransportError, _Useless) as fault:
            log.error("the authorization webhook has no opinion, for it failed: %s", fault)
            return NO_OPINION
        decision = _decision(status)
        if _size(attributes) < _LONGEST_REMEMBERED:
            self._remember(spec, decision)
        return decision

    async def close(self) -> None:
        await self._transport.close()

    def _remember(self, spec: bytes, decision: Decision) -> None:
        ttl_s = self._rules.authorized_ttl_s if decision.is_allowed else self._rules.unauthorized_ttl_s
        self._answers.pop(spec, None)
        if ttl_s > 0:
            self._answers[spec] = (self._clock.monotonic() + ttl_s, decision)
        if len(self._answers) > _MOST_ANSWERS:
            self._answers.popitem(last=False)

    def _spec(self, asked: AuthzAttributes) -> JSONObject:
        user = asked.user
        spec: JSONObject = {"user": user.name}
        if user.uid:
            spec["uid"] = user.uid
        if user.groups:
            spec["groups" if self._rules.version == "v1" else "group"] = list(user.groups)
        extra = {key: list(values) for key, values in user.extra.items()}
        if asked.cluster:
            extra[CLUSTER_EXTRA] = [str(asked.cluster)]
        if extra:
            spec["extra"] = extra
        if not asked.is_resource:
            return {**spec, "nonResourceAttributes": {"path": asked.path, "verb": asked.verb}}
        fields = {
            "namespace": asked.namespace, "verb": asked.verb, "group": asked.group, "version": asked.version,
            "resource": asked.resource, "subresource": asked.subresource, "name": asked.name,
        }  # fmt: skip
        return {**spec, "resourceAttributes": {name: value for name, value in fields.items() if value}}

    async def _ask(self, spec: bytes) -> Mapping[str, Any]:
        """Its status. Raises TransportError, _Useless."""
        head = {"apiVersion": f"{GROUP}/{self._rules.version}", "kind": "SubjectAccessReview", "metadata": {}}
        body = orjson.dumps({**head, "spec": orjson.Fragment(spec)})
        headers = {"content-type": "application/json", "accept": "application/json", "user-agent": "kcp-authorizer"}
        request = RawRequest("POST", self._path, headers=headers, body=body)
        pause_s = _FIRST_PAUSE_S
        for attempt in range(1, _ATTEMPTS + 1):
            answer = await self._transport.request(request)
            if answer.status in (200, 201):
                return _status(answer.body)
            if answer.status not in _WORTH_ANOTHER_TRY or attempt == _ATTEMPTS:
                break
            await self._clock.sleep(pause_s)
            pause_s *= _FACTOR
        raise _Useless(f"it answered {answer.status}: {answer.body[:200].decode(errors='replace')}")


class _Useless(Exception):
    """An answer came that is none."""


def _status(body: bytes) -> Mapping[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise _Useless(f"its answer is not JSON: {fault}") from fault
    status = found.get("status") if isinstance(found, dict) else None
    if not isinstance(status, dict):
        raise _Useless("its answer is no SubjectAccessReview with a status")
    return status


def _decision(status: Mapping[str, Any]) -> Decision:
    """Who both allows and denies, denies."""
    reason = str(status.get("reason") or "")
    if status.get("denied") is True:
        return Decision(Verdict.DENY, reason)
    return Decision(Verdict.ALLOW if status.get("allowed") is True else Verdict.NO_OPINION, reason)


def _size(asked: AuthzAttributes) -> int:
    chosen = (asked.namespace, asked.verb, asked.group, asked.version, asked.resource, asked.subresource, asked.name, asked.path)
    return sum(map(len, chosen))
