"""An export does not change the scope of what it has served: objects stored in namespaces could not be found without them, nor the reverse.

Before: `server.compose`. After: `names`.
Source: kcp test/e2e/reconciler/apiexport/apiexporthistory_test.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.refusal import forbidden
from kcp.exports.names import EXPORTS, exported_resources
from kcp.registry.backend import Attributes


@dataclass(frozen=True, slots=True)
class ScopeAdmission:
    schema_of: Callable[[ClusterName, str], JSONObject | None]
    """(cluster, name) → the APIResourceSchema."""
    bound_scope: Callable[[GroupResource, str], str]
    """(resource, identity) → the scope under which workspaces have bound it; "" if none has."""

    def plugin(self) -> Plugin:
        only = frozenset((EXPORTS.group_resource,))
        return Plugin(name="APIExportScope", validate=self.validate, verbs=("UPDATE",), resources=only)

    async def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden."""
        new, old = attributes.new, attributes.old
        if new is None or old is None or new.get("spec") == old.get("spec"):
            return
        if faults := list(self._faults(attributes.scope.cluster, new, old)):
            raise forbidden(attributes, str(faults[0]), faults)

    def _faults(self, cluster: ClusterName, new: JSONObject, old: JSONObject) -> Iterator[Cause]:
        before = {resource.group_resource: self._scope(cluster, resource.schema) for resource in exported_resources(old)}
        identity = meta.nested(old, "status", "identityHash", default="")
        for at, resource in enumerate(exported_resources(new)):
            gr, scope = resource.group_resource, self._scope(cluster, resource.schema)
            served = self.bound_scope(gr, identity) or before.get(gr, "")
            if scope and served and scope != served:
                told = f"{gr} cannot be served with scope {scope}, as it has been served with scope {served}"
                yield Cause.invalid(f"spec.resources[{at}].schema", resource.schema, told)

    def _scope(self, cluster: ClusterName, schema: str) -> str:
        return str(meta.nested(self.schema_of(cluster, schema) or {}, "spec", "scope", default=""))
