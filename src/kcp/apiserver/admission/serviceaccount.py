"""ServiceAccount: every Pod runs as one that exists, with its token and its image pull secrets.

Only for servers whose Pods are real (simulated clusters), not for workspaces. Before: `admission.chain`. After: the watch cache of
ServiceAccounts, `serviceaccountparts`.
Source: k8s.io/kubernetes/plugin/pkg/admission/serviceaccount/admission.go.
"""

from __future__ import annotations

import asyncio
import random

from kcp.aio.clock import Clock
from kcp.aio.deadline import within
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.refusal import forbidden
from kcp.apiserver.admission.serviceaccountparts import is_enforced, mirror_fault, mount_token, secret_faults, wants_token
from kcp.registry.backend import Attributes
from kcp.registry.objectmeta import generated_name
from kcp.storage.item import Item
from kcp.storage.keyspace import object_key, resource_prefix
from kcp.storage.prefixcache import PrefixCache
from kcp.storage.subscriptions import CacheEvent
from kcp.storage.watchcache import WatchCache

PODS = GroupResource("", "pods")
SERVICE_ACCOUNTS = GroupResource("", "serviceaccounts")
DEFAULT = "default"
_MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
_PATIENCE_S = 1.5
"""How long a Pod waits for the account `default`, which a controller makes in each new namespace; upstream asks ten times in 1 to 2 s."""


class PodServiceAccounts:
    def __init__(self, accounts: PrefixCache, clock: Clock, dice: random.Random) -> None:
        """Args: dice: for the names of token volumes."""
        self._accounts, self._clock, self._dice = accounts, clock, dice
        self._awaited: dict[ObjectKey, asyncio.Event] = {}
        accounts.listen(self._changed)

    @classmethod
    async def open(cls, cache: WatchCache, clock: Clock, dice: random.Random) -> PodServiceAccounts:
        return cls(await cache.prefix(resource_prefix(SERVICE_ACCOUNTS)), clock, dice)

    def plugins(self) -> tuple[Plugin, Plugin]:
        pods = frozenset((PODS,))
        return (
            Plugin(name="ServiceAccount", mutate=self.set_account, validate=self.check_account, verbs=("CREATE",), resources=pods),
            Plugin(
                name="ServiceAccount", validate=self.check_debugging, verbs=("UPDATE",), resources=pods,
                subresources=frozenset(("ephemeralcontainers",)),
            ),
        )  # fmt: skip

    async def set_account(self, attributes: Attributes) -> JSONObject | None:
        """Raises Forbidden where the account does not exist."""
        pod = attributes.new
        if pod is None or _MIRROR_ANNOTATION in meta.annotations(pod):
            return pod
        spec = meta.ensure(pod, "spec")
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or DEFAULT
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = await self._account(attributes, name)
        if wants_token(account, spec):
            mount_token(spec, lambda base: generated_name(base, self._dice))
        if not spec.get("imagePullSecrets") and (secrets := account.get("imagePullSecrets")):
            spec["imagePullSecrets"] = [{"name": secret.get("name", "")} for secret in secrets]
        return pod

    async def check_account(self, attributes: Attributes) -> None:
        """What others in the chain may have made of it. Raises Forbidden."""
        pod = attributes.new or {}
        if _MIRROR_ANNOTATION in meta.annotations(pod):
            if fault := mirror_fault(pod):
                raise forbidden(attributes, fault)
            return
        name = meta.nested(pod, "spec", "serviceAccountName")
        if not name:
            raise forbidden(attributes, f"no service account specified for pod {attributes.scope.namespace}/{meta.name(pod)}")
        self._check_secrets(attributes, await self._account(attributes, name), "containers")

    async def check_debugging(self, attributes: Attributes) -> None:
        """Raises Forbidden where a container for debugging refers to a secret that the account may not mount."""
        name = meta.nested(attributes.new or {}, "spec", "serviceAccountName")
        if not name:
            raise forbidden(attributes, f"no service account specified for pod {attributes.scope.namespace}/{attributes.scope.name}")
        self._check_secrets(attributes, await self._account(attributes, name), "ephemeralContainers")

    def _check_secrets(self, attributes: Attributes, account: JSONObject, part: str) -> None:
        if is_enforced(account):
            for fault in secret_faults(account, meta.nested(attributes.new or {}, "spec", default={}), part):
                raise forbidden(attributes, fault)

    async def _account(self, attributes: Attributes, name: str) -> JSONObject:
        scope = attributes.scope
        key = ObjectKey(scope.cluster, scope.namespace, name)
        item = self._held(key)
        if item is None and name == DEFAULT:
            try:
                await within(self._clock, _PATIENCE_S, self._awaited.setdefault(key, asyncio.Event()).wait())
            except TimeoutError:
                self._awaited.pop(key, None)
            item = self._held(key)
        if item is None:
            text = f'error looking up service account {scope.namespace}/{name}: serviceaccount "{name}" not found'
            raise forbidden(attributes, text)
        return item.decode()

    def _held(self, key: ObjectKey) -> Item | None:
        return self._accounts.get(object_key(self._accounts.prefix, key))

    def _changed(self, event: CacheEvent) -> None:
        awaited = self._awaited.pop(event.item.key, None) if event.type != "DELETED" and self._awaited else None
        if awaited is not None:
            awaited.set()
