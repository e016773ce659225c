"""Defaults of pods and pod templates.

Every function changes the object it is given, fills in only what is absent, and changes nothing the second time.
Before: `defaults`. Source: k8s.io/kubernetes/pkg/apis/core/v1/{defaults.go,zz_generated.defaults.go}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kcp.apimachinery import quantity
from kcp.apimachinery.meta import JSONObject

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_FILE_MODE = 0o644
_PROBE_DEFAULTS = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def fill(obj: JSONObject, /, **defaults: Any) -> None:
    """Set each field that is absent or null."""
    for field, value in defaults.items():
        if obj.get(field) is None:
            obj[field] = value


def objects(obj: Mapping[str, Any], field: str) -> list[JSONObject]:
    """The objects in a list field; malformed content, which validation reports, is left out."""
    held = obj.get(field)
    return [item for item in held if isinstance(item, dict)] if isinstance(held, list) else []


def child(obj: Mapping[str, Any], *path: str) -> JSONObject | None:
    """The object at `path`, or None."""
    here: Any = obj
    for step in path:
        here = here.get(step) if isinstance(here, dict) else None
    return here if isinstance(here, dict) else None


def canonical_quantities(obj: Mapping[str, Any], *fields: str) -> None:
    """Write the quantities in these map fields as the API server does; what is no quantity stays for validation to report."""
    for field in fields:
        amounts = child(obj, field)
        for name, value in list((amounts or {}).items()):
            if amounts is not None and not quantity.fault(value):
                amounts[name] = quantity.canonical(value)


def pod_spec(spec: JSONObject) -> None:
    fill(spec, dnsPolicy="ClusterFirst", restartPolicy="Always", terminationGracePeriodSeconds=30, schedulerName="default-scheduler")
    fill(spec, securityContext={})
    if spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = spec.get("serviceAccountName") or spec["serviceAccount"]
    for kind in _CONTAINERS:
        for container in objects(spec, kind):
            _container(container)
            if spec.get("hostNetwork"):
                _host_ports(container)
    for volume in objects(spec, "volumes"):
        _volume(volume)
    canonical_quantities(spec, "overhead")


def pod(spec: JSONObject) -> None:
    """What a pod gets beside a template's defaults."""
    pod_spec(spec)
    fill(spec, enableServiceLinks=True)
    for container in (*objects(spec, "initContainers"), *objects(spec, "containers")):
        resources = child(container, "resources") or {}
        limits = child(resources, "limits")
        if limits:
            fill(resources, requests={})
            fill(resources["requests"], **limits)


def _container(container: JSONObject) -> None:
    image = container.get("image") or ""
    fill(container, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File", resources={})
    if image:
        fill(container, imagePullPolicy=pull_policy(image))
    for port in objects(container, "ports"):
        fill(port, protocol="TCP")
    for name in _PROBES:
        if probe := child(container, name):
            fill(probe, **_PROBE_DEFAULTS)
            _action(probe)
    for moment in ("postStart", "preStop"):
        if handler := child(container, "lifecycle", moment):
            _action(handler)
    for variable in objects(container, "env"):
        if reference := child(variable, "valueFrom", "fieldRef"):
            fill(reference, apiVersion="v1")
    if resources := child(container, "resources"):
        canonical_quantities(resources, "limits", "requests")


def pull_policy(image: str) -> str:
    """`Always` for `latest` or no tag, else `IfNotPresent`.

    >>> pull_policy("nginx"), pull_policy("registry:5000/web:1.2"), pull_policy("web@sha256:0a1b")
    ('Always', 'IfNotPresent', 'IfNotPresent')
    """
    if "@" in image:
        return "IfNotPresent"
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return "IfNotPresent" if colon and tag != "latest" else "Always"


def _action(handler: JSONObject) -> None:
    if request := child(handler, "httpGet"):
        fill(request, path="/", scheme="HTTP")
    if (call := child(handler, "grpc")) is not None:
        fill(call, service="")


def _host_ports(container: JSONObject) -> None:
    for port in objects(container, "ports"):
        if not port.get("hostPort"):
            port["hostPort"] = port.get("containerPort")


def _volume(volume: JSONObject) -> None:
    if not any(field != "name" and value is not None for field, value in volume.items()):
        volume["emptyDir"] = {}
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        if (held := child(volume, source)) is not None:
            fill(held, defaultMode=_FILE_MODE)
    if host := child(volume, "hostPath"):
        fill(host, type="")
    for item in objects(child(volume, "downwardAPI") or {}, "items"):
        _field_reference(item)
    for source_of in objects(child(volume, "projected") or {}, "sources"):
        if token := child(source_of, "serviceAccountToken"):
            fill(token, expirationSeconds=3600)
        for item in objects(child(source_of, "downwardAPI") or {}, "items"):
            _field_reference(item)
    if claim := child(volume, "ephemeral", "volumeClaimTemplate", "spec"):
        fill(claim, volumeMode="Filesystem")


def _field_reference(item: JSONObject) -> None:
    if reference := child(item, "fieldRef"):
        fill(reference, apiVersion="v1")
