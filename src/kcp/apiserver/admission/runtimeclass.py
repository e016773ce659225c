"""RuntimeClass: a pod gets the overhead, node selector and tolerations of its RuntimeClass, which has to exist.

Only for servers whose pods are real (simulated clusters).
Before: `admission.chain`. After: a look-up in the watch cache. Source: k8s.io/kubernetes/plugin/pkg/admission/runtimeclass/admission.go.
"""

from __future__ import annotations

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.refusal import forbidden
from kcp.apiserver.authn.identity import ObjectLookup, found
from kcp.registry.backend import Attributes

_PODS = GroupResource("", "pods")
_CLASSES = GroupResource("node.k8s.io", "runtimeclasses")


class PodRuntimeClass:
    def __init__(self, lookup: ObjectLookup) -> None:
        self._lookup = lookup

    def plugin(self) -> Plugin:
        return Plugin(name="RuntimeClass", mutate=self.apply, verbs=("CREATE",), resources=frozenset((_PODS,)))

    async def apply(self, attributes: Attributes) -> JSONObject | None:
        """Raises: Forbidden for a missing class, or a pod that contradicts it."""
        pod = attributes.new
        if pod is None:
            return pod
        spec = meta.ensure(pod, "spec")
        name = spec.get("runtimeClassName")
        if not name:
            if spec.get("overhead"):
                raise forbidden(attributes, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
            return pod
        held = await found(self._lookup, _CLASSES, attributes.scope.cluster, "", name)
        if held is None:
            raise forbidden(attributes, f'pod rejected: RuntimeClass "{name}" not found')
        self._overhead(attributes, spec, meta.nested(held, "overhead", "podFixed"))
        self._scheduling(attributes, spec, held.get("scheduling") or {})
        return pod

    @staticmethod
    def _overhead(attributes: Attributes, spec: JSONObject, fixed: JSONObject | None) -> None:
        if spec.get("overhead") and spec["overhead"] != (fixed or {}):
            raise forbidden(attributes, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        if fixed:
            spec["overhead"] = dict(fixed)

    @staticmethod
    def _scheduling(attributes: Attributes, spec: JSONObject, scheduling: JSONObject) -> None:
        for key, value in (scheduling.get("nodeSelector") or {}).items():
            if meta.ensure(spec, "nodeSelector").setdefault(key, value) != value:
                text = f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = "
                raise forbidden(attributes, text + str(spec["nodeSelector"][key]))
        for toleration in scheduling.get("tolerations") or ():
            if toleration not in (held := spec.setdefault("tolerations", [])):
                held.append(dict(toleration))
