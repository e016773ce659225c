"""Which permissions an identity lacks in a cluster that it is to sync to, found out by asking the cluster.

Before: the syncer and the server, when credentials are verified. After: SelfSubjectAccessReviews of the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable

from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.client.rest import Client

REVIEWS = GVR("authorization.k8s.io", "v1", "selfsubjectaccessreviews")
VERBS = ("get", "list", "watch", "patch", "delete")
_NEEDED = (GroupResource("", "namespaces"), GroupResource("", "configmaps"), GroupResource("apps", "deployments"))


async def missing_permissions(cluster: Client, resources: Iterable[GroupResource] = ()) -> list[str]:
    """`verb resource.group` of what is refused; [] where the cluster knows no such reviews.

    Args: resources: those that are synced, besides the few that always are. Raises: StatusError, TransportError.
    """
    missing: list[str] = []
    for resource in sorted({*_NEEDED, *resources}, key=str):
        for verb in VERBS:
            attributes = {"group": resource.group, "resource": resource.resource, "verb": verb}
            review = {"apiVersion": REVIEWS.api_version, "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
            try:
                answer = await cluster.resource(REVIEWS).create(review)
            except NotFound:
                return []
            if not meta.nested(answer, "status", "allowed", default=False):
                missing.append(f"{verb} {resource}")
    return missing
