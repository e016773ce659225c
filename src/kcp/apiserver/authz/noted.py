"""What each authorizer of a chain said, for the audit log; and what the person who asks is told of it.

Before: the composition root, around each step of the chain. After: the step.
Source: kcp pkg/authorization/decorator.go.
"""

from __future__ import annotations

from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes, Decision, Verdict

_DOMAIN = "request.auth.kcp.io"
_WORDS = {Verdict.ALLOW: "Allowed", Verdict.DENY: "Denied", Verdict.NO_OPINION: "NoOpinion"}


class Noted:
    """Writes decision and reason of an authorizer into the request's audit annotations; free where there are none."""

    def __init__(self, key: str, authorizer: Authorizer) -> None:
        """Args: key: `01-requiredgroups`, unique in a chain."""
        self._authorizer = authorizer
        self._decision, self._reason = f"{_DOMAIN}/{key}-decision", f"{_DOMAIN}/{key}-reason"

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        decision = await self._authorizer.authorize(attributes)
        if attributes.notes is not None:
            attributes.notes[self._decision] = _WORDS[decision.verdict]
            attributes.notes[self._reason] = decision.reason
        return decision


class Discreet:
    """Tells nobody why: a reason would say that a workspace exists, or who may do something there."""

    _GRANTED = Decision(Verdict.ALLOW, "access granted")
    _DENIED = {verdict: Decision(verdict, "access denied") for verdict in (Verdict.DENY, Verdict.NO_OPINION)}

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        decision = await self._authorizer.authorize(attributes)
        return self._GRANTED if decision.is_allowed else self._DENIED[decision.verdict]
