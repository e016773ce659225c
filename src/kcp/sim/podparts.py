"""What the subresources `ephemeralcontainers` and `resize` of a pod may change, and what of that is legal.

Before: `server`, as an admission plugin. After: `apis.kubernetes`.
Source: k8s.io/kubernetes/pkg/registry/core/pod/strategy.go (dropNonEphemeralContainerUpdates, dropNonResizeUpdates),
pkg/apis/core/validation/validation.go (ValidatePodEphemeralContainersUpdate, ValidatePodResize).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause, Invalid
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apis.kubernetes import defaults, pod_validation
from kcp.apis.kubernetes.checks import list_at, obj_at
from kcp.apiserver.admission.chain import Plugin
from kcp.registry.backend import Attributes

_PODS = GroupResource("", "pods")
_AT = "spec.ephemeralContainers"
_RESIZED = ("containers", "initContainers")


def plugins() -> tuple[Plugin, ...]:
    """To stand first in the chain: what comes after sees the pod as it would be."""
    pods = frozenset((_PODS,))
    return tuple(
        Plugin(name="PodSubresources", mutate=mutate, validate=validate, verbs=("UPDATE",), resources=pods, subresources=frozenset((name,)))
        for name, mutate, validate in (
            ("ephemeralcontainers", _complete, _check_ephemeral), ("resize", _only_resources, _check_resize),
        )
    )  # fmt: skip


async def _complete(attributes: Attributes) -> JSONObject | None:
    if attributes.new is not None:
        defaults.pod(attributes.new)
    return attributes.new


async def _only_resources(attributes: Attributes) -> JSONObject | None:
    """Of each container of the stored pod, the resources and how they are changed."""
    new, old = attributes.new, attributes.old
    if new is None or old is None:
        return new
    wanted = {(kind, each.get("name")): each for kind in _RESIZED for each in list_at(new, "spec", kind)}
    for kind in _RESIZED:
        held: list[JSONObject] = copy_json(list_at(old, "spec", kind))
        for container in held:
            given = wanted.get((kind, container["name"]), container)
            for field in ("resources", "resizePolicy"):
                if field in given:
                    container[field] = given[field]
        if held:
            new["spec"][kind] = held
    defaults.pod(new)
    return new


async def _check_ephemeral(attributes: Attributes) -> None:
    new, old = attributes.new or {}, attributes.old or {}
    _refuse(new, [*pod_validation.ephemeral(obj_at(new, "spec"), _AT), *_kept(new, old)])


def _kept(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    now = {each.get("name"): each for each in list_at(new, "spec", "ephemeralContainers")}
    for before in list_at(old, "spec", "ephemeralContainers"):
        name = before.get("name")
        if name not in now:
            yield Cause.forbidden(_AT, f'existing ephemeral containers "{name}" may not be removed\n')
        elif now[name] != before:
            yield Cause.forbidden(_AT, f'existing ephemeral containers "{name}" may not be changed\n')


async def _check_resize(attributes: Attributes) -> None:
    new = attributes.new or {}
    _refuse(new, list(pod_validation.spec(obj_at(new, "spec"), "spec")))


def _refuse(pod: JSONObject, causes: Sequence[Cause]) -> None:
    if causes:
        raise Invalid.of(_PODS, "Pod", meta.name(pod), causes)
