"""Workspace types by path and name, from the informer over all clusters.

Called by workspace admission, the workspace controller and the default bindings. After: `resolution`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.tenancy.workspacetype.model import TypeReference, WorkspaceType
from kcp.tenancy.workspacetype.resolution import GetType, ResolvedType, UnresolvableType, places, resolve

Fetch = Callable[[ObjectKey], Awaitable[JSONObject | None]]
"""Asks the server itself for a WorkspaceType; None if there is none."""


async def _nothing(_key: ObjectKey) -> JSONObject | None:
    return None


@dataclass(frozen=True, slots=True)
class TypeLister:
    """Reads the informer first; the `…_live` methods ask the server for what it does not have (yet)."""

    get_object: Callable[[ObjectKey], JSONObject | None]
    """`Informer.peek` of the workspace types."""
    resolve_path: Callable[[str], ClusterName | None]
    path_of: Callable[[ClusterName], str]
    fetch: Fetch = _nothing
    _read: dict[ObjectKey, tuple[JSONObject, WorkspaceType]] = field(default_factory=dict)
    """Types read before, with the objects that they were read from."""

    def get(self, reference: TypeReference) -> WorkspaceType | None:
        key = self._key(reference)
        if key is None:
            return None
        obj, read = self.get_object(key), self._read.get(key)
        if obj is None:
            self._read.pop(key, None)
            return None
        if read is None or read[0] is not obj:
            read = self._read[key] = obj, self._view(key, obj)
        return read[1]

    def resolve(self, reference: TypeReference) -> ResolvedType:
        """Raises: UnresolvableType."""
        return resolve(reference, self.get)

    async def find_live(self, reference: TypeReference, cluster: ClusterName) -> WorkspaceType | None:
        """The type meant by a workspace in `cluster`; see `resolution.places`."""
        for place in places(reference, self.path_of(cluster)):
            found = self.get(place) or await self._fetch(place)
            if found is not None:
                return found
        return None

    async def resolve_live(self, reference: TypeReference) -> ResolvedType:
        """As `resolve`, but types that were only just written count too.

        Raises: UnresolvableType.
        """
        fetched: dict[TypeReference, WorkspaceType] = {}
        known: GetType = lambda wanted: fetched.get(wanted) or self.get(wanted)  # noqa: E731
        while True:
            try:
                return resolve(reference, known)
            except UnresolvableType as error:
                found = await self._fetch(error.missing) if error.missing is not None else None
                if error.missing is None or found is None:
                    raise
                fetched[error.missing] = found

    async def at(self, key: ObjectKey) -> WorkspaceType | None:
        """The type as the server has it now."""
        obj = await self.fetch(key)
        return None if obj is None else self._view(key, obj)

    async def _fetch(self, reference: TypeReference) -> WorkspaceType | None:
        key = self._key(reference)
        return None if key is None else await self.at(key)

    def _key(self, reference: TypeReference) -> ObjectKey | None:
        cluster = self.resolve_path(reference.path)
        return None if cluster is None else ObjectKey(cluster, "", reference.name)

    def _view(self, key: ObjectKey, obj: JSONObject) -> WorkspaceType:
        return WorkspaceType.from_object(obj, path=self.path_of(key.cluster), cluster=key.cluster)
