"""A SyncTarget's `spec.supportedAPIExports`, in each of its spellings: which exports, and which of their resources. Pure.

    {export: kubernetes, path: root:compute}          kcp 0.11 (`workspace` is another word for `path`); without one, of its own workspace
    {export: kubernetes, resource: apps/v1/deployments}   that resource only
    kubernetes                                        the export of that name of its own workspace, or of root:compute
    root:compute/kubernetes                           path and name

Before: `model.kinds`, `tmc.admission`. After: nothing.
Source: kcp release-0.11 pkg/apis/workload/v1alpha1/synctarget_types.go; the TMC reference §2.1 (doc-only shapes).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery.errors import Cause
from kcp.apimachinery.gvk import GroupResource

COMPUTE_PATH, COMPUTE_EXPORT = "root:compute", "kubernetes"
ANY_WORKLOAD = "export.apiresource.kcp.io/workload.kcp.io"
"""What the tutorials of the TMC reference write for what every cluster runs."""
_PARTS = frozenset({"export", "path", "workspace", "resource"})


@dataclass(frozen=True, slots=True)
class Exported:
    path: str
    """"": of the SyncTarget's own workspace."""
    name: str
    only: GroupResource | None = None


def exported(spec: Mapping[str, Any]) -> tuple[Exported, ...]:
    """What is malformed counts as not there."""
    return tuple(one for entry in spec.get("supportedAPIExports") or () for one in _read(entry))


def _read(entry: object) -> Iterator[Exported]:
    if isinstance(entry, str):
        path, slash, name = (f"/{COMPUTE_EXPORT}" if entry == ANY_WORKLOAD else entry).rpartition("/")
        if slash and path:
            yield Exported(path, name)
        elif name:
            yield from (Exported("", name), Exported(COMPUTE_PATH, name))
    elif isinstance(entry, Mapping) and entry.get("export"):
        yield Exported(entry.get("path") or entry.get("workspace") or "", entry["export"], _resource(entry.get("resource") or ""))


def _resource(text: str) -> GroupResource | None:
    """`group/version/resource`, `version/resource`, or `resource.group`.

    >>> _resource("apps/v1/deployments"), _resource("v1/configmaps")
    (GroupResource(group='apps', resource='deployments'), GroupResource(group='', resource='configmaps'))
    """
    if not text:
        return None
    if "/" not in text:
        name, _, group = text.partition(".")
        return GroupResource(group, name)
    head, _, name = text.rpartition("/")
    return GroupResource(head.rpartition("/")[0], name)


def offers(supported: Sequence[Exported], path: str, name: str, resource: GroupResource) -> bool:
    """Whether a resource of this export is among what is supported."""
    return any(one.only in (None, resource) for one in supported if (one.path, one.name) == (path, name))


def faults(spec: Mapping[str, Any]) -> Iterator[Cause]:
    """What no schema can say of entries that are text or objects."""
    for index, entry in enumerate(spec.get("supportedAPIExports") or ()):
        at = f"spec.supportedAPIExports[{index}]"
        if isinstance(entry, str):
            if not entry.rpartition("/")[2]:
                yield Cause.invalid(at, entry, "must be the name of an APIExport, or PATH/NAME")
        elif not isinstance(entry, Mapping):
            yield Cause.invalid(at, entry, "must be the name of an APIExport, or an object with export and path")
        else:
            if not isinstance(entry.get("export"), str) or not entry["export"]:
                yield Cause.required(f"{at}.export")
            wrong = (part for part in entry if part not in _PARTS or not isinstance(entry[part], str))
            yield from (
                Cause.invalid(f"{at}.{part}", entry[part], f"known are {', '.join(sorted(_PARTS))}, each a string") for part in wrong
            )
