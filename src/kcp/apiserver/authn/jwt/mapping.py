"""What a token's verified claims make of its owner. Pure.

Before: `authenticator`. After: `expressions`.
Source: k8s.io/apiserver/plugin/pkg/authenticator/token/oidc/oidc.go (AuthenticateToken, getUsername, getGroups, getUID, getExtra).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kcp.apimachinery.errors import Unauthorized
from kcp.apiserver.authn.jwt.config import ClaimOrExpression, JWTConfig
from kcp.apiserver.authn.jwt.expressions import CLAIMS, USER, compiled
from kcp.registry.backend import UserInfo


class ClaimMapper:
    """The rules of one issuer. Its expressions must be valid (`validation.issuer_faults`)."""

    def __init__(self, config: JWTConfig) -> None:
        self._config = config

    def user(self, claims: Mapping[str, Any]) -> UserInfo:
        """The user as the configuration names it, without `system:authenticated`. Raises Unauthorized, with the reason for the log."""
        config = self._config
        name = self._name(claims)
        groups = self._groups(claims)
        uid = self._text(config.uid, claims, "uid") if config.uid.claim or config.uid.expression else ""
        extra = {
            mapping.key: values
            for mapping in config.extra
            if (values := _texts(_evaluate(mapping.expression, CLAIMS, claims), mapping.key))
        }
        self._check_claims(claims)
        user = UserInfo(name, groups, uid, extra)
        self._check_user(user)
        return user

    def _name(self, claims: Mapping[str, Any]) -> str:
        mapping = self._config.username
        if mapping.claim == "email" and claims.get("email_verified", True) is not True:
            raise Unauthorized("oidc: email not verified")
        return self._text(mapping, claims, "username")

    @staticmethod
    def _text(mapping: ClaimOrExpression, claims: Mapping[str, Any], what: str) -> str:
        value = claims.get(mapping.claim) if mapping.claim else _evaluate(mapping.expression, CLAIMS, claims)
        if not isinstance(value, str):
            source = f"claim {mapping.claim!r}" if mapping.claim else "claim expression"
            raise Unauthorized(f"oidc: the {what} {source} must be a string, and is {'absent' if value is None else type(value).__name__}")
        return (mapping.prefix or "") + value

    def _groups(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        mapping = self._config.groups
        if mapping.expression:
            return _texts(_evaluate(mapping.expression, CLAIMS, claims), "groups")
        if not mapping.claim or mapping.claim not in claims:
            return ()
        return tuple((mapping.prefix or "") + group for group in _texts(claims[mapping.claim], "groups"))

    def _check_claims(self, claims: Mapping[str, Any]) -> None:
        for rule in self._config.claim_rules:
            if rule.claim:
                if rule.claim not in claims:
                    raise Unauthorized(f"oidc: required claim {rule.claim} not present in ID token")
                if claims[rule.claim] != rule.required_value:
                    raise Unauthorized(f"oidc: required claim {rule.claim} value does not match")
            elif _evaluate(rule.expression, CLAIMS, claims) is not True:
                raise _refused(rule.expression, rule.message)

    def _check_user(self, user: UserInfo) -> None:
        if not self._config.user_rules:
            return
        shown = {"username": user.name, "uid": user.uid, "groups": list(user.groups), "extra": {k: list(v) for k, v in user.extra.items()}}
        for rule in self._config.user_rules:
            if _evaluate(rule.expression, USER, shown) is not True:
                raise _refused(rule.expression, rule.message)


def _evaluate(text: str, over: str, value: Mapping[str, Any]) -> Any:
    found = compiled(text, over).evaluate({over: value})
    if found.error:
        raise Unauthorized(f"oidc: expression '{text}' cannot be evaluated: {found.error}")
    return found.value


def _refused(expression: str, message: str) -> Unauthorized:
    return Unauthorized(f"oidc: validation expression '{expression}' failed{f': {message}' if message else ''}")


def _texts(value: Any, what: str) -> tuple[str, ...]:
    """A list of strings, or one string for a list of it; "" and null for an empty one. Raises Unauthorized for anything else."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Unauthorized(f"oidc: {what} must be a string or a list of strings")
    return tuple(item for item in value if item)
