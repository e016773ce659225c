"""What a workspace's own CustomResourceDefinitions may not be: of kcp's group for APIs, or marked as bound.

Before: the server's admission chain. After: nothing. (`admission.BoundNames` keeps them out of the way of bound APIs.)
Source: kcp pkg/admission/{reservedcrdgroups,reservedcrdannotations}.
"""

from __future__ import annotations

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.refusal import forbidden
from kcp.exports.names import APIS_GROUP
from kcp.registry.backend import Attributes

CRDS = GroupResource("apiextensions.k8s.io", "customresourcedefinitions")


def crd_plugins() -> tuple[Plugin, ...]:
    only = frozenset((CRDS,))
    return (
        Plugin(name="ReservedCRDGroups", validate=check_group, resources=only),
        Plugin(name="ReservedCRDAnnotations", validate=check_annotations, resources=only),
    )


async def check_group(attributes: Attributes) -> None:
    group = str(meta.nested(attributes.new or {}, "spec", "group", default=""))
    if group.endswith(APIS_GROUP):
        raise forbidden(attributes, f"{group} is a reserved group")


async def check_annotations(attributes: Attributes) -> None:
    """Keys of kcp's domain would make a definition pass for one that stands for a bound API."""
    domains = {key: key.partition("/")[0] for key in sorted(meta.annotations(attributes.new or {}))}
    reserved = [key for key, domain in domains.items() if domain == APIS_GROUP or domain.endswith(f".{APIS_GROUP}")]
    if reserved:
        told = [f"{key} is a reserved annotation" for key in reserved]
        raise forbidden(attributes, told[0] if len(told) == 1 else f"[{', '.join(told)}]")
