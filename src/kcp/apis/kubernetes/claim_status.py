"""What may be said of a ResourceClaim: who has it reserved, what was allocated for it, and how its devices fare.

Before: `status_validation`. After: `slice_validation`, for the names of devices.
Source: k8s.io/kubernetes/pkg/apis/resource/validation/validation.go (validateResourceClaimStatusUpdate).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import orjson

from kcp.apimachinery import meta, names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at, too_many
from kcp.apis.kubernetes.device_validation import opaque, request_names, request_references
from kcp.apis.kubernetes.placement_validation import node_selector
from kcp.apis.kubernetes.slice_validation import binding_conditions, device_name, driver_name, pool_name

_MOST_RESERVED, _MOST_RESULTS, _MOST_CONFIGURATIONS, _MOST_CONDITIONS, _MOST_ADDRESSES = 256, 32, 64, 8, 16
_LONGEST_DATA, _LONGEST_INTERFACE, _LONGEST_HARDWARE = 10 * 1024, 256, 128
_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
_NOT_UUID = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters"
_LATE = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"

_Device: TypeAlias = tuple[str, str, str, str]
"""Driver, pool, device and, of shared ones, the share."""


def faults(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    status, before = obj_at(new, "status"), obj_at(old, "status")
    allocation = status.get("allocation")
    yield from _reserved(status, before, is_deleted=bool(meta.deletion_timestamp(new)))
    allocated = {_identity(result) for result in list_at(allocation, "devices", "results") if isinstance(result, Mapping)}
    seen: set[_Device] = set()
    for path, device in numbered(status, "devices", "status.devices"):
        yield from _device(device, path, is_allocated=_identity(device) in allocated)
        if _identity(device) in seen:
            yield Cause.duplicate(path, "/".join(filter(None, _identity(device))))
        seen.add(_identity(device))
    if allocation is not None and before.get("allocation") is not None:
        yield from checks.unchanged(allocation, before["allocation"], "status.allocation")
    elif allocation is not None:
        yield from _allocation(obj_at(allocation), request_names(obj_at(new, "spec", "devices")))


def _identity(device: Mapping[str, Any]) -> _Device:
    driver, pool, name, share = (str(device.get(part) or "") for part in ("driver", "pool", "device", "shareID"))
    return driver, pool, name, share


def _reserved(status: Mapping[str, Any], before: Mapping[str, Any], *, is_deleted: bool) -> Iterator[Cause]:
    at, held = "status.reservedFor", list_at(status, "reservedFor")
    if len(held) > _MOST_RESERVED:
        yield too_many(at, len(held), _MOST_RESERVED)
    else:
        seen: set[Any] = set()
        for path, consumer in numbered(status, "reservedFor", at):
            yield from checks.required(consumer, path, "resource", "name", "uid")
            if consumer.get("uid") in seen:
                yield Cause.duplicate(path, consumer.get("uid"))
            seen.add(consumer.get("uid"))
    if held and status.get("allocation") is None:
        yield Cause.forbidden(at, "may not be specified when `allocated` is not set")
    elif is_deleted and any(consumer not in list_at(before, "reservedFor") for consumer in held):
        yield Cause.forbidden(at, _LATE)


def _allocation(allocation: Mapping[str, Any], requests: frozenset[str]) -> Iterator[Cause]:
    at, devices = "status.allocation.devices", obj_at(allocation, "devices")
    if (count := len(list_at(devices, "results"))) > _MOST_RESULTS:
        yield too_many(f"{at}.results", count, _MOST_RESULTS)
    else:
        for path, result in numbered(devices, "results", f"{at}.results"):
            yield from request_references([result.get("request")], [f"{path}.request"], requests)
            yield from _named_device(result, path)
            yield from binding_conditions(result, path)
    if (count := len(list_at(devices, "config"))) > _MOST_CONFIGURATIONS:
        yield too_many(f"{at}.config", count, _MOST_CONFIGURATIONS)
    else:
        for path, config in numbered(devices, "config", f"{at}.config"):
            yield from _configuration(config, path, requests)
    if allocation.get("nodeSelector") is not None:
        yield from node_selector(allocation["nodeSelector"], "status.allocation.nodeSelector")


def _configuration(config: Mapping[str, Any], at: str, requests: frozenset[str]) -> Iterator[Cause]:
    if not config.get("source"):
        yield Cause.required(f"{at}.source")
    else:
        yield from checks.one_of(config, at, "source", ("FromClaim", "FromClass"))
    named = list_at(config, "requests")
    yield from request_references(named, [f"{at}.requests[{index}]" for index in range(len(named))], requests)
    yield from opaque(config, at)


def _named_device(device: Mapping[str, Any], at: str) -> Iterator[Cause]:
    yield from driver_name(device.get("driver"), f"{at}.driver")
    yield from pool_name(device.get("pool"), f"{at}.pool")
    yield from device_name(device.get("device"), f"{at}.device")
    if (share := device.get("shareID")) is not None and not _UUID.fullmatch(str(share)):
        yield Cause.invalid(f"{at}.shareID", share, _NOT_UUID)


def _device(device: Mapping[str, Any], at: str, *, is_allocated: bool) -> Iterator[Cause]:
    yield from _named_device(device, at)
    if not is_allocated:
        yield Cause.invalid(at, "/".join(filter(None, _identity(device))), "must be an allocated device in the claim")
    if (count := len(list_at(device, "conditions"))) > _MOST_CONDITIONS:
        yield too_many(f"{at}.conditions", count, _MOST_CONDITIONS)
    yield from _conditions(device, f"{at}.conditions")
    data = device.get("data")
    if data is not None and not isinstance(data, Mapping):
        yield Cause.invalid(f"{at}.data", "<value omitted>", "must be a valid JSON object")
    elif data is not None and len(orjson.dumps(data)) > _LONGEST_DATA:
        yield Cause.too_long(f"{at}.data", _LONGEST_DATA)
    yield from _network(obj_at(device, "networkData"), f"{at}.networkData")


def _conditions(device: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """Source: k8s.io/apimachinery/pkg/apis/meta/v1/validation ValidateConditions."""
    seen: set[Any] = set()
    for path, condition in numbered(device, "conditions", at):
        kind = str(condition.get("type") or "")
        if kind in seen:
            yield Cause.duplicate(f"{path}.type", kind)
        seen.add(kind)
        yield from (Cause.invalid(f"{path}.type", kind, fault) for fault in names.qualified_name(kind))
        yield from checks.one_of(condition, path, "status", ("False", "True", "Unknown"))
        yield from checks.required(condition, path, "lastTransitionTime", "reason")


def _network(data: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for field, most in (("interfaceName", _LONGEST_INTERFACE), ("hardwareAddress", _LONGEST_HARDWARE)):
        if len(str(data.get(field) or "")) > most:
            yield Cause.too_long(f"{at}.{field}", most)
    addresses = list_at(data, "ips")
    if len(addresses) > _MOST_ADDRESSES:
        yield too_many(f"{at}.ips", len(addresses), _MOST_ADDRESSES)
        return
    for index, address in enumerate(addresses):
        if fault := _address_fault(str(address)):
            yield Cause.invalid(f"{at}.ips[{index}]", address, fault)
        elif address in addresses[:index]:
            yield Cause.duplicate(f"{at}.ips[{index}]", address)


def _address_fault(text: str) -> str:
    """Source: k8s.io/apimachinery/pkg/util/validation/ip.go IsValidInterfaceAddress."""
    try:
        canonical = str(ipaddress.ip_interface(text if "/" in text else ""))
    except ValueError:
        return "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
    return f'must be in canonical form ("{canonical}")' if canonical != text else ""
