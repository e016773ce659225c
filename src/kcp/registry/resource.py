"""What the server knows about one served API resource, and the interface of who knows it (`Catalog`).

One `Resource` is shared by every workspace that serves the same schema: nothing here is per workspace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from kcp.apimachinery.gvk import GVK, GVR, GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject

if TYPE_CHECKING:
    from kcp.apimachinery.cel.rules import RuleNode
    from kcp.apimachinery.schema.structural import Schema
    from kcp.apimachinery.selectors import LabelSelector
    from kcp.apimachinery.table import Column
    from kcp.registry.strategy import Strategy
    from kcp.registry.versions import Versions


class Origin(StrEnum):
    """Where a resource comes from; also the order in which names are looked up in a workspace."""

    BUILTIN = "builtin"
    SYSTEM = "system"
    """A kind of our own that every workspace has without a binding, such as LogicalCluster or APIBinding."""
    BOUND = "bound"
    CRD = "crd"


@dataclass(frozen=True, slots=True)
class Scale:
    """JSON paths of the scale subresource, each as CRDs write it: `.spec.replicas`."""

    spec_replicas_path: str = ".spec.replicas"
    status_replicas_path: str = ".status.replicas"
    label_selector_path: str = ""


@dataclass(frozen=True, slots=True)
class Conversion:
    """For a resource whose objects are stored as another one's: the two are views of the same objects."""

    api_version: str
    """What objects are stored as; of the same kind."""
    to_stored: Callable[[JSONObject], JSONObject]
    """Neither function changes its argument; both may share parts with it."""
    from_stored: Callable[[JSONObject], JSONObject]


@dataclass(frozen=True, slots=True)
class Source:
    """Objects of one cluster that others show as theirs."""

    resource: Resource
    cluster: ClusterName
    labels: LabelSelector
    names: frozenset[str] = frozenset()
    """Empty: whatever they are called."""
    shown_by: Callable[[], Sequence[ClusterName]] | None = None
    """All who show them, in order. None: they cannot be asked at once."""


ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Resource:
    """One resource at one served version."""

    gvr: GVR
    kind: str
    list_kind: str = ""
    """Defaults to `<kind>List`."""
    singular: str = ""
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    origin: Origin = Origin.BUILTIN
    storage_prefix: bytes
    """See `storage.keyspace.resource_prefix`; two versions of one resource share it."""
    storage_version: str = ""
    """Version objects are stored in; "" means the one of `gvr`."""
    conversion: Conversion | None = None
    """For objects that are stored as another resource's; `storage_prefix` is then that one's."""
    alternatives: Callable[[], Mapping[str, Resource]] = dict
    """The other resources that show the same objects by a `conversion` of their own, or without one, by apiVersion."""
    stored_versions: int = 1
    """How many versions there may be objects in: more than one where another one was the storage version before."""
    versions: Versions | None = None
    """For objects that do not always look as they are stored; None: nothing but their apiVersion may differ."""
    every_version: Versions | None = None
    """For objects that do not look alike in all versions of the resource; None: nothing but their apiVersion differs."""
    identity: str = ""
    """Identity hash of the APIExport a bound resource comes from."""
    schema_source: Callable[[], Schema | None] = lambda: None
    """Compiles on first use and caches; None: no schema, everything is kept."""
    rules_source: Callable[[], RuleNode | None] = lambda: None
    """The schema's x-kubernetes-validations, compiled on first use; None: there are none."""
    openapi_source: Callable[[], JSONObject] = dict
    """The raw OpenAPI v3 schema of the kind (may be large): for publishing only."""
    strategy: Strategy
    has_status: bool = False
    status_verbs: tuple[str, ...] = ("get", "patch", "update")
    """What discovery says of its status."""
    scale: Scale | None = None
    columns: tuple[Column, ...] = ()
    """Printer columns; empty: NAME and AGE."""
    storage_hash: str = ""
    """`storageVersionHash` of discovery: the same for two resources whose objects are stored alike."""
    schema_id: str = ""
    """Changes when what the schema says changes: part of the hashes that OpenAPI documents are fetched by."""
    deprecation_warning: str = ""
    selectable_fields: tuple[str, ...] = ()
    """Field paths usable in field selectors beside metadata.name and metadata.namespace, such as `spec.nodeName`."""
    field_values: Mapping[str, Callable[[JSONObject], str]] = field(default_factory=dict)
    """How a selectable field is read where it is not simply the value at its path, such as `spec.unschedulable`: absent is `false`."""
    projection: Callable[[], Source] | None = None
    """Where the objects are that it shows, to be read only; raises StatusError while they are nowhere. None: it has its own."""
    subresources: frozenset[str] = field(default_factory=frozenset)
    """Names of further subresources with handlers of their own, such as `token`, `binding`, `finalize`."""

    group_resource: GroupResource = field(init=False)

    @property
    def is_terminating(self) -> bool:
        """Its CRD or APIBinding is being deleted: objects may change and go, and none may come."""
        return "create" not in self.verbs and "update" in self.verbs

    def __post_init__(self) -> None:
        object.__setattr__(self, "group_resource", self.gvr.group_resource)  # every write asks for it, several times

    @property
    def gvk(self) -> GVK:
        return GVK(self.gvr.group, self.gvr.version, self.kind)

    @property
    def schema(self) -> Schema | None:
        return self.schema_source()

    @property
    def rules(self) -> RuleNode | None:
        return self.rules_source()


class Catalog(Protocol):
    """Who serves which resource, in which logical cluster. Lookups are synchronous and cheap: they are on every request's path."""

    def resolve(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        """The resource served under this name, or None (404).

        For the wildcard cluster, `gvr.resource` may carry an identity, `deployments:<identity hash>`; a resource of a `kcp.io` group
        needs none, because only one export may own it. `deployments:*` is all of that name, whoever defines them: only their metadata is
        alike. `deployments:customresources` are those of local definitions.
        """

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:
        """Everything served in this cluster, each served version, in a stable order: for discovery and OpenAPI."""

    def version(self, cluster: ClusterName) -> str:
        """A token that changes when the set of served resources of this cluster changes: for ETags and caches."""
