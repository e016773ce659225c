"""Rules of pods and pod templates. Before: `workload_validation`. Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kcp.apimachinery import names, quantity
from kcp.apimachinery.errors import Cause
from kcp.apis.kubernetes import checks, volume_validation
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at
from kcp.apis.kubernetes.placement_validation import affinity, spread
from kcp.apis.kubernetes.placement_validation import tolerations as tolerations
from kcp.apis.kubernetes.pod_context_validation import seccomp, surroundings

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_TERMINATION_POLICIES = ("FallbackToLogsOnError", "File")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_HIGHEST_ID = 2**31 - 1
_STANDARD_RESOURCES = ("cpu", "memory", "ephemeral-storage")


def spec(held: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """Rules of a PodSpec at `at`."""
    volumes = {v.get("name") for v in list_at(held, "volumes") if isinstance(v, Mapping)}
    seen: set[str] = set()
    yield from volume_validation.volumes(held, f"{at}.volumes")
    if isinstance(held.get("containers"), list) and not held["containers"]:
        yield Cause.required(f"{at}.containers")
    for kind in ("containers", "initContainers"):
        for path, container in numbered(held, kind, f"{at}.{kind}"):
            yield from _container(container, path, volumes)
            if (name := container.get("name")) and name in seen:
                yield Cause.duplicate(f"{path}.name", name)
            seen.add(str(name))
            if kind == "initContainers" and container.get("restartPolicy") != "Always":
                yield from _init_only(container, path)
            if held.get("hostNetwork"):
                yield from _host_ports(container, f"{path}.ports")
    yield from checks.one_of(held, at, "restartPolicy", _RESTART_POLICIES)
    yield from checks.one_of(held, at, "dnsPolicy", _DNS_POLICIES)
    yield from checks.labels(obj_at(held, "nodeSelector"), f"{at}.nodeSelector")
    yield from checks.named(held.get("serviceAccountName"), f"{at}.serviceAccountName", names.dns1123_subdomain)
    yield from checks.named(held.get("nodeName"), f"{at}.nodeName", names.dns1123_subdomain)
    yield from checks.named(held.get("hostname"), f"{at}.hostname", names.dns1123_label)
    yield from checks.named(held.get("subdomain"), f"{at}.subdomain", names.dns1123_label)
    yield from checks.named(held.get("priorityClassName"), f"{at}.priorityClassName", names.dns1123_subdomain)
    yield from checks.named(held.get("runtimeClassName"), f"{at}.runtimeClassName", names.dns1123_subdomain)
    yield from tolerations(held, f"{at}.tolerations")
    yield from affinity(held, f"{at}.affinity")
    yield from spread(held, f"{at}.topologySpreadConstraints")
    yield from _identity(obj_at(held, "securityContext"), f"{at}.securityContext", "fsGroup")
    yield from surroundings(held, at)
    deadline = held.get("activeDeadlineSeconds")
    if checks.is_int(deadline) and deadline < 1:
        yield Cause.invalid(f"{at}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")


_NOT_EPHEMERAL = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy")


def ephemeral(held: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """Rules of the ephemeral containers in a PodSpec. Source: validateEphemeralContainers."""
    volumes = {v.get("name") for v in list_at(held, "volumes") if isinstance(v, Mapping)}
    seen = {str(each.get("name")) for kind in ("containers", "initContainers") for _, each in numbered(held, kind, "")}
    others = {str(each.get("name")) for _, each in numbered(held, "containers", "")}
    for path, container in numbered(held, "ephemeralContainers", at):
        yield from _container(container, path, volumes)
        if (name := str(container.get("name") or "")) in seen:
            yield Cause.duplicate(f"{path}.name", name)
        seen.add(name)
        for field in _NOT_EPHEMERAL:
            if container.get(field) not in (None, []):
                yield Cause.forbidden(f"{path}.{field}", "cannot be set for an Ephemeral Container")
        if obj_at(container, "resources"):
            yield Cause.forbidden(f"{path}.resources", "cannot be set for an Ephemeral Container")
        target = container.get("targetContainerName")
        if target and target not in others:
            yield checks.not_found(f"{path}.targetContainerName", str(target))


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
    yield from volume_validation.mounts(container, f"{at}.volumeMounts", volumes)
    yield from _resources(obj_at(container, "resources"), f"{at}.resources")
    yield from _security(obj_at(container, "securityContext"), f"{at}.securityContext")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(container.get(probe), Mapping):
            yield from _probe(container[probe], f"{at}.{probe}", is_readiness=probe == "readinessProbe")
    for moment in ("postStart", "preStop"):
        if isinstance(handler := obj_at(container, "lifecycle").get(moment), Mapping):
            yield from _handler(handler, f"{at}.lifecycle.{moment}", ("exec", "httpGet", "tcpSocket", "sleep"))


def _identity(context: Mapping[str, Any], at: str, *more: str) -> Iterator[Cause]:
    for field in ("runAsUser", "runAsGroup", *more):
        number = context.get(field)
        if checks.is_int(number) and not 0 <= number <= _HIGHEST_ID:
            yield Cause.invalid(f"{at}.{field}", number, f"must be between 0 and {_HIGHEST_ID}, inclusive")


def _security(context: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """Source: ValidateSecurityContext."""
    yield from _identity(context, at)
    yield from seccomp(context, at)
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            yield Cause.invalid(at, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
        if {"CAP_SYS_ADMIN", "SYS_ADMIN"} & {str(name) for name in list_at(context, "capabilities", "add")}:
            yield Cause.invalid(at, context, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")


def _init_only(container: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(field) is not None:
            yield Cause.forbidden(f"{at}.{field}", "may not be set for init containers without restartPolicy=Always")


def _host_ports(container: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for path, port in numbered(container, "ports", at):
        if port.get("hostPort") and port["hostPort"] != port.get("containerPort"):
            yield Cause.invalid(f"{path}.containerPort", port.get("containerPort"), "must match `hostPort` when `hostNetwork` is true")


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
    yield from _handler(probe, at, _HANDLERS)
    numbers = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
    yield from checks.not_negative(probe, at, *numbers)
    if not is_readiness and probe.get("successThreshold") not in (None, 1):
        yield Cause.invalid(f"{at}.successThreshold", probe["successThreshold"], "must be 1")
    grace = probe.get("terminationGracePeriodSeconds")
    if is_readiness and grace is not None:
        yield Cause.invalid(f"{at}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes")
    elif checks.is_int(grace) and grace <= 0:
        yield Cause.invalid(f"{at}.terminationGracePeriodSeconds", grace, "must be greater than 0")


def _handler(held: Mapping[str, Any], at: str, kinds: Sequence[str]) -> Iterator[Cause]:
    """Of a probe or lifecycle hook: exactly one thing to do. Source: validateHandler."""
    given = [kind for kind in kinds if held.get(kind) is not None]
    if not given:
        yield Cause.required(at, "must specify a handler type")
    yield from (Cause.forbidden(f"{at}.{extra}", "may not specify more than 1 handler type") for extra in given[1:])
    if given[:1] == ["exec"] and not list_at(held, "exec", "command"):
        yield Cause.required(f"{at}.exec.command")
    for kind in ("httpGet", "tcpSocket"):
        if target := obj_at(held, kind):
            yield from checks.port_or_name(target.get("port"), f"{at}.{kind}.port")
    if request := obj_at(held, "httpGet"):
        yield from checks.one_of(request, f"{at}.httpGet", "scheme", ("HTTP", "HTTPS"))
        for path, header in numbered(request, "httpHeaders", f"{at}.httpGet.httpHeaders"):
            yield from checks.named(header.get("name"), f"{path}.name", names.http_header)
    if (call := obj_at(held, "grpc")) and "port" in call:
        yield from checks.port(call["port"], f"{at}.grpc.port")
