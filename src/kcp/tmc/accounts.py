"""Token Secrets for service accounts, where kcp 0.11's plugin and syncer wait for them: before Kubernetes 1.24 every account had one.

- `kubectl kcp workload sync` makes an account for the syncer, owned by the SyncTarget, waits until `secrets` of the account name a Secret,
  and writes its token into the manifest;
- its syncer puts no workload into a cluster before it has a token of the workload's account.

Every other account asks for tokens, or for a Secret, itself.
Before: `server.tmc`. After: `controller.builtin.tokensecrets`, which fills the Secret.
Source: kcp release-0.11 pkg/cliplugins/workload/plugin/sync.go, pkg/syncer/spec/mutators/podspecable.go,
kubernetes 1.23 pkg/controller/serviceaccount/tokens_controller.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kcp.aio.clock import Clock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.builtin.kinds import SERVICE_ACCOUNTS
from kcp.controller.builtin.tokensecrets import ACCOUNT_NAME, ACCOUNT_UID, SECRETS, TYPE
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tmc.model.indexes import BY_KEY, BY_TARGET, index_by_key, index_by_target
from kcp.tmc.model.kinds import NAMESPACES, SYNC_TARGETS, SYNCER_READY
from kcp.tmc.model.names import sync_target_key, synced_keys


@dataclass(frozen=True, slots=True)
class SyncerAccountReconciler:
    account: Callable[[ObjectKey], JSONObject | None]
    secret: Callable[[ObjectKey], JSONObject | None]
    needs_token: Callable[[ObjectKey, JSONObject], bool]
    for_cluster: Callable[[ClusterName], Client]

    async def reconcile(self, key: ObjectKey) -> Result:
        account = self.account(key)
        if account is None or meta.deletion_timestamp(account) or not self.needs_token(key, account):
            return Result()
        workspace = self.for_cluster(key.cluster)
        held = await workspace.resource(SERVICE_ACCOUNTS).get(key.name, namespace=key.namespace)
        if held.get("secrets") or meta.uid(held) != meta.uid(account):
            return Result()  # it names what it has, or is another one by now: then its event comes
        name = f"{key.name}-token"
        secret = self.secret(ObjectKey(key.cluster, key.namespace, name))
        if secret is None:
            await _ask_for_token(workspace, held, name)
        elif meta.nested(secret, "data", "token", default="") and meta.annotations(secret).get(ACCOUNT_UID) == meta.uid(held):
            await commit(workspace.resource(SERVICE_ACCOUNTS), held, {**held, "secrets": [{"name": name}]})
        return Result()


def waits_for_tokens(target: JSONObject) -> bool:
    """Whether the syncer is kcp 0.11's: it reports whether the cluster lets it work, and nothing of itself."""
    return conditions.get(target, "SyncerAuthorized") is not None and conditions.get(target, SYNCER_READY) is None


@dataclass(frozen=True, slots=True)
class Needs:
    """Whose accounts get tokens."""

    target: Callable[[ObjectKey], JSONObject | None]
    target_of: Callable[[str], JSONObject | None]
    """K → its SyncTarget."""
    namespace: Callable[[ObjectKey], JSONObject | None]

    def token(self, key: ObjectKey, account: JSONObject) -> bool:
        return self._is_of_syncer(key.cluster, account) or self._is_served(key)

    def _is_of_syncer(self, cluster: ClusterName, account: JSONObject) -> bool:
        owners = [owner for owner in meta.owner_references(account) if owner.get("kind") == "SyncTarget"]
        targets = ((owner["uid"], self.target(ObjectKey(cluster, "", owner["name"]))) for owner in owners)
        return any(target is not None and meta.uid(target) == uid for uid, target in targets)

    def _is_served(self, key: ObjectKey) -> bool:
        namespace = self.namespace(ObjectKey(key.cluster, "", key.namespace))
        targets = (self.target_of(k) for k in synced_keys(namespace)) if namespace is not None else ()
        return any(target is not None and waits_for_tokens(target) for target in targets)


async def _ask_for_token(workspace: Client, account: JSONObject, name: str) -> None:
    annotations = {ACCOUNT_NAME: meta.name(account), ACCOUNT_UID: meta.uid(account)}
    secret = {"apiVersion": "v1", "kind": "Secret", "type": TYPE, "metadata": {"name": name, "annotations": annotations}}
    try:
        await workspace.resource(SECRETS).create(secret, namespace=meta.namespace(account))
    except AlreadyExists:
        pass  # its event is on the way, unless it is somebody's own, of another type


def build_syncer_account_controller(
    informers: InformerFactory, for_cluster: Callable[[ClusterName], Client], *, clock: Clock
) -> Controller:
    accounts = informers.informer(SERVICE_ACCOUNTS, metadata_only=True)
    secrets = informers.informer(SECRETS, field_selector=f"type={TYPE}")
    targets = informers.informer(SYNC_TARGETS, indexers={BY_KEY: index_by_key})
    namespaces = informers.informer(NAMESPACES, indexers={BY_TARGET: index_by_target})

    def of_secret(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        name = meta.annotations(new or old or {}).get(ACCOUNT_NAME, "")
        return [ObjectKey(key.cluster, key.namespace, name)] if name else []

    def of_target(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """An account may be seen before the target that owns it; what a syncer is shows later."""
        if new is not None and old is None:
            yield from accounts.keys(cluster=key.cluster)
        if new is not None and waits_for_tokens(new) and not (old is not None and waits_for_tokens(old)):
            for namespace in namespaces.index_keys(BY_TARGET, sync_target_key(key.cluster, key.name)):
                yield from accounts.keys(cluster=namespace.cluster, namespace=namespace.name)

    def of_namespace(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        placed, before = synced_keys(new or {}), synced_keys(old or {})
        return () if placed == before else accounts.keys(cluster=key.cluster, namespace=key.name)

    needs = Needs(targets.get, lambda k: next(iter(targets.by_index(BY_KEY, k)), None), namespaces.get)
    reconciler = SyncerAccountReconciler(accounts.get, secrets.get, needs.token, for_cluster)
    controller = Controller("tmc-syncer-accounts", reconciler.reconcile, clock=clock, workers=1)
    controller.watch(accounts)
    controller.watch(secrets, of_secret)
    controller.watch(targets, of_target)
    controller.watch(namespaces, of_namespace)
    return controller
