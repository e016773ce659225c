"""ServiceAccount: every Pod runs as one. Only for servers whose Pods are real (simulated clusters), not for workspaces.

No token volume is added: there is no kubelet to fill it.
Before: `admission.chain`. After: a look-up in the watch cache.
Source: k8s.io/kubernetes/plugin/pkg/admission/serviceaccount/admission.go.
"""

from __future__ import annotations

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.refusal import forbidden
from kcp.apiserver.authn.identity import ObjectLookup, found
from kcp.registry.backend import Attributes

PODS = GroupResource("", "pods")
SERVICE_ACCOUNTS = GroupResource("", "serviceaccounts")
DEFAULT = "default"


class PodServiceAccounts:
    def __init__(self, lookup: ObjectLookup | None = None) -> None:
        """With `lookup`, a Pod of a missing account is refused."""
        self._lookup = lookup

    def plugin(self) -> Plugin:
        return Plugin(
            name="ServiceAccount", mutate=self.set_account, validate=self.check_account, verbs=("CREATE",), resources=frozenset((PODS,))
        )

    async def set_account(self, attributes: Attributes) -> JSONObject | None:
        pod = attributes.new
        if pod is not None:
            spec = meta.ensure(pod, "spec")
            account = spec.get("serviceAccountName") or spec.get("serviceAccount") or DEFAULT
            spec["serviceAccountName"] = spec["serviceAccount"] = account
        return pod

    async def check_account(self, attributes: Attributes) -> None:
        if self._lookup is None or attributes.new is None:
            return
        name, scope = meta.nested(attributes.new, "spec", "serviceAccountName", default=DEFAULT), attributes.scope
        if await found(self._lookup, SERVICE_ACCOUNTS, scope.cluster, scope.namespace, name) is None:
            text = f'error looking up service account {scope.namespace}/{name}: serviceaccount "{name}" not found'
            raise forbidden(attributes, text)
