"""APIExport controller: every export gets an identity, a secret key whose hash separates its data from everybody else's.

Before: APIExports of all workspaces. After: Secrets in `kcp-system`, `status.identityHash`, condition IdentityValid.
Source: kcp pkg/reconciler/apis/apiexport/apiexport_reconcile.go.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.exports.names import (
    EXPORTS,
    IDENTITY_NAMESPACE,
    IDENTITY_SECRET_KEY,
    IDENTITY_VALID,
    VIRTUAL_WORKSPACE_URLS_READY,
    endpoint_url,
    identity_hash,
)

SECRETS = GVR("", "v1", "secrets")
NAMESPACES = GVR("", "v1", "namespaces")


@dataclass(frozen=True, slots=True)
class ExportReconciler:
    """Makes the identity secret and publishes its hash; never changes a hash once set."""

    get: Callable[[ObjectKey], JSONObject | None]
    for_cluster: Callable[[ClusterName], Client]
    new_key: Callable[[], str]
    """A fresh secret: 256 random bits as text."""
    server_url: Callable[[], str]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        export = self.get(key)
        if export is None or meta.deletion_timestamp(export):
            return Result()
        client = self.for_cluster(key.cluster)
        wanted = meta.copy_json(export)
        now = rfc3339(self.clock.now())
        secret_key = await self._identity(client, key.name, export)
        if secret_key is None:
            reference = meta.nested(export, "spec", "identity", "secretRef")
            message = f"secret {reference['namespace']}/{reference['name']} has no data key {IDENTITY_SECRET_KEY!r}: create it"
            failed = conditions.build(
                IDENTITY_VALID, conditions.FALSE, reason="GenerationFailed", message=message, severity="Error", now=now
            )
            conditions.set_condition(wanted, failed)
        else:
            self._publish(wanted, identity_hash(secret_key), now)
        # Deprecated in kcp's main, where endpoint slices took its place; controllers made for 0.11 know nothing else.
        meta.ensure(wanted, "status")["virtualWorkspaces"] = [{"url": endpoint_url(self.server_url(), key.cluster, key.name)}]
        conditions.set_condition(wanted, conditions.build(VIRTUAL_WORKSPACE_URLS_READY, conditions.TRUE, now=now))
        await commit(client.resource(EXPORTS), export, wanted)
        return Result(requeue_after_s=10.0 if secret_key is None else None)

    def _publish(self, wanted: JSONObject, found: str, now: str) -> None:
        held = meta.nested(wanted, "status", "identityHash", default="")
        if held and held != found:
            message = f"the identity secret's hash is {found}, but this export's identity is {held}: restore the secret"
            condition = conditions.build(
                IDENTITY_VALID, conditions.FALSE, reason="VerificationFailed", message=message, severity="Error", now=now
            )
        else:
            meta.ensure(wanted, "status")["identityHash"] = found
            condition = conditions.build(IDENTITY_VALID, conditions.TRUE, now=now)
        conditions.set_condition(wanted, condition)

    async def _identity(self, client: Client, name: str, export: JSONObject) -> str | None:
        """The key in the secret the export refers to; without a reference, of the default secret, which is made."""
        reference = meta.nested(export, "spec", "identity", "secretRef")
        if reference:
            return await _read_key(client, reference["namespace"], reference["name"])
        held = await _read_key(client, IDENTITY_NAMESPACE, name)
        return held if held is not None else await self._make(client, name)

    async def _make(self, client: Client, name: str) -> str | None:
        namespace: JSONObject = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": IDENTITY_NAMESPACE}}
        await _create_missing(client.resource(NAMESPACES).create(namespace))
        secret: JSONObject = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": IDENTITY_NAMESPACE},
            "data": {IDENTITY_SECRET_KEY: base64.b64encode(self.new_key().encode()).decode()},
        }
        await _create_missing(client.resource(SECRETS).create(secret, namespace=IDENTITY_NAMESPACE))
        return await _read_key(client, IDENTITY_NAMESPACE, name)


async def _create_missing(creation: Awaitable[object]) -> None:
    try:
        await creation
    except AlreadyExists:
        pass  # somebody was first; what is there counts


async def _read_key(client: Client, namespace: str, name: str) -> str | None:
    try:
        secret = await client.resource(SECRETS).get(name, namespace=namespace)
    except NotFound:
        return None
    encoded = meta.nested(secret, "data", IDENTITY_SECRET_KEY)
    return base64.b64decode(encoded).decode() if encoded else None


def build_export_controller(
    informers: InformerFactory,
    for_cluster: Callable[[ClusterName], Client],
    *,
    new_key: Callable[[], str],
    server_url: Callable[[], str],
    clock: Clock,
) -> Controller:
    exports = informers.informer(EXPORTS)
    reconciler = ExportReconciler(exports.get, for_cluster, new_key, server_url, clock)
    controller = Controller("apiexport", reconciler.reconcile, clock=clock, workers=2)
    controller.watch(exports)
    return controller
