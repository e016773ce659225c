"""NamespaceLifecycle: nothing is created in a namespace that is missing or going away, and some namespaces stay.

Before: `admission.chain`. After: a look-up in the watch cache.
Source: k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go; kcp pkg/admission/namespacelifecycle (workspaces that are
being deleted may lose their `default`).
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause, Forbidden, NotFound
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.refusal import forbidden
from kcp.registry.backend import Attributes

NAMESPACES = GroupResource("", "namespaces")
IMMORTAL = frozenset(("default", "kube-system", "kube-public"))

NamespaceLookup: TypeAlias = Callable[[ClusterName, str], JSONObject | None | Awaitable[JSONObject | None]]
"""The namespace of this name in this cluster as it is now, from the watch cache; None if there is none."""


class NamespaceLifecycle:
    def __init__(
        self,
        namespace_of: NamespaceLookup,
        *,
        immortal: frozenset[str] = IMMORTAL,
        is_cluster_deleted: Callable[[ClusterName], bool] | None = None,
    ) -> None:
        """`is_cluster_deleted`: whether the whole logical cluster is going away; then the immortal namespaces go too."""
        self._namespace_of = namespace_of
        self._immortal = immortal
        self._is_cluster_deleted = is_cluster_deleted

    def plugins(self) -> tuple[Plugin, ...]:
        """Namespaces are checked where they are deleted, everything else where it is created."""
        deletion = Plugin(
            name="NamespaceLifecycle", validate=self.check_deletion, verbs=("DELETE",), resources=frozenset((NAMESPACES,))
        )  # fmt: skip
        creation = Plugin(name="NamespaceLifecycle", mutate=self.check_creation, verbs=("CREATE",), subresources=None)
        return deletion, creation

    async def check_deletion(self, attributes: Attributes) -> None:
        name, cluster = attributes.scope.name, attributes.scope.cluster
        if name not in self._immortal:
            return
        if self._is_cluster_deleted is not None and self._is_cluster_deleted(cluster):
            return
        raise Forbidden(f'namespaces "{name}" is forbidden: this namespace may not be deleted', resource=NAMESPACES, name=name)

    async def check_creation(self, attributes: Attributes) -> JSONObject | None:
        """Before the schema is looked at, so that a missing namespace is the error one gets."""
        name = attributes.scope.namespace
        if not name or attributes.scope.resource.group_resource == NAMESPACES:
            return attributes.new
        found = self._namespace_of(attributes.scope.cluster, name)
        namespace = await found if inspect.isawaitable(found) else found
        if namespace is None:
            raise NotFound.of(NAMESPACES, name)
        if meta.deletion_timestamp(namespace) or meta.nested(namespace, "status", "phase") == "Terminating":
            cause = Cause("metadata.namespace", "NamespaceTerminating", f"namespace {name} is being terminated")
            raise forbidden(attributes, f"unable to create new content in namespace {name} because it is being terminated", [cause])
        return attributes.new
