"""Tokens of consumers' service accounts, for a provider that claims `serviceaccounts/token` besides the accounts themselves.

A token is made for an account that the provider sees through its view, and for no other: the claim on accounts says which these are.
Before: `workspace`. After: `apiserver.authn.reviews`.
Source: kcp test/e2e/virtual/apiexport/serviceaccount_test.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GroupResource
from kcp.apiserver.request import Handler, Request, Response
from kcp.apiserver.resources import ConnectorKey
from kcp.exports.claims import ACCOUNT_TOKENS
from kcp.registry.backend import Backend, Scope
from kcp.registry.resource import Resource
from kcp.virtual.apiexport.catalog import ExportCatalog

ACCOUNTS = GroupResource("", "serviceaccounts")


@dataclass(frozen=True, slots=True)
class SeenAccounts:
    """The handler of token requests, behind a look whether the account is seen."""

    inner: Handler
    backend: Backend
    accounts: Resource

    async def __call__(self, request: Request) -> Response:
        """Raises NotFound for an account that the view does not show."""
        info = request.info
        await self.backend.get(Scope(self.accounts, info.cluster, info.namespace, info.name))
        return await self.inner(request)


def token_connectors(catalog: ExportCatalog, backend: Backend, accounts: Resource, inner: Handler) -> Mapping[ConnectorKey, Handler]:
    """Empty where tokens are not claimed. Args: backend: the view's own, which hides what is not claimed."""
    if ACCOUNT_TOKENS not in catalog.claims:
        return {}
    handler: Handler = SeenAccounts(inner, backend, accounts) if ACCOUNTS in catalog.claims else _unseen
    return {(ACCOUNTS.group, ACCOUNTS.resource, "token"): handler}


async def _unseen(request: Request) -> Response:
    raise NotFound.of(ACCOUNTS, request.info.name)
