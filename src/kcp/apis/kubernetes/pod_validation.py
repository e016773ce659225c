"""Rules of pods and pod templates. Before: `workload_validation`. Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kcp.apimachinery import names, quantity
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_TERMINATION_POLICIES = ("FallbackToLogsOnError", "File")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_STANDARD_RESOURCES = ("cpu", "memory", "ephemeral-storage")


def spec(held: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """Rules of a PodSpec at `at`."""
    volumes = {v.get("name") for v in list_at(held, "volumes") if isinstance(v, Mapping)}
    seen: set[str] = set()
    yield from _volumes(held, f"{at}.volumes")
    if isinstance(held.get("containers"), list) and not held["containers"]:
        yield Cause.required(f"{at}.containers")
    for kind in ("containers", "initContainers"):
        for path, container in numbered(held, kind, f"{at}.{kind}"):
            yield from _container(container, path, volumes)
            if (name := container.get("name")) and name in seen:
                yield Cause.duplicate(f"{path}.name", name)
            seen.add(str(name))
    yield from checks.one_of(held, at, "restartPolicy", _RESTART_POLICIES)
    yield from checks.one_of(held, at, "dnsPolicy", _DNS_POLICIES)
    yield from checks.not_negative(held, at, "terminationGracePeriodSeconds")
    yield from checks.labels(obj_at(held, "nodeSelector"), f"{at}.nodeSelector")
    yield from checks.named(held.get("serviceAccountName"), f"{at}.serviceAccountName", names.dns1123_subdomain)
    yield from checks.named(held.get("nodeName"), f"{at}.nodeName", names.dns1123_subdomain)
    yield from checks.named(held.get("hostname"), f"{at}.hostname", names.dns1123_label)
    yield from checks.named(held.get("subdomain"), f"{at}.subdomain", names.dns1123_label)
    deadline = held.get("activeDeadlineSeconds")
    if checks.is_int(deadline) and deadline < 1:
        yield Cause.invalid(f"{at}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")


def _volumes(held: Mapping[str, Any], at: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for path, volume in numbered(held, "volumes", at):
        name = str(volume.get("name") or "")
        yield from checks.required(volume, path, "name")
        yield from checks.named(name, f"{path}.name", names.dns1123_label)
        if name and name in seen:
            yield Cause.duplicate(f"{path}.name", name)
        seen.add(name)
        sources = [field for field, value in volume.items() if field != "name" and value is not None]
        yield from (Cause.forbidden(f"{path}.{extra}", "may not specify more than 1 volume type") for extra in sources[1:])


def _container(container: Mapping[str, Any], at: str, volumes: set[Any]) -> Iterator[Cause]:
    name, image = container.get("name"), container.get("image")
    if not name:
        yield Cause.required(f"{at}.name")
    yield from checks.named(name, f"{at}.name", names.dns1123_label)
    if not image:
        yield Cause.required(f"{at}.image")
    elif isinstance(image, str) and image != image.strip():
        yield Cause.invalid(f"{at}.image", image, "must not have leading or trailing whitespace")
    yield from checks.one_of(container, at, "imagePullPolicy", _PULL_POLICIES)
    yield from checks.one_of(container, at, "terminationMessagePolicy", _TERMINATION_POLICIES)
    yield from _ports(container, f"{at}.ports")
    yield from _env(container, at)
    yield from _mounts(container, f"{at}.volumeMounts", volumes)
    yield from _resources(obj_at(container, "resources"), f"{at}.resources")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(container.get(probe), Mapping):
            yield from _probe(container[probe], f"{at}.{probe}", is_readiness=probe == "readinessProbe")


def _ports(container: Mapping[str, Any], at: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for path, port in numbered(container, "ports", at):
        if not port.get("containerPort"):
            yield Cause.required(f"{path}.containerPort")
        else:
            yield from checks.port(port.get("containerPort"), f"{path}.containerPort")
        if port.get("hostPort"):
            yield from checks.port(port["hostPort"], f"{path}.hostPort")
        yield from checks.one_of(port, path, "protocol", _PROTOCOLS)
        name = port.get("name")
        yield from checks.named(name, f"{path}.name", names.port_name)
        if name and name in seen:
            yield Cause.duplicate(f"{path}.name", name)
        seen.add(str(name))


def _env(container: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for path, variable in numbered(container, "env", f"{at}.env"):
        yield from checks.required(variable, path, "name")
        yield from checks.named(variable.get("name"), f"{path}.name", names.env_name)
        source = obj_at(variable, "valueFrom")
        if source and variable.get("value"):
            yield Cause.invalid(f"{path}.valueFrom", "", "may not be specified when `value` is not empty")
        elif len([1 for value in source.values() if value is not None]) > 1:
            yield Cause.invalid(f"{path}.valueFrom", "", "may not have more than one field specified at a time")
        for kind in ("configMapKeyRef", "secretKeyRef"):
            if reference := obj_at(source, kind):
                yield from checks.required(reference, f"{path}.valueFrom.{kind}", "key")
                yield from checks.named(reference.get("key"), f"{path}.valueFrom.{kind}.key", names.config_map_key)
    for path, reference in numbered(container, "envFrom", f"{at}.envFrom"):
        if sum(isinstance(reference.get(kind), Mapping) for kind in ("configMapRef", "secretRef")) != 1:
            yield Cause.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")


def _mounts(container: Mapping[str, Any], at: str, volumes: set[Any]) -> Iterator[Cause]:
    seen: set[str] = set()
    for path, mount in numbered(container, "volumeMounts", at):
        name, where = mount.get("name"), mount.get("mountPath")
        if not name:
            yield Cause.required(f"{path}.name")
        elif name not in volumes:
            yield checks.not_found(f"{path}.name", str(name))
        if not where:
            yield Cause.required(f"{path}.mountPath")
        elif where in seen:
            yield Cause.invalid(f"{path}.mountPath", where, "must be unique")
        seen.add(str(where))


def _resources(resources: Mapping[str, Any], at: str) -> Iterator[Cause]:
    limits, requests = obj_at(resources, "limits"), obj_at(resources, "requests")
    for part, held in (("limits", limits), ("requests", requests)):
        yield from checks.amounts(held, f"{at}.{part}")
        for key in held:
            yield from _resource_name(key, f"{at}.{part}[{key}]")
    for key, wanted in requests.items():
        most = limits.get(key)
        if most is None or quantity.fault(wanted) or quantity.fault(most):
            continue
        if quantity.compare(wanted, most) > 0:
            detail = f"must be less than or equal to {key} limit of {quantity.canonical(most)}"
            yield Cause.invalid(f"{at}.requests", quantity.canonical(wanted), detail)


def _resource_name(key: str, at: str) -> Iterator[Cause]:
    if "/" in key:
        yield from (Cause.invalid(at, key, fault) for fault in names.qualified_name(key))
    elif key not in _STANDARD_RESOURCES and not key.startswith("hugepages-"):
        yield Cause.invalid(at, key, "must be a standard resource type or fully qualified")
        yield Cause.invalid(at, key, "must be a standard resource for containers")


def _probe(probe: Mapping[str, Any], at: str, *, is_readiness: bool) -> Iterator[Cause]:
    given = [handler for handler in _HANDLERS if probe.get(handler) is not None]
    if not given:
        yield Cause.required(at, "must specify a handler type")
    yield from (Cause.forbidden(f"{at}.{extra}", "may not specify more than 1 handler type") for extra in given[1:])
    numbers = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
    yield from checks.not_negative(probe, at, *numbers)
    if not is_readiness and probe.get("successThreshold") not in (None, 1):
        yield Cause.invalid(f"{at}.successThreshold", probe["successThreshold"], "must be 1")
    for handler in ("httpGet", "tcpSocket"):
        if target := obj_at(probe, handler):
            yield from checks.port_or_name(target.get("port"), f"{at}.{handler}.port")


_POD_UPDATE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)"
)


def update(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    """What of a pod may change: images, deadline, tolerations; and the node, once, which is how a scheduler binds it."""
    if _fixed(new) != _fixed(old) or (obj_at(old, "spec").get("nodeName") and not _same(new, old, "nodeName")):
        yield Cause.forbidden("spec", _POD_UPDATE)


def _same(new: JSONObject, old: JSONObject, field: str) -> bool:
    return bool(obj_at(new, "spec").get(field) == obj_at(old, "spec").get(field))


def _fixed(pod: JSONObject) -> Mapping[str, Any]:
    held: dict[str, Any] = copy_json(dict(obj_at(pod, "spec")))
    for field in ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "nodeName", "schedulingGates"):
        held.pop(field, None)
    for kind in ("containers", "initContainers"):
        for container in list_at(held, kind):
            container.pop("image", None)
    held.pop("ephemeralContainers", None)
    return held
