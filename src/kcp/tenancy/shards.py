"""What is filled in when a Shard is registered.

Part of the server's admission chain (`registry.backend.Admission`).
Source: kcp pkg/admission/shard.
"""

from __future__ import annotations

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.registry.backend import Attributes
from kcp.tenancy.kinds import SHARDS


def shard_plugin() -> Plugin:
    return Plugin(name="Shard", mutate=_with_urls, resources=frozenset((SHARDS.group_resource,)), verbs=("CREATE", "UPDATE"))


async def _with_urls(attributes: Attributes) -> JSONObject | None:
    """Where nothing else is said, users and virtual workspaces reach a shard where other shards do."""
    new = attributes.new
    base = meta.nested(new or {}, "spec", "baseURL", default="")
    missing = [name for name in ("externalURL", "virtualWorkspaceURL") if not meta.nested(new or {}, "spec", name, default="")]
    if new is None or not base or not missing:
        return new
    completed: JSONObject = meta.copy_json(new)
    completed["spec"].update(dict.fromkeys(missing, base))
    return completed
