"""A Placement of one object instead of namespaces (`spec.source`): which object, and what of its namespace goes along. Pure.

The object's namespace is marked for the chosen clusters as any other; that it is for this object only stands in an annotation on it.
Before: `placement`. After: `model.names`.
Source: the TMC reference §2.1 (Placement.spec.source); what goes along where it is silent is ours, see docs/placement.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from kcp.apimachinery import meta

ONLY_ANNOTATION = "internal.tmc.kcp.io/only"
"""On namespaces: JSON, K of the targets that only Placements of single objects have chosen → the ids of those objects."""
DEFAULT_NAMESPACE = "default"
_TOKEN = "kubernetes.io/service-account-token"
Only: TypeAlias = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Source:
    """The one object."""

    workspace: str
    """Path or name; "": the Placement's own."""
    namespace: str
    id: str
    """kind.group/name."""

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Source | None:
        told = spec.get("source") or {}
        if not told.get("kind") or not told.get("name"):
            return None
        named = {"apiVersion": told.get("apiVersion") or "v1", "kind": told["kind"], "metadata": {"name": told["name"]}}
        return cls(told.get("workspace") or "", told.get("namespace") or DEFAULT_NAMESPACE, id_of(named))

    def is_in(self, cluster: str, path: str) -> bool:
        """Whether it is in the workspace with this name and this path.

        >>> Source("root:team:shop", "default", "Deployment.apps/web").is_in("1x2y", "root:team:shop")
        True
        """
        return self.workspace in ("", cluster, path, path.rpartition(":")[2])


def id_of(obj: Mapping[str, Any]) -> str:
    """Of an object in any version.

    >>> id_of({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}})
    'Deployment.apps/web'
    """
    group = str(obj.get("apiVersion") or "").rpartition("/")[0]
    return f"{obj.get('kind', '')}{'.' if group else ''}{group}/{meta.name(obj)}"


def only_of(namespace: Mapping[str, Any]) -> Only:
    """K → ids of the objects that it is chosen for; all others are chosen for everything."""
    try:
        found: Only = json.loads(meta.annotations(namespace).get(ONLY_ANNOTATION) or "{}")
    except ValueError:
        return {}
    return found


def to_text(only: Only) -> str | None:
    return json.dumps({key: sorted(ids) for key, ids in only.items()}, separators=(",", ":"), sort_keys=True) if only else None


def is_meant(obj: Mapping[str, Any], namespace: Mapping[str, Any], key: str) -> bool:
    """Whether an object of the namespace may be on target K: any, but where the target is chosen for certain ones only."""
    ids = only_of(namespace).get(key) if ONLY_ANNOTATION in meta.annotations(namespace) else None
    return ids is None or id_of(obj) in ids or _goes_along(obj)


def _goes_along(obj: Mapping[str, Any]) -> bool:
    """What a Pod needs of its namespace before anything else: its account, its token and kcp's root certificate."""
    kind = obj.get("kind")
    if kind == "ConfigMap":
        return meta.name(obj) == "kube-root-ca.crt"
    return kind == "ServiceAccount" or (kind == "Secret" and obj.get("type") == _TOKEN)


def collect(chosen: Iterable[tuple[Source | None, Sequence[str]]]) -> Only:
    """What the annotation should say. Args: chosen: of each Placement of the namespace, its object and the K of its targets."""
    whole: set[str] = set()
    found: dict[str, set[str]] = {}
    for source, keys in chosen:
        for key in keys:
            if source is None:
                whole.add(key)
            else:
                found.setdefault(key, set()).add(source.id)
    return {key: sorted(ids) for key, ids in sorted(found.items()) if key not in whole}
