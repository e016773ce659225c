"""PodSecurity: a namespace's labels say which Pod Security Standard its pods must keep, and of which violations to warn.

`enforce` refuses pods; `warn` tells of pods and of whatever makes pods, and `audit` notes it for the audit log.
Only for servers whose pods are real (simulated clusters).
Before: `admission.chain`. After: `apis.kubernetes.podsecurity`; a look-up of the namespace.
Source: k8s.io/pod-security-admission/admission/admission.go, pkg/apis/pod-security/v1 (labels).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause, Invalid
from kcp.apimachinery.gvk import GroupResource
from kcp.apis.kubernetes.podsecurity import LEVELS, violations
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.occasion import NamespaceLookup
from kcp.apiserver.admission.refusal import forbidden
from kcp.registry.backend import Attributes

_PREFIX = "pod-security.kubernetes.io/"
_MODES = ("enforce", "audit", "warn")
_NAMESPACES, _PODS = GroupResource("", "namespaces"), GroupResource("", "pods")
_TEMPLATES: Mapping[GroupResource, tuple[str, ...]] = {
    GroupResource("", "podtemplates"): ("template", "spec"),
    GroupResource("", "replicationcontrollers"): ("spec", "template", "spec"),
    **{GroupResource("apps", name): ("spec", "template", "spec") for name in ("daemonsets", "deployments", "replicasets", "statefulsets")},
    GroupResource("batch", "jobs"): ("spec", "template", "spec"),
    GroupResource("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template", "spec"),
}
_VERSION = re.compile(r"latest\Z|v1\.(0|[1-9][0-9]*)\Z")


class PodSecurity:
    def __init__(self, namespace_of: NamespaceLookup) -> None:
        self._namespace_of = namespace_of

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
        labels, spec = await self._labels(attributes), meta.nested(attributes.new or {}, "spec", default={})
        enforced = labels.get(f"{_PREFIX}enforce", "")
        if attributes.notes is not None:
            attributes.notes.add(f"{_PREFIX}enforce-policy", _policy(labels, "enforce"))
        self._audit(attributes, labels, spec)
        if found := violations(spec, enforced):
            raise forbidden(attributes, f"violates {_standard(labels, 'enforce')}: {', '.join(found)}")
        self._warn(attributes, labels, spec)

    async def warn_of_template(self, attributes: Attributes) -> None:
        path = _TEMPLATES[attributes.scope.resource.group_resource]
        labels, spec = await self._labels(attributes), meta.nested(attributes.new or {}, *path, default={})
        self._audit(attributes, labels, spec)
        self._warn(attributes, labels, spec)

    @staticmethod
    def _audit(attributes: Attributes, labels: Mapping[str, str], spec: Mapping[str, Any]) -> None:
        """Source: pod-security-admission/api/constants.go (names of the annotations)."""
        if attributes.notes is not None and (found := violations(spec, labels.get(f"{_PREFIX}audit", ""))):
            attributes.notes.add(f"{_PREFIX}audit-violations", f"would violate {_standard(labels, 'audit')}: {', '.join(found)}")

    @staticmethod
    def _warn(attributes: Attributes, labels: Mapping[str, str], spec: Mapping[str, Any]) -> None:
        if found := violations(spec, labels.get(f"{_PREFIX}warn", "")):
            attributes.warnings.append(f"would violate {_standard(labels, 'warn')}: {', '.join(found)}")

    async def check_labels(self, attributes: Attributes) -> None:
        """Raises: Invalid for levels and versions that there are not; those that were there before may stay."""
        new, before = attributes.new or {}, meta.labels(attributes.old or {})
        changed = {name: value for name, value in meta.labels(new).items() if before.get(name) != value}
        if causes := list(_label_faults(changed)):
            raise Invalid.of(_NAMESPACES, "Namespace", meta.name(new), causes)


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
