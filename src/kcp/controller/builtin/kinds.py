"""Resources and callables that the built-in controllers share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.client.rest import APIResource, Client

NAMESPACES = GVR("", "v1", "namespaces")
SERVICE_ACCOUNTS = GVR("", "v1", "serviceaccounts")
CONFIG_MAPS = GVR("", "v1", "configmaps")

ForCluster: TypeAlias = Callable[[ClusterName], Client]
"""The client of one logical cluster; for "" that of a server without workspaces. `Client.cluster` does."""

Monitored: TypeAlias = Callable[[], Awaitable[Sequence[APIResource]]]
"""All resources there are, in any cluster. Raises StatusError or TransportError rather than leave something out."""

ListResources: TypeAlias = Callable[[ClusterName], Awaitable[Sequence[APIResource]]]
"""What is served in one logical cluster. Raises StatusError or TransportError rather than leave something out."""
