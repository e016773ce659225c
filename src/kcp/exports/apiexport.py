"""APIExport controller: every export gets an identity, a secret key whose hash separates its data from everybody else's.

Before: APIExports of all workspaces. After: Secrets in `kcp-system`, `status.identityHash`, condition IdentityValid.
Source: kcp pkg/reconciler/apis/apiexport/apiexport_reconcile.go.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists, NotFound, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit_both
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
_BY_SECRET = "identity secret"


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
        if not meta.nested(export, "spec", "identity", "secretRef"):
            try:
                await self._make(client, key.name)
            except StatusError as error:
                _judge(wanted, "IdentityGenerationFailed", f"Error creating identity secret: {error}", now)
                await commit_both(client.resource(EXPORTS), export, wanted)
                raise
            meta.ensure(wanted, "spec", "identity")["secretRef"] = {"namespace": IDENTITY_NAMESPACE, "name": key.name}
        await self._verify(client, wanted, now)
        # Deprecated in kcp's main, where endpoint slices took its place; controllers made for 0.11 know nothing else.
        meta.ensure(wanted, "status")["virtualWorkspaces"] = [{"url": endpoint_url(self.server_url(), key.cluster, key.name)}]
        conditions.set_condition(wanted, conditions.build(VIRTUAL_WORKSPACE_URLS_READY, conditions.TRUE, now=now))
        await commit_both(client.resource(EXPORTS), export, wanted)
        return Result()

    async def _verify(self, client: Client, wanted: JSONObject, now: str) -> None:
        """Publish the identity that the secret gives, or say why it cannot be this export's."""
        reference = wanted["spec"]["identity"]["secretRef"]
        namespace, name = reference.get("namespace") or "", reference.get("name") or ""
        held = meta.nested(wanted, "status", "identityHash", default="")
        try:
            found = _hash_of(await client.resource(SECRETS).get(name, namespace=namespace))
            problem = "" if found else f'secret "{name}" in namespace "{namespace}" is missing data.{IDENTITY_SECRET_KEY}'
        except NotFound:
            found, problem = "", f'secret "{name}" not found in namespace "{namespace}": create it, with data.{IDENTITY_SECRET_KEY}'
        if held and found and found != held:
            problem = f'hash mismatch: identity secret hash "{found}" must match status.identityHash "{held}"'
        if not problem:
            wanted["status"] = {**(wanted.get("status") or {}), "identityHash": held or found}
        _judge(wanted, "IdentityVerificationFailed" if problem else "", problem, now)

    async def _make(self, client: Client, name: str) -> None:
        """The default secret, unless it is there."""
        namespace: JSONObject = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": IDENTITY_NAMESPACE}}
        await _create_missing(client.resource(NAMESPACES).create(namespace))
        secret: JSONObject = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": IDENTITY_NAMESPACE},
            "data": {IDENTITY_SECRET_KEY: base64.b64encode(self.new_key().encode()).decode()},
        }
        await _create_missing(client.resource(SECRETS).create(secret, namespace=IDENTITY_NAMESPACE))


async def _create_missing(creation: Awaitable[object]) -> None:
    try:
        await creation
    except AlreadyExists:
        pass  # somebody was first; what is there counts


def _judge(wanted: JSONObject, reason: str, message: str, now: str) -> None:
    status = conditions.FALSE if reason else conditions.TRUE
    condition = conditions.build(IDENTITY_VALID, status, reason=reason, message=message, severity="Error", now=now)
    conditions.set_condition(wanted, condition)


def _hash_of(secret: JSONObject) -> str:
    """ "" for a secret without a key."""
    encoded = meta.nested(secret, "data", IDENTITY_SECRET_KEY)
    return identity_hash(base64.b64decode(encoded)) if encoded else ""


def _identity_secret(export: Mapping[str, Any]) -> Iterable[str]:
    """Where an export's identity is kept; an export that does not say it yet is looked at anyway."""
    reference = meta.nested(export, "spec", "identity", "secretRef", default={})
    return [str(ObjectKey(meta.cluster(export), reference.get("namespace") or "", reference.get("name") or ""))] if reference else []


def build_export_controller(
    informers: InformerFactory,
    for_cluster: Callable[[ClusterName], Client],
    *,
    new_key: Callable[[], str],
    server_url: Callable[[], str],
    clock: Clock,
) -> Controller:
    exports = informers.informer(EXPORTS, indexers={_BY_SECRET: _identity_secret})
    secrets = informers.informer(SECRETS, metadata_only=True)

    def of_secret(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return [meta.key(export) for export in exports.by_index(_BY_SECRET, str(key))]

    reconciler = ExportReconciler(exports.get, for_cluster, new_key, server_url, clock)
    controller = Controller("apiexport", reconciler.reconcile, clock=clock, workers=2)
    controller.watch(exports)
    controller.watch(secrets, of_secret)
    return controller
