"""One ValidatingWebhookConfiguration for all workspaces, from a file that the operator names: nobody inside sees it or takes it away.

The objects that it is shown say in annotation `kcp.io/cluster` where they are. Before: `server.options` (reads), `server.security`.
After: `webhooks`, imported with the first write.
Source: kcp pkg/admission/globalwebhook, config/examples/global-admission-webhook;
k8s.io/apiserver/pkg/apis/apiserver/v1/types.go (AdmissionConfiguration).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcp.apimachinery import meta
from kcp.apimachinery.keys import CLUSTER_ANNOTATION, ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes.admission import validating_configuration, validating_webhooks
from kcp.apiserver.admission.chain import ALL_VERBS, Plugin
from kcp.apiserver.admission.configurable import AdmissionParts
from kcp.registry.backend import Attributes

if TYPE_CHECKING:
    from kcp.apiserver.admission.webhooks.client import WebhookClient
    from kcp.apiserver.admission.webhooks.model import Configuration
    from kcp.apiserver.admission.webhooks.validating import ValidatingWebhooks

NAME = "apis.kcp.io/GlobalValidatingWebhook"
_CONFIGURATION = ("apiserver.config.k8s.io/v1", "AdmissionConfiguration")
_WEBHOOKS = ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")


class AdmissionConfigError(Exception):
    """A file of `--admission-control-config-file` says what cannot be done."""


def read(file: Path) -> JSONObject | None:
    """The ValidatingWebhookConfiguration that an AdmissionConfiguration leads to, with its defaults; None if it names no webhook.

    Raises: AdmissionConfigError.
    """
    found: JSONObject | None = None
    for plugin in _document(file, _CONFIGURATION).get("plugins") or ():
        if plugin.get("name") != NAME:
            raise AdmissionConfigError(f"{file}: plugin {plugin.get('name')!r} takes no configuration here, only {NAME} does")
        path = plugin.get("path") or ""
        given = plugin.get("configuration")
        found = _document(file.parent / path, _WEBHOOKS) if path else _typed(given, _WEBHOOKS, f"{file}: configuration of {NAME}")
    if found is None or not found.get("webhooks"):
        return None
    validating_webhooks(found)
    if faults := [*map(str, validating_configuration(found, None)), *_unreachable(found)]:
        raise AdmissionConfigError(f"{file}: {NAME}: {'; '.join(faults)}")
    return found


def _document(file: Path, wanted: tuple[str, str]) -> JSONObject:
    import yaml

    try:
        return _typed(yaml.safe_load(file.read_text()), wanted, str(file))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise AdmissionConfigError(f"{file}: {error}") from error


def _typed(found: Any, wanted: tuple[str, str], where: str) -> JSONObject:
    if not isinstance(found, dict) or (found.get("apiVersion"), found.get("kind")) != wanted:
        raise AdmissionConfigError(f"{where}: must be of apiVersion {wanted[0]} and kind {wanted[1]}")
    return found


def _unreachable(configuration: Mapping[str, Any]) -> Iterator[str]:
    """A Service would be in some workspace or other: only a URL is the same for all."""
    for number, webhook in enumerate(configuration["webhooks"]):
        if not (webhook.get("clientConfig") or {}).get("url"):
            yield f"webhooks[{number}].clientConfig.url: Required value"


class _Everywhere:
    def __init__(self, configuration: Configuration) -> None:
        self._configurations = (configuration,)

    def of(self, cluster: ClusterName) -> Sequence[Configuration]:
        return self._configurations


class GlobalWebhook:
    """`close` it in the end."""

    def __init__(self, configuration: JSONObject, parts: AdmissionParts) -> None:
        self._configuration = configuration
        self._parts = parts
        self._client: WebhookClient | None = None
        self._webhooks: ValidatingWebhooks | None = None

    def plugin(self) -> Plugin:
        """Beside the last ones of the chain, which ask the webhooks of workspaces."""
        return Plugin(name="GlobalValidatingWebhook", validate=self.validate, verbs=ALL_VERBS, subresources=None)

    async def validate(self, attributes: Attributes) -> None:
        """Raises what the first webhook that refuses says."""
        cluster = attributes.scope.cluster
        shown = replace(attributes, new=_marked(attributes.new, cluster), old=_marked(attributes.old, cluster))
        await self._started().validate(shown)

    def _started(self) -> ValidatingWebhooks:
        if self._webhooks is None:
            from kcp.apiserver.admission.webhooks.caller import WebhookCalls
            from kcp.apiserver.admission.webhooks.client import WebhookClient
            from kcp.apiserver.admission.webhooks.model import parse_configuration
            from kcp.apiserver.admission.webhooks.validating import ValidatingWebhooks

            parts, self._client = self._parts, WebhookClient()
            calls = WebhookCalls(self._client, parts.catalog.resolve, parts.namespace_of, parts.authorizer, None)
            self._webhooks = ValidatingWebhooks(_Everywhere(parse_configuration(self._configuration)), calls)
        return self._webhooks

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


def _marked(obj: JSONObject | None, cluster: ClusterName) -> JSONObject | None:
    """The same object, saying where it is; it is stored without that."""
    if obj is None or "metadata" not in obj:
        return obj
    return {**obj, "metadata": {**obj["metadata"], "annotations": {**meta.annotations(obj), CLUSTER_ANNOTATION: str(cluster)}}}
