"""What a driver may publish in a ResourceSlice: pool, nodes, devices with their attributes, capacities, counters and taints.

Before: `rules`; `claim_status`, which refers to devices by the same names. After: `checks`.
Source: k8s.io/kubernetes/pkg/apis/resource/validation/validation.go (ValidateResourceSlice, validateDevice).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kcp.apimachinery import names, quantity
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at, too_many
from kcp.apis.kubernetes.placement_validation import node_selector
from kcp.apis.kubernetes.request_policy import request_policy

_MOST_DEVICES, _MOST_ADVANCED_DEVICES = 128, 64
"""The second where devices have taints or counters."""
_MOST_COUNTER_SETS, _MOST_COUNTERS, _MOST_CONSUMPTIONS, _MOST_TAINTS, _MOST_CONDITIONS = 8, 32, 2, 16, 4
_MOST_ATTRIBUTES, _LONGEST_VALUE, _LONGEST_ID, _LONGEST_DRIVER, _LONGEST_POOL = 32, 64, 32, 63, 253
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_IDENTIFIER = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' "
    "(e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"
)
_NUMBER, _PRE, _BUILD = r"(0|[1-9]\d*)", r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)", r"[0-9a-zA-Z-]+"
_SEMVER = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_PRE}(\.{_PRE})*)?(\+{_BUILD}(\.{_BUILD})*)?", re.ASCII)
_EFFECTS = ("NoExecute", "NoSchedule", "None")
_OF_SLICE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
_OF_DEVICE = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true "
    "in the ResourceSlice spec"
)
_NOT_OF_DEVICE = (
    "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
)


def resource_slice(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    causes = [*driver_name(spec.get("driver"), "spec.driver"), *_pool(obj_at(spec, "pool"))]
    if old is not None:
        held = obj_at(old, "spec")
        causes += checks.unchanged(obj_at(spec, "pool").get("name"), obj_at(held, "pool").get("name"), "spec.pool.name")
        for field in ("driver", "nodeName"):
            causes += checks.unchanged(spec.get(field), held.get(field), f"spec.{field}")
    causes += _where(spec)
    if spec.get("sharedCounters") is not None and spec.get("devices") is not None:
        causes.append(Cause.invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
    before = {device.get("name"): device for device in list_at(old or {}, "spec", "devices")}
    return [*causes, *_devices(spec, before), *_counter_sets(spec)]


def driver_name(name: Any, at: str) -> Iterator[Cause]:
    """Source: pkg/apis/core/validation ValidateCSIDriverName."""
    text = str(name or "")
    if not text:
        yield Cause.required(at)
    elif len(text) > _LONGEST_DRIVER:
        yield Cause.too_long(at, _LONGEST_DRIVER)
    yield from checks.named(text.lower(), at, names.dns1123_subdomain)


def pool_name(name: Any, at: str) -> Iterator[Cause]:
    text = str(name or "")
    if not text:
        yield Cause.required(at)
        return
    if len(text) > _LONGEST_POOL:
        yield Cause.too_long(at, _LONGEST_POOL)
    for part in text.split("/"):
        yield from (Cause.invalid(at, part, fault) for fault in names.dns1123_subdomain(part))


def device_name(name: Any, at: str) -> Iterator[Cause]:
    yield from (Cause.invalid(at, name or "", fault) for fault in names.dns1123_label(str(name or "")))


def binding_conditions(holder: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """The conditions that a device has to reach before a pod is bound, and those on which it never will."""
    wanted, failing = list_at(holder, "bindingConditions"), list_at(holder, "bindingFailureConditions")
    for field, held in (("bindingConditions", wanted), ("bindingFailureConditions", failing)):
        if len(held) > _MOST_CONDITIONS:
            yield too_many(f"{at}.{field}", len(held), _MOST_CONDITIONS)
            continue
        for index, kind in enumerate(held):
            path = f"{at}.{field}[{index}]"
            yield from (Cause.invalid(path, kind, fault) for fault in names.qualified_name(str(kind)))
            if kind in held[:index]:
                yield Cause.duplicate(path, kind)
            if held is failing and kind in wanted:
                yield Cause.invalid(path, kind, "bindingFailureConditions must not overlap with bindingConditions")
    if failing and not wanted:
        yield Cause.invalid(f"{at}.bindingConditions", [], "bindingConditions are required to use bindingFailureConditions")
    if wanted and not failing:
        yield Cause.invalid(f"{at}.bindingFailureConditions", [], "bindingFailureConditions are required to use bindingConditions")


def _pool(pool: Mapping[str, Any]) -> Iterator[Cause]:
    yield from pool_name(pool.get("name"), "spec.pool.name")
    count, generation = pool.get("resourceSliceCount") or 0, pool.get("generation") or 0
    if checks.is_int(count) and count <= 0:
        yield Cause.invalid("spec.pool.resourceSliceCount", count, "must be greater than zero")
    if checks.is_int(generation) and generation < 0:
        yield Cause.invalid("spec.pool.generation", generation, "must be greater than or equal to zero")


def _where(spec: Mapping[str, Any]) -> Iterator[Cause]:
    """On which nodes the devices are."""
    given, causes = _places(spec, "spec", ("allNodes", "perDeviceNodeSelection"), "must be either unset or set to a non-empty string")
    yield from causes
    if spec.get("nodeSelector") is not None and len(terms := list_at(spec, "nodeSelector", "nodeSelectorTerms")) != 1:
        yield Cause.invalid("spec.nodeSelector.nodeSelectorTerms", terms, "must have exactly one node selector term")
    if not given:
        yield Cause.required("spec", _OF_SLICE)
    elif len(given) > 1:
        yield Cause.invalid("spec", f"{{{', '.join(given)}}}", f"{_OF_SLICE}, but multiple fields are set")


def _places(holder: Mapping[str, Any], at: str, switches: Sequence[str], unnamed: str) -> tuple[list[str], list[Cause]]:
    """Which ways of saying where something is are used, and their faults. Args: unnamed: what is said of an empty node name."""
    given: list[str] = []
    causes: list[Cause] = []
    node = holder.get("nodeName")
    if node is not None:
        causes += [Cause.invalid(f"{at}.nodeName", node, fault) for fault in (names.dns1123_subdomain(str(node)) if node else [unnamed])]
        given += ["`nodeName`"] if node else []
    if holder.get("nodeSelector") is not None:
        given.append("`nodeSelector`")
        causes += node_selector(holder["nodeSelector"], f"{at}.nodeSelector")
    for switch in switches:
        if holder.get(switch):
            given.append(f"`{switch}`")
        elif holder.get(switch) is not None:
            causes.append(Cause.invalid(f"{at}.{switch}", holder[switch], "must be either unset or set to true"))
    return given, causes


def _devices(spec: Mapping[str, Any], before: Mapping[Any, Mapping[str, Any]]) -> Iterator[Cause]:
    devices = list_at(spec, "devices")
    is_advanced = any(device.get("taints") or device.get("consumesCounters") for device in devices)
    if len(devices) > (most := _MOST_ADVANCED_DEVICES if is_advanced else _MOST_DEVICES):
        yield too_many("spec.devices", len(devices), most)
        return
    per_device = bool(spec.get("perDeviceNodeSelection"))
    for path, device in numbered(spec, "devices", "spec.devices"):
        yield from _device(device, before.get(device.get("name")), path, per_device=per_device)
    yield from _repeated(devices, "name", "spec.devices")


def _repeated(items: Sequence[Mapping[str, Any]], field: str, at: str) -> Iterator[Cause]:
    seen: set[Any] = set()
    for index, item in enumerate(items):
        if item.get(field) in seen:
            yield Cause.duplicate(f"{at}[{index}]", item.get(field))
        seen.add(item.get(field))


def _device(device: Mapping[str, Any], before: Mapping[str, Any] | None, at: str, *, per_device: bool) -> Iterator[Cause]:
    yield from device_name(device.get("name"), f"{at}.name")
    attributes, capacity = obj_at(device, "attributes"), obj_at(device, "capacity")
    if (count := len(attributes) + len(capacity)) > _MOST_ATTRIBUTES:
        yield Cause.invalid(at, count, f"the total number of attributes and capacities must not exceed {_MOST_ATTRIBUTES}")
    for name, attribute in attributes.items():
        yield from _qualified(name, f"{at}.attributes")
        yield from _attribute(obj_at(attribute), f"{at}.attributes[{_shortened(name)}]")
    for name, held in capacity.items():
        yield from _qualified(name, f"{at}.capacity")
        yield from _capacity(obj_at(held), f"{at}.capacity[{_shortened(name)}]", shared=bool(device.get("allowMultipleAllocations")))
    if before is None or list_at(before, "taints") != list_at(device, "taints"):
        yield from _taints(device, f"{at}.taints")
    yield from _consumption(device, f"{at}.consumesCounters")
    yield from _device_place(device, at, per_device=per_device)
    yield from binding_conditions(device, at)


def _device_place(device: Mapping[str, Any], at: str, *, per_device: bool) -> Iterator[Cause]:
    if not per_device:
        if any(device.get(field) is not None for field in ("nodeName", "nodeSelector", "allNodes")):
            yield Cause.invalid(at, None, _NOT_OF_DEVICE)
        return
    given, causes = _places(device, at, ("allNodes",), "must not be empty")
    yield from causes
    if not given:
        yield Cause.required(at, _OF_DEVICE)
    elif len(given) > 1:
        yield Cause.invalid(at, f"{{{', '.join(given)}}}", _OF_DEVICE)


def _qualified(name: str, at: str) -> Iterator[Cause]:
    """An identifier, after the domain of a driver and a slash or alone."""
    parts = name.split("/")
    if len(parts) > 2:
        return
    if len(parts) == 2 and not parts[0]:
        yield Cause.invalid(at, "", "the domain must not be empty")
    elif len(parts) == 2:
        yield from driver_name(parts[0], at)
    if len(parts) == 2 and not parts[1]:
        yield Cause.invalid(at, "", "the name must not be empty")
        return
    if len(parts[-1]) > _LONGEST_ID:
        yield Cause.too_long(at, _LONGEST_ID)
    if not _IDENTIFIER.fullmatch(parts[-1]):
        yield Cause.invalid(at, parts[-1], _NOT_IDENTIFIER)


def _shortened(key: str, longest: int = _LONGEST_DRIVER + 1 + _LONGEST_ID) -> str:
    """
    >>> _shortened("abcdefghijklmnopqrstuvwxyz", 16)
    'abcdefg...uvwxyz'
    """
    if len(key) <= longest:
        return key
    left = longest - 3
    return key[: (left + 1) // 2] + "..." + key[len(key) - left // 2 :]


def _attribute(attribute: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for kind in ("string", "version"):
        value = attribute.get(kind)
        if value is None:
            continue
        if kind == "version" and not _SEMVER.fullmatch(str(value)):
            yield Cause.invalid(f"{at}.version", value, "must be a string compatible with semver.org spec 2.0.0")
        if len(str(value)) > _LONGEST_VALUE:
            yield Cause.too_long(f"{at}.{kind}", _LONGEST_VALUE)
    given = [kind for kind in ("bool", "int", "string", "version") if attribute.get(kind) is not None]
    if len(given) != 1:
        yield Cause.invalid(at, attribute if given else "", "exactly one value must be specified")


def _capacity(held: Mapping[str, Any], at: str, *, shared: bool) -> Iterator[Cause]:
    policy = held.get("requestPolicy")
    if policy is None:
        return
    if not shared:
        yield Cause.forbidden(f"{at}.requestPolicy", "allowMultipleAllocations must be true")
    elif not quantity.fault(held.get("value", "0")):
        yield from request_policy(obj_at(policy), held.get("value", "0"), f"{at}.requestPolicy")


def _taints(device: Mapping[str, Any], at: str) -> Iterator[Cause]:
    if (count := len(list_at(device, "taints"))) > _MOST_TAINTS:
        yield too_many(at, count, _MOST_TAINTS)
        return
    for path, taint in numbered(device, "taints", at):
        yield from (
            Cause.invalid(f"{path}.key", taint.get("key") or "", fault) for fault in names.qualified_name(str(taint.get("key") or ""))
        )
        yield from checks.named(taint.get("value"), f"{path}.value", names.label_value)
        if not taint.get("effect"):
            yield Cause.required(f"{path}.effect")
        else:
            yield from checks.one_of(taint, path, "effect", _EFFECTS)


def _consumption(device: Mapping[str, Any], at: str) -> Iterator[Cause]:
    held = list_at(device, "consumesCounters")
    if len(held) > _MOST_CONSUMPTIONS:
        yield too_many(at, len(held), _MOST_CONSUMPTIONS)
        return
    for path, taken in numbered(device, "consumesCounters", at):
        yield from _counters(taken, "counterSet", path)
    yield from _repeated(held, "counterSet", at)


def _counter_sets(spec: Mapping[str, Any]) -> Iterator[Cause]:
    held = list_at(spec, "sharedCounters")
    if len(held) > _MOST_COUNTER_SETS:
        yield too_many("spec.sharedCounters", len(held), _MOST_COUNTER_SETS)
        return
    for path, counters in numbered(spec, "sharedCounters", "spec.sharedCounters"):
        yield from _counters(counters, "name", path)
    yield from _repeated(held, "name", "spec.sharedCounters")


def _counters(holder: Mapping[str, Any], name: str, at: str) -> Iterator[Cause]:
    """Counters of the set that `name` names."""
    if not holder.get(name):
        yield Cause.required(f"{at}.{name}")
    yield from checks.named(holder.get(name), f"{at}.{name}", names.dns1123_label)
    counters = obj_at(holder, "counters")
    if not counters:
        yield Cause.required(f"{at}.counters")
    elif len(counters) > _MOST_COUNTERS:
        yield too_many(f"{at}.counters", len(counters), _MOST_COUNTERS)
    else:
        for counter in counters:
            yield from (Cause.invalid(f"{at}.counters", counter, fault) for fault in names.dns1123_label(counter))
