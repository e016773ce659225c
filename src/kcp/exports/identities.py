"""Identities of who publishes: a secret key in a Secret, whose hash tells what is published by its owner from everybody else's.

APIExports and ClusterCachedResources have one each. Before: their controllers. After: Secrets, by default in `kcp-system`.
Source: kcp pkg/reconciler/apis/apiexport/apiexport_reconcile.go, pkg/identity.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists, NotFound, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.exports.names import IDENTITY_NAMESPACE, IDENTITY_SECRET_KEY, IDENTITY_VALID, identity_hash

SECRETS = GVR("", "v1", "secrets")
NAMESPACES = GVR("", "v1", "namespaces")


@dataclass(frozen=True, slots=True)
class Identities:
    """Makes the Secrets, and publishes their hashes as `status.identityHash` with condition IdentityValid; a hash once set stays."""

    new_key: Callable[[], str]
    """A fresh secret: 256 random bits as text."""

    async def settle(self, client: Client, wanted: JSONObject, now: str) -> StatusError | None:
        """Say in `wanted` which identity it has, or why it has none. Returns: what kept the Secret from being made."""
        if not meta.nested(wanted, "spec", "identity", "secretRef"):
            name = meta.name(wanted)
            try:
                await self._make(client, name)
            except StatusError as error:
                _judge(wanted, "IdentityGenerationFailed", f"Error creating identity secret: {error}", now)
                return error
            meta.ensure(wanted, "spec", "identity")["secretRef"] = {"namespace": IDENTITY_NAMESPACE, "name": name}
        await self._verify(client, wanted, now)
        return None

    async def _verify(self, client: Client, wanted: JSONObject, now: str) -> None:
        """Publish the identity that the secret gives, or say why it cannot be this object's."""
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


def identity_secret(owner: Mapping[str, Any]) -> Iterable[str]:
    """Where an identity is kept, for an index; an object that does not say it yet is looked at anyway."""
    reference = meta.nested(owner, "spec", "identity", "secretRef", default={})
    return [str(ObjectKey(meta.cluster(owner), reference.get("namespace") or "", reference.get("name") or ""))] if reference else []
