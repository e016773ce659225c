"""What a user's annotations change in a copy: replicas, and how much its containers ask for. Pure.

Before: `rendering`. After: nothing.
Source: tmc reference §5.2 (target-replicas, resource-limits).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from kcp.apimachinery import meta, quantity
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.wishes import is_reduced, is_transformed, replicas_for

_REDUCED = {"cpu": Fraction(1, 5), "memory": Fraction(1, 4)}
"""500m and 1Gi become 100m and 256Mi."""


def adapted(view: JSONObject, cluster: str) -> JSONObject:
    """The object as its annotations want it on this cluster. `view` is not changed.

    Args: cluster: name of the SyncTarget.
    """
    replicas = replicas_for(view, cluster)
    if not is_transformed(view) or (replicas is None and not is_reduced(view)):
        return view
    wanted: JSONObject = meta.copy_json(view)
    if replicas is not None and "replicas" in (wanted.get("spec") or {}):
        wanted["spec"]["replicas"] = replicas
    if is_reduced(view):
        for resources in _resources(wanted.get("spec")):
            _reduce(resources)
    return wanted


def _resources(spec: Any) -> Iterator[JSONObject]:
    """`resources` of every container in a pod's spec, or in the templates that lead to one."""
    while isinstance(spec, dict) and "containers" not in spec:
        spec = (spec.get("template") or spec.get("jobTemplate") or {}).get("spec")
    for field in ("initContainers", "containers"):
        for container in (spec or {}).get(field) or ():
            if isinstance(container.get("resources"), dict):
                yield container["resources"]


def _reduce(resources: JSONObject) -> None:
    for kind in ("requests", "limits"):
        for name, share in _REDUCED.items():
            asked = (resources.get(kind) or {}).get(name)
            if asked is not None:
                resources[kind][name] = quantity.format(quantity.parse(asked) * share, quantity.form_of(asked))
