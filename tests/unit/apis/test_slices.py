"""What a ResourceSlice may publish, in upstream's words.

Source: k8s.io/kubernetes/pkg/apis/resource/validation/validation_resourceslice_test.go.
"""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apis.kubernetes.slice_validation import resource_slice

POOL = {"name": "pool-a", "resourceSliceCount": 1, "generation": 0}


def a_slice(**spec: Any) -> dict[str, Any]:
    wanted = {"driver": "gpu.example.com", "pool": POOL, "nodeName": "node-1", "devices": [{"name": "gpu-0"}], **spec}
    return {"spec": {field: value for field, value in wanted.items() if value is not None}}


def device(**parts: Any) -> dict[str, Any]:
    return a_slice(devices=[{"name": "gpu-0", **parts}])


def told(new: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in resource_slice(new, old)]


def capacity(value: str = "10Gi", *, shared: bool = True, **policy: Any) -> dict[str, Any]:
    return device(allowMultipleAllocations=shared, capacity={"memory": {"value": value, "requestPolicy": policy}})


COUNTERS = [{"name": "set-1", "counters": {"memory": {"value": "40Gi"}}}]
TAINT = {"key": "example.com/broken", "effect": "NoExecute"}


@pytest.mark.parametrize(
    "good",
    [
        a_slice(),
        a_slice(nodeName=None, allNodes=True),
        a_slice(nodeName=None, nodeSelector={"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}),
        a_slice(nodeName=None, perDeviceNodeSelection=True, devices=[{"name": "a", "allNodes": True}, {"name": "b", "nodeName": "n"}]),
        a_slice(pool={**POOL, "name": "rack-1/node-2"}),
        a_slice(devices=None, sharedCounters=COUNTERS),
        device(
            attributes={"model": {"string": "x"}, "example.com/count": {"int": 0}, "v": {"version": "1.2.3-rc.1+b"}, "b": {"bool": False}}
        ),
        device(capacity={"example.com/memory": {"value": "10Gi"}}),
        device(taints=[TAINT], consumesCounters=[{"counterSet": "set-1", "counters": {"memory": {"value": "1Gi"}}}]),
        device(bindingConditions=["example.com/attached"], bindingFailureConditions=["example.com/failed"]),
        capacity(default="1Gi", validValues=["1Gi", "2Gi"]),
        capacity(default="2Gi", validRange={"min": "1Gi", "max": "5Gi", "step": "1Gi"}),
    ],
)
def test_what_a_driver_may_publish(good: dict[str, Any]) -> None:
    assert told(good) == []


D = "spec.devices[0]"
POLICY = f"{D}.capacity[memory].requestPolicy"
ONE_OF = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (a_slice(driver="-"), 'spec.driver: Invalid value: "-": a lowercase RFC 1123 subdomain'),
        (a_slice(driver="a" * 64), "spec.driver: Too long: may not be more than 63 bytes"),
        (a_slice(pool={**POOL, "name": ""}), "spec.pool.name: Required value"),
        (a_slice(pool={**POOL, "name": "a//b"}), 'spec.pool.name: Invalid value: "": a lowercase RFC 1123 subdomain'),
        (a_slice(pool={**POOL, "resourceSliceCount": 0}), "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero"),
        (a_slice(pool={**POOL, "generation": -1}), "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero"),
        (a_slice(nodeName=None), f"spec: Required value: {ONE_OF}"),
        (a_slice(allNodes=True), f'spec: Invalid value: "{{`nodeName`, `allNodes`}}": {ONE_OF}, but multiple fields are set'),
        (a_slice(allNodes=False), "spec.allNodes: Invalid value: false: must be either unset or set to true"),
        (a_slice(nodeName=""), 'spec.nodeName: Invalid value: "": must be either unset or set to a non-empty string'),
        (a_slice(nodeName=None, nodeSelector={"nodeSelectorTerms": [{}, {}]}), "must have exactly one node selector term"),
        (a_slice(sharedCounters=COUNTERS), 'spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed'),
        (a_slice(devices=[{"name": "a"}, {"name": "a"}]), 'spec.devices[1]: Duplicate value: "a"'),
        (a_slice(devices=[{"name": f"d{i}"} for i in range(129)]), "spec.devices: Too many: 129: must have at most 128 items"),
        (a_slice(devices=[{"name": f"d{i}", "taints": [TAINT]} for i in range(65)]), "spec.devices: Too many: 65: must have at most 64 items"),
        (a_slice(devices=[{"name": "A"}]), f'{D}.name: Invalid value: "A": a lowercase RFC 1123 label'),
        (device(nodeName="n"), "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true"),
        (a_slice(nodeName=None, perDeviceNodeSelection=True), f"{D}: Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes`"),
        (device(attributes={"a b": {"int": 1}}), f'{D}.attributes: Invalid value: "a b": a valid C identifier must start with alphabetic'),
        (device(attributes={"/x": {"int": 1}}), f'{D}.attributes: Invalid value: "": the domain must not be empty'),
        (device(attributes={"x": {}}), f'{D}.attributes[x]: Invalid value: "": exactly one value must be specified'),
        (device(attributes={"x": {"int": 1, "bool": True}}), "exactly one value must be specified"),
        (device(attributes={"x": {"string": "a" * 65}}), f"{D}.attributes[x].string: Too long: may not be more than 64 bytes"),
        (device(attributes={"x": {"version": "1.2"}}), f'{D}.attributes[x].version: Invalid value: "1.2": must be a string compatible with'),
        (device(attributes={f"a{i}": {"int": 1} for i in range(33)}), f"{D}: Invalid value: 33: the total number of attributes and capacities"),
        (device(taints=[{"key": "", "effect": "NoExecute"}]), f'{D}.taints[0].key: Invalid value: "": name part must be non-empty'),
        (device(taints=[{"key": "a"}]), f"{D}.taints[0].effect: Required value"),
        (device(taints=[{"key": "a", "effect": "Never"}]),
         f'{D}.taints[0].effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule", "None"'),
        (device(consumesCounters=[{"counterSet": "s"}]), f"{D}.consumesCounters[0].counters: Required value"),
        (device(consumesCounters=[{"counterSet": f"s{i}", "counters": {"m": {"value": "1"}}} for i in range(3)]),
         f"{D}.consumesCounters: Too many: 3: must have at most 2 items"),
        (a_slice(devices=None, sharedCounters=[{"counters": {"A": {"value": "1"}}}]), "spec.sharedCounters[0].name: Required value"),
        (device(bindingConditions=["a"]),
         f"{D}.bindingFailureConditions: Invalid value: []: bindingFailureConditions are required to use bindingConditions"),
        (device(bindingConditions=["a", "a"], bindingFailureConditions=["b"]), f'{D}.bindingConditions[1]: Duplicate value: "a"'),
        (device(bindingConditions=["a"], bindingFailureConditions=["a"]), "bindingFailureConditions must not overlap with bindingConditions"),
        (capacity(shared=False, default="1"), f"{POLICY}: Forbidden: allowMultipleAllocations must be true"),
        (capacity(validValues=["1Gi"]), f"{POLICY}.default: Required value: required when validValues is defined"),
        (capacity(default="3Gi", validValues=["1Gi"]),
         f'{POLICY}.validValues: Invalid value: "3Gi": default value is not valid according to the requestPolicy'),
        (capacity(default="1Gi", validValues=["2Gi", "1Gi"]), f'{POLICY}.validValues[1]: Invalid value: "1Gi": values must be sorted'),
        (capacity(default="1Gi", validValues=["1Gi", "11Gi"]), "option is larger than capacity value: 10Gi"),
        (capacity(default="1Gi", validRange={"max": "2Gi"}), f"{POLICY}.validRange.min: Required value: required when validRange is defined"),
        (capacity(default="3Gi", validRange={"min": "1Gi", "max": "2Gi"}),
         f'{POLICY}.validRange.max: Invalid value: "3Gi": default is more than max: 2Gi'),
        (capacity(default="2Gi", validRange={"min": "1Gi", "step": "3Gi"}),
         f'{POLICY}.validRange.step: Invalid value: "2Gi": value is not a multiple of a given step (3Gi) from (1Gi)'),
    ],
)  # fmt: skip
def test_what_it_may_not(bad: dict[str, Any], expected: str) -> None:
    assert any(expected in fault for fault in told(bad)), told(bad)


def test_driver_pool_and_node_stay_and_taints_of_old_are_not_checked_again() -> None:
    assert told(a_slice(nodeName="other"), a_slice()) == ['spec.nodeName: Invalid value: "other": field is immutable']
    tainted = device(taints=[{"key": "a", "effect": "FromTheFuture"}])
    assert told(tainted)
    assert told(tainted, tainted) == []
