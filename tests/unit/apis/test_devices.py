"""What a claim for devices, a template of claims and a device class may say, in upstream's words.

Source: k8s.io/kubernetes/pkg/apis/resource/validation/validation_resourceclaim_test.go, validation_deviceclass_test.go.
"""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apis.kubernetes.device_validation import claim, device_class, template

GOOD: dict[str, Any] = {"deviceClassName": "gpu.example.com", "allocationMode": "ExactCount", "count": 1}
AT = "spec.devices.requests[0]"


def asking(**exactly: Any) -> dict[str, Any]:
    return {"requests": [{"name": "a", "exactly": {**GOOD, **exactly}}]}


def selecting(text: str) -> dict[str, Any]:
    return asking(selectors=[{"cel": {"expression": text}}])


def faults(devices: dict[str, Any]) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in claim({"spec": {"devices": devices}}, None)]


@pytest.mark.parametrize(
    "devices",
    [
        {},
        asking(),
        asking(allocationMode="All", count=0),
        {"requests": [{"name": "a", "firstAvailable": [{"name": "x", **GOOD}, {"name": "y", **GOOD}]}]},
        selecting('device.driver == "gpu.example.com" && device.attributes["gpu.example.com"].family == "a"'),
        selecting('device.capacity["gpu.example.com"].memory.compareTo(quantity("1Gi")) >= 0'),
        selecting("device.attributes['gpu.example.com'].?healthy.orValue(false)"),
        {**asking(), "constraints": [{"requests": ["a"], "matchAttribute": "example.com/numa"}]},
        {**asking(), "config": [{"requests": ["a"], "opaque": {"driver": "gpu.example.com", "parameters": {"x": 1}}}]},
    ],
)
def test_what_may_be_asked_for(devices: dict[str, Any]) -> None:
    assert faults(devices) == []


@pytest.mark.parametrize(
    ("devices", "told"),
    [
        ({"requests": [{"name": "a"}]}, f"{AT}: Required value: exactly one of `exactly` or `firstAvailable` is required"),
        ({"requests": [{"name": "A B", "exactly": GOOD}]}, f'{AT}.name: Invalid value: "A B": a lowercase RFC 1123 label'),
        ({"requests": [{"name": "a", "exactly": GOOD, "firstAvailable": [{"name": "x", **GOOD}]}]}, "but multiple fields are set"),
        ({"requests": [{"name": "a", "exactly": GOOD}] * 2}, 'spec.devices.requests[1]: Duplicate value: "a"'),
        (asking(deviceClassName=""), f"{AT}.exactly.deviceClassName: Required value"),
        (asking(count=-1), f"{AT}.exactly.count: Invalid value: -1: must be greater than zero"),
        (asking(allocationMode="All"), f"{AT}.exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'"),
        (asking(allocationMode="Some"), f'{AT}.exactly.allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"'),
        (asking(selectors=[{}]), f"{AT}.exactly.selectors[0].cel: Required value"),
        (selecting("device.nope"), f'{AT}.exactly.selectors[0].cel.expression: Invalid value: "device.nope": compilation failed'),
        (selecting("device.driver"), "must evaluate to bool"),
        (selecting("x" * 10_241), "Too long"),
        (asking(selectors=[{"cel": {"expression": "true"}}] * 33), "Too many: 33: must have at most 32 items"),
        (
            {**asking(), "constraints": [{"requests": ["b"], "matchAttribute": "example.com/x"}]},
            "must be the name of a request in the claim",
        ),
        (
            {**asking(), "constraints": [{"matchAttribute": "x"}]},
            'constraints[0].matchAttribute: Invalid value: "x": must include a domain',
        ),
        ({**asking(), "constraints": [{}]}, 'exactly one of "matchAttribute" or "distinctAttribute" is required'),
        ({**asking(), "config": [{}]}, "spec.devices.config[0].opaque: Required value"),
    ],
)
def test_what_may_not(devices: dict[str, Any], told: str) -> None:
    found = faults(devices)
    assert any(told in fault for fault in found), found


def test_a_claim_and_a_template_never_change() -> None:
    old = {"spec": {"devices": asking()}}
    assert not claim(old, old)
    (cause,) = claim({"spec": {"devices": asking(count=2)}}, old)
    assert (cause.field, cause.reason) == ("spec", "FieldValueInvalid")
    assert [c.field for c in template({"spec": {"spec": {"devices": {"requests": [{"name": "a"}]}}}}, None)] == [
        "spec.spec.devices.requests[0]"
    ]


def test_a_class_has_selectors_that_compile() -> None:
    spec = {"selectors": [{"cel": {"expression": "device.driver =="}}], "config": [{"opaque": {"driver": "x"}}]}
    assert [cause.field for cause in device_class({"spec": spec}, None)] == [
        "spec.selectors[0].cel.expression", "spec.config[0].opaque.parameters",
    ]  # fmt: skip
