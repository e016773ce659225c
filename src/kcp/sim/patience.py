"""DefaultTolerationSeconds: how long pods outlive their node, unless they say otherwise; replacements of pods may leave it out.

Before: `server`, as an admission plugin. After: `workloads.taints`.
Source: plugin/pkg/admission/defaulttolerationseconds/admission.go.
"""

from __future__ import annotations

from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.registry.backend import Attributes
from kcp.sim.workloads.taints import tolerate_for_a_while


def plugin() -> Plugin:
    return Plugin(name="DefaultTolerationSeconds", mutate=_tolerate, resources=frozenset((GroupResource("", "pods"),)))


async def _tolerate(attributes: Attributes) -> JSONObject | None:
    if attributes.new is not None:
        tolerate_for_a_while(attributes.new)
    return attributes.new
