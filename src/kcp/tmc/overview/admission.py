"""What no schema can say about AggregatedViews and StatusRules: their selectors, durations and expressions.

Before: `server.overviews`. After: `spec`, `rules`.
"""

from __future__ import annotations

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Invalid
from kcp.apis.kubernetes import checks
from kcp.apiserver.admission.chain import Plugin
from kcp.registry.backend import Attributes
from kcp.tmc.model.kinds import AGGREGATED_VIEWS, STATUS_RULES
from kcp.tmc.overview import rules, spec


async def validate(attributes: Attributes) -> None:
    """Raises: Invalid with every fault."""
    resource, new = attributes.scope.resource, attributes.new
    if new is None:
        return
    if resource.group_resource == STATUS_RULES.group_resource:
        causes = list(rules.faults(new))
    else:
        causes = [cause for where, selector in spec.selectors(new) for cause in checks.selector(selector, where)]
        causes += spec.faults(new)
    if causes:
        raise Invalid.of(resource.group_resource, resource.kind, meta.name(new), causes)


def plugin() -> Plugin:
    return Plugin(
        name="TMCOverviews", validate=validate, resources=frozenset({AGGREGATED_VIEWS.group_resource, STATUS_RULES.group_resource})
    )
