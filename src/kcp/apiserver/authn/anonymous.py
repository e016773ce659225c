"""Requests without credentials: whether they are let through, and where.

Before: `authn.chain`; the server changes the rule with its configuration. After: nothing.
Source: k8s.io/apiserver/pkg/authentication/request/anonymous/anonymous.go, KEP-4633.
"""

from __future__ import annotations

from collections.abc import Collection


class AnonymousAccess:
    """The rule in force."""

    __slots__ = ("_is_enabled", "_paths")

    def __init__(self, *, is_enabled: bool = True, paths: Collection[str] = ()) -> None:
        self.use(is_enabled=is_enabled, paths=paths)

    def use(self, *, is_enabled: bool, paths: Collection[str] = ()) -> None:
        """From now on. Args: paths: only these, exactly as in the URL behind `/clusters/<path>`; empty: all."""
        self._is_enabled = is_enabled
        self._paths = frozenset(paths)

    def admits(self, path: str) -> bool:
        """
        >>> AnonymousAccess(paths=["/livez"]).admits("/livez"), AnonymousAccess(paths=["/livez"]).admits("/livez/ping")
        (True, False)
        """
        return self._is_enabled and (not self._paths or path in self._paths)
