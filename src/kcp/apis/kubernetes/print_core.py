"""Columns of services, nodes, volumes, configuration and events. Source: k8s.io/kubernetes/pkg/printers/internalversion/printers.go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.meta import JSONObject, deletion_timestamp, labels, name, nested
from kcp.apimachinery.table import NAME, Column, age_of
from kcp.apis.kubernetes.printing import (
    AGE,
    CREATED_AT,
    NONE,
    UNKNOWN,
    UNSET,
    access_modes,
    field,
    format_labels,
    format_selector,
    number,
    text,
    truncated,
)  # fmt: skip


def _count(name_: str, *paths: tuple[str, ...]) -> Column:
    """How many entries the maps or lists at `paths` hold together."""
    return Column(name_, type="integer", getter=lambda obj, _now: sum(len(nested(obj, *path, default=())) for path in paths))


NAMESPACE = (NAME, field("Status", "status", "phase"), AGE)
CONFIG_MAP = (NAME, _count("Data", ("data",), ("binaryData",)), AGE)
SECRET = (NAME, field("Type", "type"), _count("Data", ("data",)), AGE)


def _health(part: str) -> Callable[[JSONObject, datetime], str]:
    return lambda obj, _now: str(next((c.get(part) or "" for c in obj.get("conditions") or () if c.get("type") == "Healthy"), ""))


def _component_state(obj: JSONObject, now: datetime) -> str:
    status = _health("status")(obj, now)
    return "Healthy" if status == "True" else "Unhealthy" if status else "Unknown"


COMPONENT_STATUS = (
    NAME,
    text("Status", _component_state),
    text("Message", _health("message")),
    text("Error", _health("error")),
)
SERVICE_ACCOUNT = (NAME, _count("Secrets", ("secrets",)), AGE)
LIMIT_RANGE = (NAME, CREATED_AT)


def _usage(quota: JSONObject, *, limits: bool) -> str:
    hard, used = nested(quota, "status", "hard", default={}), nested(quota, "status", "used", default={})
    wanted = sorted(key for key in hard if key.startswith("limits.") is limits)
    return ", ".join(f"{key}: {used.get(key, '0')}/{hard[key]}" for key in wanted)


RESOURCE_QUOTA = (
    NAME,
    text("Request", lambda obj, _now: _usage(obj, limits=False)),
    text("Limit", lambda obj, _now: _usage(obj, limits=True)),
    AGE,
)


def _ingress_addresses(obj: JSONObject) -> list[str]:
    return [str(i.get("ip") or i.get("hostname") or "") for i in nested(obj, "status", "loadBalancer", "ingress", default=())]


def _external_ip(service: JSONObject, _now: datetime) -> str:
    spec = service.get("spec") or {}
    listed = list(spec.get("externalIPs") or ())
    match spec.get("type") or "ClusterIP":
        case "ExternalName":
            return str(spec.get("externalName") or "")
        case "LoadBalancer":
            return ",".join([a for a in _ingress_addresses(service) if a] + listed) or "<pending>"
    return ",".join(listed) or NONE


def _service_ports(service: JSONObject, _now: datetime) -> str:
    def one(port: JSONObject) -> str:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        return f"{port.get('port')}{node}/{port.get('protocol') or 'TCP'}"

    return ",".join(map(one, nested(service, "spec", "ports", default=()))) or NONE


def _cluster_ip(service: JSONObject, _now: datetime) -> str:
    addresses = nested(service, "spec", "clusterIPs", default=())
    return str(addresses[0] if addresses else nested(service, "spec", "clusterIP", default="") or NONE)


SERVICE = (
    NAME,
    field("Type", "spec", "type"),
    text("Cluster-IP", _cluster_ip),
    text("External-IP", _external_ip),
    text("Port(s)", _service_ports),
    AGE,
    text("Selector", lambda obj, _now: format_labels(nested(obj, "spec", "selector")), wide=True),
)


def _endpoint_list(obj: JSONObject) -> Iterator[str]:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            yield from (f"{a.get('ip')}:{port.get('port')}" for a in subset.get("addresses") or ())
        if not subset.get("ports"):
            yield from (str(a.get("ip")) for a in subset.get("addresses") or ())


ENDPOINTS = (NAME, text("Endpoints", lambda obj, _now: truncated(_endpoint_list(obj), 3) or NONE), AGE)
ENDPOINT_SLICE = (
    NAME,
    field("AddressType", "addressType"),
    text("Ports", lambda obj, _now: truncated((str(p.get("port", "*")) for p in obj.get("ports") or ()), 3) or UNSET),
    text("Endpoints", lambda obj, _now: truncated((a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()), 3) or UNSET),
    AGE,
)

_ROLE_PREFIX = "node-role.kubernetes.io/"


def _node_roles(node: JSONObject, _now: datetime) -> str:
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels(node) if key.startswith(_ROLE_PREFIX)}
    if role := labels(node).get("kubernetes.io/role"):
        roles.add(role)
    return ",".join(sorted(r for r in roles if r)) or NONE


def _node_status(node: JSONObject, _now: datetime) -> str:
    ready = conditions.get(node, "Ready")
    words = ["Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"]
    if nested(node, "spec", "unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _address(node: JSONObject, kind: str) -> str:
    return next((a.get("address", NONE) for a in nested(node, "status", "addresses", default=()) if a.get("type") == kind), NONE)


def _node_info(title: str, part: str) -> Column:
    return field(title, "status", "nodeInfo", part, default=UNKNOWN, wide=True)


NODE = (
    NAME,
    text("Status", _node_status),
    text("Roles", _node_roles),
    AGE,
    field("Version", "status", "nodeInfo", "kubeletVersion"),
    text("Internal-IP", lambda obj, _now: _address(obj, "InternalIP"), wide=True),
    text("External-IP", lambda obj, _now: _address(obj, "ExternalIP"), wide=True),
    _node_info("OS-Image", "osImage"),
    _node_info("Kernel-Version", "kernelVersion"),
    _node_info("Container-Runtime", "containerRuntimeVersion"),
)


def _interval(event: JSONObject, last: str, now: datetime) -> str:
    """`12s` or `12s (x5 over 3m)`. Source: printers.go printEvent."""
    series = event.get("series") or {}
    first = event.get("firstTimestamp") or event.get("deprecatedFirstTimestamp") or event.get("eventTime") or ""
    count = series.get("count") or event.get("count") or event.get("deprecatedCount") or 1
    ended = series.get("lastObservedTime") or last or first
    return f"{age_of(ended, now)} (x{count} over {age_of(first, now)})" if count > 1 else age_of(ended, now)


def _last_seen(event: JSONObject, now: datetime) -> str:
    return _interval(event, event.get("lastTimestamp") or event.get("deprecatedLastTimestamp") or "", now)


def _involved(event: JSONObject) -> JSONObject:
    found: JSONObject = event.get("involvedObject") or event.get("regarding") or {}
    return found


def _event_object(event: JSONObject, _now: datetime) -> str:
    about = _involved(event)
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _event_source(event: JSONObject, _now: datetime) -> str:
    source = event.get("source") or event.get("deprecatedSource") or {}
    parts = [source.get("component") or event.get("reportingComponent") or event.get("reportingController") or "", source.get("host") or ""]
    return ", ".join(part for part in parts if part)


def _first_seen(event: JSONObject, now: datetime) -> str:
    return age_of(event.get("firstTimestamp") or event.get("deprecatedFirstTimestamp") or event.get("eventTime") or "", now)


EVENT = (
    text("Last Seen", _last_seen),
    field("Type", "type"),
    field("Reason", "reason"),
    text("Object", _event_object),
    text("Subobject", lambda event, _now: str(_involved(event).get("fieldPath") or ""), wide=True),
    text("Source", _event_source, wide=True),
    text("Message", lambda event, _now: str(event.get("message") or event.get("note") or "").strip()),
    text("First Seen", _first_seen, wide=True),
    Column("Count", type="integer", priority=1, getter=lambda e, _now: e.get("count") or e.get("deprecatedCount") or 1),
    Column("Name", format="name", priority=1, getter=lambda event, _now: name(event)),
)


def _volume_phase(obj: JSONObject, _now: datetime) -> str:
    return "Terminating" if deletion_timestamp(obj) else str(nested(obj, "status", "phase", default=""))


def _claim(volume: JSONObject, _now: datetime) -> str:
    ref = nested(volume, "spec", "claimRef", default={})
    return f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref else ""


def _storage_class(obj: JSONObject, _now: datetime) -> str:
    return meta.annotations(obj).get("volume.beta.kubernetes.io/storage-class") or str(nested(obj, "spec", "storageClassName", default=""))


PERSISTENT_VOLUME = (
    NAME,
    field("Capacity", "spec", "capacity", "storage"),
    text("Access Modes", lambda obj, _now: access_modes(nested(obj, "spec", "accessModes"))),
    field("Reclaim Policy", "spec", "persistentVolumeReclaimPolicy"),
    text("Status", _volume_phase),
    text("Claim", _claim),
    text("StorageClass", _storage_class),
    field("VolumeAttributesClass", "spec", "volumeAttributesClassName", default=UNSET),
    field("Reason", "status", "reason"),
    AGE,
    field("VolumeMode", "spec", "volumeMode", default=UNSET, wide=True),
)


def _bound(part: Any) -> Any:
    """A claim shows capacity and modes only once it is bound."""
    return lambda obj, _now: part(obj) if nested(obj, "spec", "volumeName") else ""


PERSISTENT_VOLUME_CLAIM = (
    NAME,
    text("Status", _volume_phase),
    field("Volume", "spec", "volumeName"),
    text("Capacity", _bound(lambda obj: str(nested(obj, "status", "capacity", "storage", default="")))),
    text("Access Modes", _bound(lambda obj: access_modes(nested(obj, "status", "accessModes")))),
    text("StorageClass", _storage_class),
    field("VolumeAttributesClass", "spec", "volumeAttributesClassName", default=UNSET),
    AGE,
    field("VolumeMode", "spec", "volumeMode", default=UNSET, wide=True),
)

_DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")


def _class_name(obj: JSONObject, _now: datetime) -> str:
    default = any(meta.annotations(obj).get(key) == "true" for key in _DEFAULT_CLASS)
    return f"{name(obj)} (default)" if default else name(obj)


STORAGE_CLASS = (
    Column("Name", format="name", getter=_class_name),
    field("Provisioner", "provisioner"),
    field("ReclaimPolicy", "reclaimPolicy", default="Delete"),
    field("VolumeBindingMode", "volumeBindingMode", default="Immediate"),
    text("AllowVolumeExpansion", lambda obj, _now: "true" if obj.get("allowVolumeExpansion") else "false"),
    AGE,
)


def _hosts(ingress: JSONObject, _now: datetime) -> str:
    return truncated((str(rule["host"]) for rule in nested(ingress, "spec", "rules", default=()) if rule.get("host")), 3) or "*"


INGRESS = (
    NAME,
    field("Class", "spec", "ingressClassName", default=NONE),
    text("Hosts", _hosts),
    text("Address", lambda obj, _now: ",".join(_ingress_addresses(obj))),
    text("Ports", lambda obj, _now: "80, 443" if nested(obj, "spec", "tls") else "80"),
    AGE,
)


def _class_parameters(obj: JSONObject, _now: datetime) -> str:
    parameters = nested(obj, "spec", "parameters", default={})
    kind = f"{parameters['kind']}.{parameters['apiGroup']}" if parameters.get("apiGroup") else parameters.get("kind", "")
    return f"{kind}/{parameters.get('name', '')}" if parameters else NONE


INGRESS_CLASS = (NAME, field("Controller", "spec", "controller"), text("Parameters", _class_parameters), AGE)
NETWORK_POLICY = (NAME, text("Pod-Selector", lambda obj, _now: format_selector(nested(obj, "spec", "podSelector"))), AGE)
PRIORITY_CLASS = (
    NAME,
    number("Value", "value"),
    Column("Global-Default", type="boolean", getter=lambda obj, _now: bool(obj.get("globalDefault"))),
    AGE,
    field("PreemptionPolicy", "preemptionPolicy"),
)
