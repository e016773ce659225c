"""Secrets of type `kubernetes.io/service-account-token`: filled with a token, the CA and the namespace, and gone with their account.

Before: `server.controllers`, `sim.cluster`, which say how a token is made. After: the secrets.
Source: kubernetes pkg/controller/serviceaccount/tokens_controller.go.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Conflict, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.builtin.kinds import SERVICE_ACCOUNTS, ForCluster
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory

SECRETS = GVR("", "v1", "secrets")
TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
_BY_ACCOUNT = "account"

IssueToken: TypeAlias = Callable[[JSONObject, ClusterName, str], str]
"""(service account, its cluster, name of the secret) → token."""


def filled(secret: JSONObject, account: JSONObject, *, ca: str, issue: Callable[[], str]) -> JSONObject:
    """The secret as it ought to be; a token that it has is kept. Source: generateTokenIfNeeded."""
    data = dict(secret.get("data") or {})
    if ca and data.get("ca.crt") != _base64(ca):
        data["ca.crt"] = _base64(ca)
    if not data.get("namespace"):
        data["namespace"] = _base64(meta.namespace(secret))
    if not data.get("token"):
        data["token"] = _base64(issue())
    if data == (secret.get("data") or {}):
        return secret
    wanted: JSONObject = meta.copy_json(secret)
    wanted["data"] = data
    meta.set_annotation(wanted, ACCOUNT_NAME, meta.name(account))
    meta.set_annotation(wanted, ACCOUNT_UID, meta.uid(account))
    return wanted


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@dataclass(frozen=True, slots=True)
class TokenSecretReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    for_cluster: ForCluster
    issue: IssueToken
    ca_bundle: Callable[[], str]

    async def reconcile(self, key: ObjectKey) -> Result:
        secret = self.get(key)
        if secret is None or meta.deletion_timestamp(secret):
            return Result()
        secrets = self.for_cluster(key.cluster).resource(SECRETS)
        account = await self._account(key, secret)
        if account is None:
            try:
                await secrets.delete(key.name, namespace=key.namespace, uid=meta.uid(secret))
            except (NotFound, Conflict):
                return Result()  # gone, or another one by now
            return Result()
        wanted = filled(secret, account, ca=self.ca_bundle(), issue=partial(self.issue, account, key.cluster, key.name))
        await commit(secrets, secret, wanted)
        return Result()

    async def _account(self, key: ObjectKey, secret: JSONObject) -> JSONObject | None:
        """The account that the secret is for, as the server itself has it: a secret is not deleted on the word of a mirror."""
        annotations = meta.annotations(secret)
        name, uid = annotations.get(ACCOUNT_NAME, ""), annotations.get(ACCOUNT_UID, "")
        try:
            account = await self.for_cluster(key.cluster).resource(SERVICE_ACCOUNTS).get(name, namespace=key.namespace)
        except NotFound as error:
            if error.name != name:
                raise
            return None
        return account if uid in ("", meta.uid(account)) else None


def build_token_secret_controller(
    informers: InformerFactory, *, for_cluster: ForCluster, clock: Clock, issue: IssueToken, ca_bundle: Callable[[], str], workers: int = 2
) -> Controller:
    """Args: ca_bundle: PEM, asked for at every reconcile."""
    secrets = informers.informer(SECRETS, field_selector=f"type={TYPE}", indexers={_BY_ACCOUNT: _account_of})
    accounts = informers.informer(SERVICE_ACCOUNTS, metadata_only=True)

    def of_account(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """What an account's end, or its replacement, leaves behind."""
        if old is None or (new is not None and meta.uid(old) == meta.uid(new)):
            return ()
        return secrets.index_keys(_BY_ACCOUNT, str(key))

    reconciler = TokenSecretReconciler(secrets.get, for_cluster, issue, ca_bundle)
    controller: Controller = Controller("token-secret", reconciler.reconcile, clock=clock, workers=workers)
    controller.watch(secrets)
    controller.watch(accounts, of_account)
    return controller


def _account_of(secret: Mapping[str, Any]) -> list[str]:
    return [str(ObjectKey(meta.cluster(secret), meta.namespace(secret), meta.annotations(secret).get(ACCOUNT_NAME, "")))]
