"""ControllerRevisions: the templates that a StatefulSet or DaemonSet has had, for `kubectl rollout history` and `undo`.

`plan` is pure. Before: `statefulset`, `daemonset`. After: ControllerRevision objects, named by the hash of their template.
Source: pkg/controller/history/controller_history.go, pkg/controller/statefulset/stateful_set_control.go (getStatefulSetRevisions,
truncateHistory), pkg/controller/daemon/update.go (constructHistory, cleanupHistory).
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.informer import Informer
from kcp.sim.workloads.podtemplate import owner_reference, template_hash
from kcp.sim.workloads.wiring import OWNER_INDEX, OwnerKind
from kcp.sim.workloads.writes import CONTROLLER_MANAGER, create_if_missing, delete_if_there

REVISIONS = GVR("apps", "v1", "controllerrevisions")


@dataclass(frozen=True, slots=True)
class Plan:
    create: JSONObject | None = None
    renumber: JSONObject | None = None
    """The present template's revision, if it was an earlier one: it becomes the latest."""
    number: int = 0
    delete: tuple[JSONObject, ...] = ()


def plan(owner: Mapping[str, Any], kind: OwnerKind, held: Sequence[Mapping[str, Any]], used: Container[str], hash_label: str) -> Plan:
    """What the history of `owner` needs now.

    Args: held: its revisions. used: names of those that pods still have. hash_label: under which a revision says its hash.
    """
    digest = template_hash(meta.nested(owner, "spec", "template", default={}))
    name = f"{meta.name(owner)}-{digest}"
    ordered = sorted(held, key=lambda r: (r.get("revision") or 0, meta.name(r)))
    latest = ordered[-1].get("revision") or 0 if ordered else 0
    present = next((r for r in ordered if meta.name(r) == name), None)
    limit = meta.nested(owner, "spec", "revisionHistoryLimit", default=10)
    spare = [r for r in ordered if meta.name(r) != name and meta.name(r) not in used]
    delete = tuple(dict(r) for r in spare[: max(len(spare) - limit, 0)])
    if present is None:
        made = _revision(owner, kind, name, latest + 1, {hash_label: digest})
        return Plan(create=made, number=latest + 1, delete=delete)
    if present.get("revision") != latest:
        return Plan(renumber=dict(present), number=latest + 1, delete=delete)
    return Plan(number=latest, delete=delete)


def _revision(owner: Mapping[str, Any], kind: OwnerKind, name: str, number: int, labels: Mapping[str, str]) -> JSONObject:
    """Its data in the order of their names: clients compare them byte by byte. Source: controller/daemon/update.go (Match, getPatch)."""
    template: JSONObject = meta.copy_json(meta.nested(owner, "spec", "template", default={}))
    metadata: JSONObject = {
        "name": name,
        "namespace": meta.namespace(owner),
        "labels": {**meta.labels(template), **labels},
        "ownerReferences": [owner_reference(owner, api_version=kind.gvr.api_version, kind=kind.kind)],
    }
    if meta.annotations(owner):
        metadata["annotations"] = dict(meta.annotations(owner))
    data = orjson.loads(orjson.dumps({"spec": {"template": {**template, "$patch": "replace"}}}, option=orjson.OPT_SORT_KEYS))
    return {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "data": data, "revision": number}


def template_of(revision: Mapping[str, Any]) -> JSONObject:
    """The template that a revision keeps."""
    template: JSONObject = meta.copy_json(meta.nested(revision, "data", "spec", "template", default={}))
    template.pop("$patch", None)
    return template


@dataclass(frozen=True, slots=True)
class Histories:
    """The revisions of all owners of one kind, and how they are written."""

    revisions: Informer
    client: Client
    kind: OwnerKind
    hash_label: str

    def of(self, owner: Mapping[str, Any]) -> list[JSONObject]:
        return self.revisions.by_index(OWNER_INDEX, meta.uid(owner))

    async def keep(self, owner: Mapping[str, Any], used: Container[str]) -> None:
        """Write what `plan` says; before any pod of a new template is made."""
        if meta.deletion_timestamp(owner):
            return
        wanted = plan(owner, self.kind, self.of(owner), used, self.hash_label)
        resource = self.client.resource(REVISIONS)
        if wanted.create is not None:
            await create_if_missing(resource, wanted.create)
        if wanted.renumber is not None:
            patch = {"metadata": {"uid": meta.uid(wanted.renumber)}, "revision": wanted.number}
            name, namespace = meta.name(wanted.renumber), meta.namespace(wanted.renumber)
            await resource.patch(name, patch, namespace=namespace, field_manager=CONTROLLER_MANAGER)
        for old in wanted.delete:
            await delete_if_there(resource, meta.name(old), meta.namespace(old), meta.uid(old))
