"""A token Secret for each service account that a SyncTarget owns: what `kubectl kcp workload sync` of kcp 0.11 waits for.

It makes an account for the syncer, waits until `secrets` of the account name a Secret, and writes its token into the manifest.
Kubernetes before 1.24 made such Secrets for every account; here other accounts ask for tokens, or for Secrets, themselves.
Before: `server.tmc`. After: `controller.builtin.tokensecrets`, which fills the Secret.
Source: kcp release-0.11 pkg/cliplugins/workload/plugin/sync.go, kubernetes 1.23 pkg/controller/serviceaccount/tokens_controller.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.builtin.kinds import SERVICE_ACCOUNTS
from kcp.controller.builtin.tokensecrets import ACCOUNT_NAME, ACCOUNT_UID, SECRETS, TYPE
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tmc.model.kinds import SYNC_TARGETS


@dataclass(frozen=True, slots=True)
class SyncerAccountReconciler:
    account: Callable[[ObjectKey], JSONObject | None]
    secret: Callable[[ObjectKey], JSONObject | None]
    is_target: Callable[[ClusterName, str, str], bool]
    """Whether there is a SyncTarget of this name and uid."""
    for_cluster: Callable[[ClusterName], Client]

    async def reconcile(self, key: ObjectKey) -> Result:
        account = self.account(key)
        if account is None or meta.deletion_timestamp(account) or not self._is_of_syncer(key.cluster, account):
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

    def _is_of_syncer(self, cluster: ClusterName, account: JSONObject) -> bool:
        owners = meta.owner_references(account)
        return any(owner.get("kind") == "SyncTarget" and self.is_target(cluster, owner["name"], owner["uid"]) for owner in owners)


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
    secrets, targets = informers.informer(SECRETS, field_selector=f"type={TYPE}"), informers.informer(SYNC_TARGETS)

    def is_target(cluster: ClusterName, name: str, uid: str) -> bool:
        target = targets.get(ObjectKey(cluster, "", name))
        return target is not None and meta.uid(target) == uid

    def of_secret(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        name = meta.annotations(new or old or {}).get(ACCOUNT_NAME, "")
        return [ObjectKey(key.cluster, key.namespace, name)] if name else []

    def of_target(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:  # noqa: ARG001 - a map function
        """An account may be seen before the target that owns it."""
        return accounts.keys(cluster=key.cluster) if old is None else ()

    reconciler = SyncerAccountReconciler(accounts.get, secrets.get, is_target, for_cluster)
    controller = Controller("tmc-syncer-accounts", reconciler.reconcile, clock=clock, workers=1)
    controller.watch(accounts)
    controller.watch(secrets, of_secret)
    controller.watch(targets, of_target)
    return controller
