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
    """Set each field that is absent, null or an empty text: Go's fields of texts cannot tell these apart."""
    for field, value in defaults.items():
        held = obj.get(field)
        if held is None or held == "":
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
    """Write the quantities in these map fields as the API server does, rounded up to thousandths; what is none, validation reports."""
    for field in fields:
        amounts = child(obj, field)
        for name, value in list((amounts or {}).items()):
            if amounts is not None and not quantity.fault(value):
                amounts[name] = quantity.rounded(value)


def pod_spec(spec: JSONObject) -> None:
    fill(spec, dnsPolicy="ClusterFirst", restartPolicy="Always", terminationGracePeriodSeconds=30, schedulerName="default-scheduler")
    fill(spec, securityContext={})
    if spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = spec.get("serviceAccountName") or spec["serviceAccount"]
    for kind in _CONTAINERS:
        for container in objects(spec, kind):
            _container(container)
    for volume in objects(spec, "volumes"):
        _volume(volume)
    canonical_quantities(spec, "overhead")


def pod(spec: JSONObject) -> None:
    """What a pod gets beside a template's defaults."""
    pod_spec(spec)
    fill(spec, enableServiceLinks=True)
    for container in (*objects(spec, "initContainers"), *objects(spec, "containers")):
        if spec.get("hostNetwork"):
            _host_ports(container)
        resources = child(container, "resources") or {}
        limits = child(resources, "limits")
        if limits:
            fill(resources, requests={})
            fill(resources["requests"], **limits)
    if whole := child(spec, "resources"):
        canonical_quantities(whole, "limits", "requests")
        _whole_pod(spec, whole)


_HUGE_PAGES = "hugepages-"


def _whole_pod(spec: JSONObject, resources: JSONObject) -> None:
    """What a pod-level limit leaves unsaid follows the containers, or else the limit (KEP-2837)."""
    from kcp.apis.kubernetes.podresources import of_containers

    limits, requests = dict(child(resources, "limits") or {}), dict(child(resources, "requests") or {})
    if limits or requests:
        for name, amount in of_containers(spec, "limits").items():
            if name.startswith(_HUGE_PAGES) and name not in requests:
                limits.setdefault(name, amount)
    if not limits:
        return
    resources["limits"] = limits
    for name, amount in of_containers(spec, "requests").items():
        if name in ("cpu", "memory"):
            requests.setdefault(name, amount)
    for name, amount in limits.items():
        if name in ("cpu", "memory") or name.startswith(_HUGE_PAGES):
            requests.setdefault(name, amount)
    if requests:
        resources["requests"] = requests


def _container(container: JSONObject) -> None:
    image = container.get("image") or ""
    fill(container, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File", resources={})
    if image:
        fill(container, imagePullPolicy=pull_policy(image))
    for port in objects(container, "ports"):
        fill(port, protocol="TCP")
    for name in _PROBES:
        if probe := child(container, name):
            probe |= {field: value for field, value in _PROBE_DEFAULTS.items() if not probe.get(field)}
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
    if (image := child(volume, "image")) is not None:
        fill(image, pullPolicy=pull_policy(image.get("reference") or ""))
    volume_source(volume)
    for item in objects(child(volume, "downwardAPI") or {}, "items"):
        _field_reference(item)
    for source_of in objects(child(volume, "projected") or {}, "sources"):
        if token := child(source_of, "serviceAccountToken"):
            fill(token, expirationSeconds=3600)
        for item in objects(child(source_of, "downwardAPI") or {}, "items"):
            _field_reference(item)
    if claim := child(volume, "ephemeral", "volumeClaimTemplate", "spec"):
        fill(claim, volumeMode="Filesystem")
        canonical_quantities(child(claim, "resources") or {}, "limits", "requests")


_SOURCES: Mapping[str, Mapping[str, Any]] = {
    "azureDisk": {"cachingMode": "ReadWrite", "fsType": "ext4", "readOnly": False, "kind": "Shared"},
    "hostPath": {"type": ""},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}


def volume_source(volume: JSONObject) -> None:
    """Of a pod's volume or of a PersistentVolume."""
    for source, defaults in _SOURCES.items():
        if (held := child(volume, source)) is not None:
            fill(held, **defaults)


def _field_reference(item: JSONObject) -> None:
    if reference := child(item, "fieldRef"):
        fill(reference, apiVersion="v1")
