"""Priority: every pod gets the number and the preemption policy of its PriorityClass, of the default one, or none at all, which is 0.

Before: `server`, as an admission plugin; `bootstrap`, for the classes of the system. After: the watch cache of PriorityClasses.
Source: plugin/pkg/admission/priority/admission.go, pkg/registry/scheduling/rest/storage_scheduling.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.refusal import forbidden
from kcp.registry.backend import Attributes
from kcp.storage.keyspace import resource_prefix
from kcp.storage.prefixcache import PrefixCache
from kcp.storage.watchcache import WatchCache

PRIORITY_CLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses")
_PODS = GroupResource("", "pods")
_PREEMPT = "PreemptLowerPriority"
_SYSTEM: Mapping[str, tuple[int, str]] = {
    "system-node-critical": (2_000_001_000, "For pods of the system that must stay on their node."),
    "system-cluster-critical": (2_000_000_000, "For pods of the system that the cluster needs, on whichever node."),
}


def system_classes() -> list[JSONObject]:
    """The classes that every cluster has."""
    return [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "description": description,
        }
        for name, (value, description) in _SYSTEM.items()
    ]


class PodPriority:
    def __init__(self, classes: PrefixCache) -> None:
        self._classes = classes

    @classmethod
    async def open(cls, cache: WatchCache) -> PodPriority:
        return cls(await cache.prefix(resource_prefix(PRIORITY_CLASSES.group_resource)))

    def plugins(self) -> tuple[Plugin, Plugin]:
        classes = frozenset((PRIORITY_CLASSES.group_resource,))
        return (
            Plugin(name="Priority", mutate=self.set_priority, resources=frozenset((_PODS,))),
            Plugin(name="Priority", validate=self.check_default, resources=classes),
        )

    async def set_priority(self, attributes: Attributes) -> JSONObject | None:
        """Raises Forbidden where the class does not exist, or the pod says a priority that is not its class's."""
        pod = attributes.new
        if pod is None:
            return pod
        spec = meta.ensure(pod, "spec")
        if attributes.old is not None:
            for part in ("priority", "preemptionPolicy"):
                if spec.get(part) is None and (held := meta.nested(attributes.old, "spec", part)) is not None:
                    spec[part] = held
            return pod
        found = self._class_of(attributes, spec.get("priorityClassName") or "")
        priority, policy = int(found.get("value") or 0), found.get("preemptionPolicy") or _PREEMPT
        _agree(attributes, "integer value of priority", spec.get("priority"), priority)
        _agree(attributes, "string value of PreemptionPolicy", spec.get("preemptionPolicy"), policy)
        spec["priority"], spec["preemptionPolicy"] = priority, policy
        if found:
            spec["priorityClassName"] = meta.name(found)
        return pod

    async def check_default(self, attributes: Attributes) -> None:
        """Raises Forbidden where another class is the default already."""
        if attributes.new is None or not attributes.new.get("globalDefault"):
            return
        for held in self._all():
            if held.get("globalDefault") and meta.name(held) != attributes.scope.name and meta.name(held) != meta.name(attributes.new):
                raise forbidden(attributes, f"PriorityClass {meta.name(held)} is already marked as default. Only one default can exist")

    def _class_of(self, attributes: Attributes, name: str) -> JSONObject:
        """The named class or the default one, of several that of the least value; {} where there is none."""
        held = self._all()
        if name:
            for found in held:
                if meta.name(found) == name:
                    return found
            raise forbidden(attributes, f"no PriorityClass with name {name} was found")
        return min((c for c in held if c.get("globalDefault")), key=lambda c: (c.get("value") or 0, meta.name(c)), default={})

    def _all(self) -> list[JSONObject]:
        return [item.decode() for item in self._classes.scan(self._classes.prefix)]


def _agree(attributes: Attributes, what: str, said: Any, computed: Any) -> None:
    if said is not None and said != computed:
        text = f"the {what} ({said}) must not be provided in pod spec; priority admission controller computed {computed}"
        raise forbidden(attributes, f"{text} from the given PriorityClass name")
