"""The one place that formats and splits storage keys.

    /registry/<group|core>/<resource>/-/<cluster>/<name>                     built in, cluster-scoped
    /registry/<group|core>/<resource>/-/<cluster>/<namespace>/<name>         built in, namespaced
    /registry/<group|core>/<resource>/<identity>/<cluster>/…                 bound from an APIExport
    /registry/<group|core>/<resource>/customresources/<cluster>/…            of local CRDs

A resource's *prefix* is everything before `<cluster>/`, with its closing slash: always four segments, so that any key tells its prefix.
What is before the source is the prefix of a *family*: resources of one name that different workspaces define differently.
Source: kcp's etcd layout, which leaves the third segment out for built-in resources.
"""

from __future__ import annotations

from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import WILDCARD, ClusterName, ObjectKey

ROOT_PREFIX = b"/registry/"
TICK = b"/registry/tick"
"""No object: written where a store needs one more revision, or has a note for other servers beside a write; see `storage.etcd.store` and
`storage.snapshot.restore`."""
RESTORED = b"/registry/restored"
"""No object either: that the store was restored from a backup, see `storage.restored`."""
_FAMILY_SLASHES = 4


def resource_prefix(resource: GroupResource, *, source: str = "") -> bytes:
    """Prefix of all objects of a resource.

    Args: source: "" for built-in resources, "customresources" for local CRDs, the identity hash for bound ones.

    >>> resource_prefix(GroupResource("apps", "deployments"))
    b'/registry/apps/deployments/-/'
    """
    return f"/registry/{resource.group or 'core'}/{resource.resource}/{source or '-'}/".encode()


def family_prefix(resource: GroupResource) -> bytes:
    """Prefix of all objects of all resources of this name, whoever defines them.

    >>> family_prefix(GroupResource("apps", "deployments"))
    b'/registry/apps/deployments/'
    """
    return f"/registry/{resource.group or 'core'}/{resource.resource}/".encode()


def resource_of(key: bytes) -> GroupResource:
    """The resource that a full key is of, whoever defines it.

    >>> resource_of(b"/registry/core/secrets/-/root/default/a")
    GroupResource(group='', resource='secrets')
    """
    parts = key.decode().split("/", 4)
    if len(parts) < 4:
        return GroupResource("", "")
    return GroupResource("" if parts[2] == "core" else parts[2], parts[3])


def is_family(prefix: bytes) -> bool:
    """Whether it is the prefix of a family; that of a single resource has a segment more."""
    return prefix.count(b"/") == _FAMILY_SLASHES


def object_key(prefix: bytes, key: ObjectKey) -> bytes:
    if key.namespace:
        return prefix + f"{key.cluster}/{key.namespace}/{key.name}".encode()
    return prefix + f"{key.cluster}/{key.name}".encode()


def scope_prefix(prefix: bytes, cluster: ClusterName, namespace: str = "") -> bytes:
    """Prefix of one cluster, or of one namespace in it; the wildcard cluster gives the resource prefix itself."""
    if cluster == WILDCARD:
        return prefix
    return prefix + (f"{cluster}/{namespace}/" if namespace else f"{cluster}/").encode()


def parse_key(prefix: bytes, key: bytes) -> ObjectKey:
    """Inverse of `object_key`; of a family's prefix too. Raises ValueError for a key that is not of this prefix."""
    if not key.startswith(prefix):
        raise ValueError(f"{key!r} is not under {prefix!r}")
    parts = key[len(prefix) :].decode().split("/")
    if is_family(prefix):
        del parts[0]
    if len(parts) == 2:
        return ObjectKey(ClusterName(parts[0]), "", parts[1])
    if len(parts) == 3:
        return ObjectKey(ClusterName(parts[0]), parts[1], parts[2])
    raise ValueError(f"{key!r} has {len(parts)} parts under {prefix!r}")


def prefix_of(key: bytes) -> bytes:
    """The resource prefix of a full key: its first four segments."""
    end = 0
    for _ in range(5):
        end = key.index(b"/", end) + 1
    return key[:end]
