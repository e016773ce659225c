"""APIExport controller: every export gets an identity, a secret key whose hash separates its data from everybody else's.

Before: APIExports of all workspaces. After: Secrets in `kcp-system`, `status.identityHash`, condition IdentityValid.
Source: kcp pkg/reconciler/apis/apiexport/apiexport_reconcile.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit_both
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.exports.identities import SECRETS, Identities, identity_secret
from kcp.exports.names import EXPORTS, VIRTUAL_WORKSPACE_URLS_READY, endpoint_url

_BY_SECRET = "identity secret"


@dataclass(frozen=True, slots=True)
class ExportReconciler:
    """Makes the identity secret and publishes its hash; never changes a hash once set."""

    get: Callable[[ObjectKey], JSONObject | None]
    for_cluster: Callable[[ClusterName], Client]
    identities: Identities
    server_url: Callable[[], str] | None
    """Of virtual workspaces; None: an export lists none."""
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        export = self.get(key)
        if export is None or meta.deletion_timestamp(export):
            return Result()
        client = self.for_cluster(key.cluster)
        wanted = meta.copy_json(export)
        now = rfc3339(self.clock.now())
        failure = await self.identities.settle(client, wanted, now)
        if failure is not None:
            await commit_both(client.resource(EXPORTS), export, wanted)
            raise failure
        # Deprecated in kcp's main, where endpoint slices took its place; controllers made for 0.11 know nothing else.
        urls = [{"url": endpoint_url(self.server_url(), key.cluster, key.name)}] if self.server_url is not None else []
        meta.ensure(wanted, "status")["virtualWorkspaces"] = urls
        conditions.set_condition(wanted, conditions.build(VIRTUAL_WORKSPACE_URLS_READY, conditions.TRUE, now=now))
        await commit_both(client.resource(EXPORTS), export, wanted)
        return Result()


def build_export_controller(
    informers: InformerFactory,
    for_cluster: Callable[[ClusterName], Client],
    *,
    new_key: Callable[[], str],
    server_url: Callable[[], str] | None,
    clock: Clock,
) -> Controller:
    exports = informers.informer(EXPORTS, indexers={_BY_SECRET: identity_secret})
    secrets = informers.informer(SECRETS, metadata_only=True)

    def of_secret(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return exports.index_keys(_BY_SECRET, str(key))

    reconciler = ExportReconciler(exports.get, for_cluster, Identities(new_key), server_url, clock)
    controller = Controller("apiexport", reconciler.reconcile, clock=clock, workers=2)
    controller.watch(exports)
    controller.watch(secrets, of_secret)
    return controller
