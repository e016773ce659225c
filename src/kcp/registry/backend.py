"""What a request handler needs of storage: objects of one resource, read and written with API semantics.

`registry.generic.Registry` is the ordinary implementation over a Store and its watch cache. A virtual workspace supplies its own, which
transforms what another backend answers. Errors are `apimachinery.errors.StatusError` only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.registry.resource import Resource
from kcp.storage.item import EventType as EventType
from kcp.storage.item import Item as Item
from kcp.storage.item import WatchEvent as WatchEvent

if TYPE_CHECKING:
    from kcp.apimachinery.apply.versions import Show
    from kcp.apimachinery.selectors import FieldSelector, LabelSelector

Verb: TypeAlias = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


@dataclass(frozen=True, slots=True)
class Scope:
    """Which objects a call is about: one object if `name` is set, else a namespace, a cluster or (reads only) all clusters."""

    resource: Resource
    cluster: ClusterName
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    """"" or "status", "scale", …"""

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.cluster, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class ListQuery:
    labels: LabelSelector | None = None
    fields: FieldSelector | None = None
    limit: int = 0
    continue_token: str = ""
    resource_version: str = ""
    resource_version_match: str = ""


@dataclass(frozen=True, slots=True)
class ListResult:
    items: Sequence[Item]
    revision: int
    continue_token: str = ""
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class WatchQuery:
    labels: LabelSelector | None = None
    fields: FieldSelector | None = None
    resource_version: str = ""
    bookmarks: bool = False
    send_initial_events: bool | None = None
    """True: the state first, ended by a bookmark; False: never the state; None: the state if `resource_version` is "" or "0"."""
    timeout_s: float = 0.0
    """0: the server's choice."""


class Notes(dict[str, str]):
    """Audit annotations of one request: the first value of a key stays. Source: k8s.io/apiserver/pkg/audit/context.go."""

    __slots__ = ("has_bodies",)

    def __init__(self, *, has_bodies: bool = False) -> None:
        """Args: has_bodies: objects are recorded too, and so what is done to them may be."""
        self.has_bodies = has_bodies

    def add(self, key: str, value: str) -> None:
        self.setdefault(key, value)


@dataclass(frozen=True, slots=True)
class Attributes:
    """One write on its way through admission."""

    verb: Verb
    scope: Scope
    user: UserInfo
    new: JSONObject | None
    """The object as it would be stored; None for DELETE. A mutating step returns a changed one."""
    old: JSONObject | None
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    """Texts for `Warning` headers; any step may add one."""
    configured_in: ClusterName = ClusterName("")
    """The cluster whose policies and webhooks decide, where that is not the one that is written to."""
    notes: Notes | None = None
    """None where nobody records the request."""


@dataclass(frozen=True, slots=True)
class UserInfo:
    """Who asks. Source: k8s.io/apiserver/pkg/authentication/user."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Admission(Protocol):
    """The admission chain; called again, with a fresh `old`, when the object moved under a write."""

    async def mutate(self, attributes: Attributes) -> JSONObject | None:
        """The object to store (None for DELETE). Raises StatusError to refuse."""

    async def validate(self, attributes: Attributes) -> None:
        """The last check before the store. Raises StatusError to refuse."""


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What create, update, patch and apply have in common."""

    user: UserInfo
    field_manager: str = "unknown"
    operation: Literal["Update", "Apply"] = "Update"
    """`Apply`: the mutate function has done server-side apply and its managedFields already."""
    dry_run: bool = False
    field_validation: Literal["Ignore", "Warn", "Strict"] = "Warn"
    uid: str = ""
    """Precondition; "" for none."""
    resource_version: str = ""
    """Precondition; "" for none. For update the object's own metadata.resourceVersion counts too."""
    create_if_missing: bool = False
    is_patch: bool = False
    """The object is the stored one, patched: what does not belong into it is the patch's fault."""
    repeated: tuple[str, ...] = ()
    """What the body says twice, found while decoding, in upstream's words; told to the client as `field_validation` says."""
    body: bytes = b""
    """The JSON text of a body that says things twice: unknown and repeated fields of built-in kinds are told in its order."""
    notes: Notes | None = None
    """For admission; None where nobody records the request."""


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    user: UserInfo
    propagation: Literal["", "Background", "Foreground", "Orphan"] = ""
    grace_period_s: int | None = None
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False
    is_awaited: bool = False
    """orphanDependents=false was asked for: an object that stays for now is answered as 202 Accepted. Source: handlers/delete.go."""
    notes: Notes | None = None
    """For admission; None where nobody records the request."""


@dataclass(frozen=True, slots=True)
class Written:
    item: Item
    created: bool
    warnings: tuple[str, ...] = ()
    """Texts for `Warning` headers, such as unknown fields under fieldValidation=Warn."""


@dataclass(frozen=True, slots=True)
class Deleted:
    item: Item
    """The last state if `gone`, else the object that now waits for its finalizers."""
    gone: bool
    warnings: tuple[str, ...] = ()


Mutate: TypeAlias = Callable[[JSONObject | None], JSONObject | Awaitable[JSONObject]]
"""From the current object (None if absent) to the wanted one. Called again when the object moved; must not keep state."""


class Backend(Protocol):
    """Objects of resources; every method raises StatusError only."""

    async def get(self, scope: Scope, *, resource_version: str = "") -> Item: ...

    async def list(self, scope: Scope, query: ListQuery) -> ListResult: ...

    def watch(self, scope: Scope, query: WatchQuery) -> AsyncIterator[Sequence[WatchEvent]]: ...

    async def create(self, scope: Scope, obj: JSONObject, options: WriteOptions) -> Written: ...

    async def update(self, scope: Scope, mutate: Mutate, options: WriteOptions) -> Written: ...

    def elsewhere(self, resource: Resource) -> Show | None:
        """Shows objects of this resource in its other versions; None where they look alike in all of them."""

    async def delete(self, scope: Scope, options: DeleteOptions) -> Deleted: ...

    async def delete_collection(self, scope: Scope, query: ListQuery, options: DeleteOptions) -> ListResult: ...
