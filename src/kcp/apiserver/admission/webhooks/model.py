"""Webhooks as admission calls them: parsed once per change of their configuration.

Before: `hooks`. After: `matching`, `apimachinery.cel.admission`. Source: k8s.io/api/admissionregistration/v1/types.go.
"""

from __future__ import annotations

import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from posixpath import normpath
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from kcp.apimachinery import meta
from kcp.apimachinery.cel.admission import Kind
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.expressions import Named
from kcp.apiserver.admission.matching import Match
from kcp.apiserver.admission.policies.model import parse_conditions
from kcp.apiserver.admission.webhooks.client import Target, Unreachable

_TIMEOUT_S = 10
REVIEW_VERSIONS = ("v1", "v1beta1")


@dataclass(frozen=True, slots=True)
class ServiceReference:
    namespace: str
    name: str
    port: int
    path: str

    @property
    def host(self) -> str:
        """The name its certificate must be for."""
        return f"{self.name}.{self.namespace}.svc"


ServiceResolver: TypeAlias = Callable[[ClusterName, ServiceReference], Awaitable[str | None]]
"""`https://<address>:<port>` of a Service, None if it leads nowhere."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A `clientConfig`."""

    url: str
    """"" where it is reached through `service`."""
    service: ServiceReference | None
    ca_pem: bytes
    """b"": the system's authorities."""

    @classmethod
    def of(cls, client: Mapping[str, Any]) -> Endpoint:
        reference = client.get("service")
        service = None
        if reference:
            path = reference.get("path") or ""
            service = ServiceReference(reference.get("namespace") or "", reference.get("name") or "", reference.get("port") or 443, path)
        return cls(str(client.get("url") or ""), service, _decoded(client.get("caBundle")))

    async def target(self, cluster: ClusterName, resolve: ServiceResolver | None, *, timeout_s: int) -> Target:
        """Where it leads at the moment. Raises Unreachable for a Service with nobody behind it."""
        service = self.service
        if service is None:
            return Target(_cleaned(self.url), self.ca_pem)
        address = await resolve(cluster, service) if resolve is not None else None
        if address is None:
            where = f"https://{service.host}:{service.port}{service.path}?timeout={timeout_s}s"
            raise Unreachable(f'Post "{where}": no endpoints available for service "{service.name}"')
        return Target(_cleaned(f"{address}/{service.path}"), self.ca_pem, service.host)


def _cleaned(url: str) -> str:
    """With one slash where several are, and none at the end. Source: k8s.io/client-go/rest/request.go (NewRequest).

    >>> _cleaned("https://h:1//hook/"), _cleaned("https://h"), _cleaned("https://h/a/../b")
    ('https://h:1/hook', 'https://h/', 'https://h/b')
    """
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=normpath("/" + parts.path.lstrip("/"))))


@dataclass(frozen=True, slots=True)
class Webhook:
    name: str
    match: Match
    conditions: tuple[Named, ...]
    endpoint: Endpoint
    timeout_s: int
    is_ignoring: bool
    """failurePolicy Ignore."""
    has_side_effects: bool
    """It must not be called for a dry run."""
    is_reinvoked: bool
    review_version: str = "v1"
    """Of the AdmissionReview that it is sent: the first of its `admissionReviewVersions` that there is; "" for none."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A MutatingWebhookConfiguration or ValidatingWebhookConfiguration."""

    name: str
    webhooks: tuple[Webhook, ...]


def parse_configuration(obj: JSONObject) -> Configuration:
    return Configuration(meta.name(obj), tuple(_webhook(given) for given in obj.get("webhooks") or ()))


def _webhook(given: Mapping[str, Any]) -> Webhook:
    return Webhook(
        name=str(given.get("name") or ""),
        match=Match.of_webhook(given),
        conditions=parse_conditions(given.get("matchConditions") or (), Kind()),
        endpoint=Endpoint.of(given.get("clientConfig") or {}),
        timeout_s=int(given.get("timeoutSeconds") or _TIMEOUT_S),
        is_ignoring=given.get("failurePolicy") == "Ignore",
        has_side_effects=given.get("sideEffects") not in ("None", "NoneOnDryRun"),
        is_reinvoked=given.get("reinvocationPolicy") == "IfNeeded",
        review_version=next((version for version in given.get("admissionReviewVersions") or () if version in REVIEW_VERSIONS), ""),
    )


def _decoded(bundle: Any) -> bytes:
    try:
        return binascii.a2b_base64(bundle) if bundle else b""
    except (binascii.Error, TypeError, ValueError):
        return b""
