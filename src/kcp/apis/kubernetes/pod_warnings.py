"""What of a pod, or of a template of pods, is legal but surely not meant: deprecated fields, fractions of bytes, hidden variables.

Before: `warnings`. Source: k8s.io/kubernetes/pkg/api/pod/warnings.go, pkg/api/node/util.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kcp.apimachinery import quantity
from kcp.apis.kubernetes.checks import is_int, list_at, numbered, obj_at

NO_SELECTOR = "a null labelSelector results in matching no pod"
_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
}
_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
_VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_APP_ARMOR = 'deprecated since v1.30; use the "appArmorProfile" field instead'
_IN_BYTES = ("memory", "ephemeral-storage")


def of_pods(held: Mapping[str, Any], at: str) -> Iterator[str]:
    """Args: held: a pod, or a template. at: where the template is, with a dot at its end; "" for a pod."""
    spec, where = obj_at(held, "spec"), f"{at}spec"
    marks = obj_at(held, "metadata", "annotations")
    yield from _placement(spec, where)
    yield from (f"{at}metadata.annotations[{key}]: {text}" for key, text in _ANNOTATIONS.items() if key in marks)
    yield from _volumes(spec, where)
    yield from _repeated(spec, where)
    yield from fractions(obj_at(spec, "overhead"), f"{where}.overhead", _IN_BYTES)
    yield from _profiles(spec, marks, at)
    for path, container in containers(spec, where):
        for part in ("limits", "requests"):
            yield from fractions(obj_at(container, "resources", part), f"{path}.resources.{part}", _IN_BYTES)
        yield from _hidden(container, f"{path}.env")
    yield from _ports(spec, where)
    grace = spec.get("terminationGracePeriodSeconds")
    if is_int(grace) and grace < 0:
        yield f"{where}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
    yield from _affinity(spec, f"{where}.affinity")


def containers(spec: Mapping[str, Any], at: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from numbered(spec, kind, f"{at}.{kind}")


def fractions(amounts: Mapping[str, Any], at: str, resources: Iterable[str]) -> Iterator[str]:
    for resource in resources:
        amount = amounts.get(resource)
        if amount is not None and not quantity.fault(amount) and quantity.parse(amount).denominator != 1:
            yield f'{at}[{resource}]: fractional byte value "{quantity.canonical(amount)}" is invalid, must be an integer'


def of_terms(terms: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    """Of node selector terms."""
    for path, term in terms:
        for at, expression in numbered(term, "matchExpressions", f"{path}.matchExpressions"):
            if (key := expression.get("key")) in _LABELS:
                yield f"{at}.key: {key} is {_LABELS[key]}"


def _placement(spec: Mapping[str, Any], at: str) -> Iterator[str]:
    selected = obj_at(spec, "nodeSelector")
    yield from (f"{at}.nodeSelector[{key}]: {_LABELS[key]}" for key in selected if key in _LABELS)
    affinity, where = obj_at(spec, "affinity", "nodeAffinity"), f"{at}.affinity.nodeAffinity"
    required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
    yield from of_terms(numbered(obj_at(affinity, required), "nodeSelectorTerms", f"{where}.{required}.nodeSelectorTerms"))
    weighed = numbered(affinity, preferred, f"{where}.{preferred}")
    yield from of_terms((f"{path}.preference", obj_at(term, "preference")) for path, term in weighed)
    for path, constraint in numbered(spec, "topologySpreadConstraints", f"{at}.topologySpreadConstraints"):
        if (key := constraint.get("topologyKey")) in _LABELS:
            yield f"{path}.topologyKey: {key} is {_LABELS[key]}"
        if constraint.get("labelSelector") is None:
            yield f"{path}.labelSelector: {NO_SELECTOR}"


def _volumes(spec: Mapping[str, Any], at: str) -> Iterator[str]:
    for path, volume in numbered(spec, "volumes", f"{at}.volumes"):
        yield from (f"{path}.{plugin}: {text}" for plugin, text in _VOLUMES.items() if volume.get(plugin) is not None)
        claim = obj_at(volume, "ephemeral", "volumeClaimTemplate", "spec")
        yield from of_claim(claim, f"{path}.ephemeral.volumeClaimTemplate.spec")


def of_claim(spec: Mapping[str, Any], at: str) -> Iterator[str]:
    """Source: pkg/api/persistentvolumeclaim/util.go (GetWarningsForPersistentVolumeClaimSpec)."""
    for part in ("requests", "limits"):
        yield from fractions(obj_at(spec, "resources", part), f"{at}.resources.{part}", ("storage",))


def _repeated(spec: Mapping[str, Any], at: str) -> Iterator[str]:
    for field, key, what in (("hostAliases", "ip", "ip"), ("imagePullSecrets", "name", "name")):
        seen = set()
        for path, item in numbered(spec, field, f"{at}.{field}"):
            if (value := item.get(key) or "") in seen:
                yield f'{path}.{key}: duplicate {what} "{value}"'
            seen.add(value)
    for path, item in numbered(spec, "imagePullSecrets", f"{at}.imagePullSecrets"):
        if not item.get("name"):
            yield f'{path}.name: invalid empty name ""'


def _profiles(spec: Mapping[str, Any], marks: Mapping[str, Any], at: str) -> Iterator[str]:
    """Annotations of profiles without the fields that took their place."""
    context = obj_at(spec, "securityContext")
    if not context.get("seccompProfile") and (key := "seccomp.security.alpha.kubernetes.io/pod") in marks:
        yield f"{at}metadata.annotations[{key}]: {_SECCOMP}"
    for _, container in containers(spec, ""):
        own, name = obj_at(container, "securityContext"), container.get("name")
        if not own.get("seccompProfile") and (key := f"container.seccomp.security.alpha.kubernetes.io/{name}") in marks:
            yield f"{at}metadata.annotations[{key}]: {_SECCOMP}"
        has_profile = context.get("appArmorProfile") or own.get("appArmorProfile")
        if at and not has_profile and (key := f"container.apparmor.security.beta.kubernetes.io/{name}") in marks:
            yield f"{at}metadata.annotations[{key}]: {_APP_ARMOR}"


def _hidden(container: Mapping[str, Any], at: str) -> Iterator[str]:
    """Variables that take the place of an earlier one of the same name without building on it."""
    seen = set()
    for path, variable in numbered(container, "env", at):
        name, value = variable.get("name"), str(variable.get("value") or "")
        earlier = f"$({name})"
        if name in seen and (variable.get("valueFrom") is not None or value == earlier or earlier not in value):
            yield f'{path}: hides previous definition of "{name}", which may be dropped when using apply'
        seen.add(name)


def _ports(spec: Mapping[str, Any], at: str) -> Iterator[str]:
    known: dict[tuple[Any, Any], list[tuple[str, Mapping[str, Any]]]] = {}
    for where, container in containers(spec, at):
        for path, port in numbered(container, "ports", f"{where}.ports"):
            if port.get("hostIP") and not port.get("hostPort"):
                shown = f"Name:{port.get('name') or ''} HostPort:0 ContainerPort:{port.get('containerPort')} "
                yield f"{path}: hostIP set without hostPort: {{{shown}Protocol:{port.get('protocol')} HostIP:{port['hostIP']}}}"
            others = known.setdefault((port.get("containerPort"), port.get("protocol")), [])
            yield from (f"{path}: {clash} port definition with {other}" for other, held in others if (clash := _clash(port, held)))
            others.append((path, port))


def _clash(port: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    mine, its = ((p.get("hostIP") or "", p.get("hostPort") or 0) for p in (port, other))
    if mine == its:
        return "duplicate"
    if not mine[1] or not its[1]:
        return "overlapping"
    return "dangerously ambiguous" if mine[1] == its[1] and (not mine[0]) != (not its[0]) else ""


def _affinity(spec: Mapping[str, Any], at: str) -> Iterator[str]:
    for kind in ("podAffinity", "podAntiAffinity"):
        for when, *inner in (
            ("requiredDuringSchedulingIgnoredDuringExecution",),
            ("preferredDuringSchedulingIgnoredDuringExecution", "podAffinityTerm"),
        ):
            for index, term in enumerate(list_at(spec, "affinity", kind, when)):
                if obj_at(term, *inner).get("labelSelector") is None:
                    yield f"{'.'.join((f'{at}.{kind}.{when}[{index}]', *inner))}.labelSelector: {NO_SELECTOR}"
