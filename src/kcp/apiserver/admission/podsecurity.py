"""PodSecurity: a namespace's labels say which Pod Security Standard its pods must keep, and of which violations to warn.

`enforce` refuses pods, and tells who makes it stricter which pods violate it already; `warn` tells of pods and of whatever makes pods, and
`audit` notes it for the audit log.
Only for servers whose pods are real (simulated clusters).
Before: `admission.chain`. After: `apis.kubernetes.podsecurity`; look-ups of the namespace and of its pods.
Source: k8s.io/pod-security-admission/admission/admission.go, pkg/apis/pod-security/v1 (labels).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause, Invalid
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes.podsecurity import LEVELS, violations
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.occasion import NamespaceLookup
from kcp.apiserver.admission.refusal import forbidden
from kcp.registry.backend import Attributes

_PREFIX = "pod-security.kubernetes.io/"
_MODES = ("enforce", "audit", "warn")
_NAMESPACES, _PODS = GroupResource("", "namespaces"), GroupResource("", "pods")
_TEMPLATES: Mapping[GroupResource, tuple[str, ...]] = {
    GroupResource("", "podtemplates"): ("template",),
    GroupResource("", "replicationcontrollers"): ("spec", "template"),
    **{GroupResource("apps", name): ("spec", "template") for name in ("daemonsets", "deployments", "replicasets", "statefulsets")},
    GroupResource("batch", "jobs"): ("spec", "template"),
    GroupResource("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template"),
}
_VERSION = re.compile(r"latest\Z|v1\.(0|[1-9][0-9]*)\Z")


PodLookup: TypeAlias = Callable[[ClusterName, str], Awaitable[Sequence[JSONObject]]]
"""The pods of a namespace."""
_CHECKED = 3000
"""So many pods are looked at when a namespace gets stricter."""


class PodSecurity:
    def __init__(self, namespace_of: NamespaceLookup, pods_of: PodLookup) -> None:
        self._namespace_of, self._pods_of = namespace_of, pods_of

    def plugins(self) -> tuple[Plugin, ...]:
        return (
            Plugin(name="PodSecurity", validate=self.check_pod, verbs=("CREATE",), resources=frozenset((_PODS,))),
            Plugin(
                name="PodSecurity", validate=self.check_pod, verbs=("UPDATE",), resources=frozenset((_PODS,)),
                subresources=frozenset(("ephemeralcontainers",)),
            ),
            Plugin(name="PodSecurity", validate=self.warn_of_template, resources=frozenset(_TEMPLATES)),
            Plugin(name="PodSecurity", validate=self.check_labels, resources=frozenset((_NAMESPACES,))),
        )  # fmt: skip

    async def _labels(self, attributes: Attributes) -> Mapping[str, str]:
        namespace = self._namespace_of(attributes.scope.cluster, attributes.scope.namespace)
        if inspect.isawaitable(namespace):
            namespace = await namespace
        return meta.labels(namespace) if namespace is not None else {}

    async def check_pod(self, attributes: Attributes) -> None:
        """Raises: Forbidden."""
        labels, pod = await self._labels(attributes), attributes.new or {}
        if attributes.notes is not None:
            attributes.notes.add(f"{_PREFIX}enforce-policy", _policy(labels, "enforce"))
        self._audit(attributes, labels, pod)
        if told := _told(pod, labels, "enforce"):
            raise forbidden(attributes, f"violates {_standard(labels, 'enforce')}: {told}")
        self._warn(attributes, labels, pod)

    async def warn_of_template(self, attributes: Attributes) -> None:
        path = _TEMPLATES[attributes.scope.resource.group_resource]
        labels, template = await self._labels(attributes), meta.nested(attributes.new or {}, *path, default={})
        self._audit(attributes, labels, template)
        self._warn(attributes, labels, template)

    @staticmethod
    def _audit(attributes: Attributes, labels: Mapping[str, str], pod: Mapping[str, Any]) -> None:
        """Source: pod-security-admission/api/constants.go (names of the annotations)."""
        if attributes.notes is not None and (told := _told(pod, labels, "audit")):
            attributes.notes.add(f"{_PREFIX}audit-violations", f"would violate {_standard(labels, 'audit')}: {told}")

    @staticmethod
    def _warn(attributes: Attributes, labels: Mapping[str, str], pod: Mapping[str, Any]) -> None:
        if told := _told(pod, labels, "warn"):
            attributes.warnings.append(f"would violate {_standard(labels, 'warn')}: {told}")

    async def check_labels(self, attributes: Attributes) -> None:
        """Raises: Invalid for levels and versions that there are not; those that were there before may stay."""
        new, before = attributes.new or {}, meta.labels(attributes.old or {})
        changed = {name: value for name, value in meta.labels(new).items() if before.get(name) != value}
        if causes := list(_label_faults(changed)):
            raise Invalid.of(_NAMESPACES, "Namespace", meta.name(new), causes)
        if attributes.old is not None and _is_stricter(before, meta.labels(new)):
            pods = await self._pods_of(attributes.scope.cluster, meta.name(new))
            attributes.warnings.extend(existing_violations(meta.name(new), meta.labels(new), pods))


def _told(pod: Mapping[str, Any], labels: Mapping[str, str], mode: str) -> str:
    """What a pod, or a template of pods, violates."""
    level, version = labels.get(f"{_PREFIX}{mode}", ""), labels.get(f"{_PREFIX}{mode}-version", "latest")
    found = violations(meta.nested(pod, "spec", default={}) or {}, level, meta.annotations(pod), version)
    return ", ".join(f"{reason} ({details})" for reason, details in found)


def _is_stricter(before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    """Whether pods that were fine may not be any more."""
    (level, version), held = _enforced(after), _enforced(before)
    return level != "privileged" and (version != held[1] or LEVELS.index(level) > LEVELS.index(held[0]))


def _enforced(labels: Mapping[str, str]) -> tuple[str, str]:
    level = labels.get(f"{_PREFIX}enforce", "privileged")
    return level if level in LEVELS else "restricted", labels.get(f"{_PREFIX}enforce-version", "latest")


def existing_violations(namespace: str, labels: Mapping[str, str], pods: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """Warnings that name one pod for each way of violating the level. Source: admission.go, EvaluatePodsInNamespace."""
    found: dict[str, list[str]] = {}
    level, version = _enforced(labels)
    for pod in pods[:_CHECKED]:
        reasons = [reason for reason, _ in violations(pod.get("spec") or {}, level, meta.annotations(pod), version)]
        if reasons:
            found.setdefault(", ".join(reasons), []).append(meta.name(pod))
    warnings = []
    if len(pods) > _CHECKED:
        warnings.append(f"new PodSecurity enforce level only checked against the first {_CHECKED} of {len(pods)} existing pods")
    if found:
        warnings.append(f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{level}:{version}"')
    return [*warnings, *sorted(f"{_with_others(names)}: {reasons}" for reasons, names in found.items())]


def _with_others(names: Sequence[str]) -> str:
    others = len(names) - 1
    return names[0] + (f" (and {others} other pod{'s' if others > 1 else ''})" if others else "")


def _standard(labels: Mapping[str, str], mode: str) -> str:
    return f'PodSecurity "{_policy(labels, mode)}"'


def _policy(labels: Mapping[str, str], mode: str) -> str:
    """Level and version."""
    return f"{labels.get(_PREFIX + mode, 'privileged')}:{labels.get(f'{_PREFIX}{mode}-version', 'latest')}"


def _label_faults(labels: Mapping[str, Any]) -> Iterator[Cause]:
    """Source: pod-security-admission/api/helpers.go."""
    for mode in _MODES:
        name = f"{_PREFIX}{mode}"
        if name in labels and labels[name] not in LEVELS:
            yield Cause.invalid(f"metadata.labels[{name}]", labels[name], f"must be one of {', '.join(LEVELS)}")
        name = f"{_PREFIX}{mode}-version"
        if name in labels and not _VERSION.match(str(labels[name])):
            yield Cause.invalid(f"metadata.labels[{name}]", labels[name], 'must be "latest" or "v1.x"')
