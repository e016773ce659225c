"""What may be said of a ResourceClaim, in upstream's words.

Source: k8s.io/kubernetes/pkg/apis/resource/validation/validation_resourceclaim_test.go (TestValidateClaimStatusUpdate).
"""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.gvk import GVK
from kcp.apis.kubernetes.status_validation import status_faults

CLAIM = GVK("resource.k8s.io", "v1", "ResourceClaim")
SPEC = {"devices": {"requests": [{"name": "foo", "exactly": {"deviceClassName": "c"}}]}}
RESULT = {"request": "foo", "driver": "d.example.com", "pool": "p", "device": "x"}
DEVICE = {"driver": "d.example.com", "pool": "p", "device": "x"}
POD = {"resource": "pods", "name": "a", "uid": "1"}
SHARE = "3b6b6c43-2c1b-4d3f-9b38-6d5a8a0c1f11"
CONDITION = {"type": "Ready", "status": "True", "reason": "Fine", "lastTransitionTime": "2026-01-01T00:00:00Z"}


def claim(status: dict[str, Any], *, deleted: bool = False) -> dict[str, Any]:
    return {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {}, "spec": SPEC, "status": status}


def allocated(**result: Any) -> dict[str, Any]:
    return {"allocation": {"devices": {"results": [{**RESULT, **result}]}}}


def told(new: dict[str, Any], old: dict[str, Any] | None = None, *, deleted: bool = False) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in status_faults(CLAIM, claim(new, deleted=deleted), claim(old or {}))]


def faring(**device: Any) -> dict[str, Any]:
    return {**allocated(), "devices": [{**DEVICE, **device}]}


@pytest.mark.parametrize(
    "good",
    [
        {},
        allocated(),
        {**allocated(), "reservedFor": [POD]},
        {**allocated(shareID=SHARE), "devices": [{**DEVICE, "shareID": SHARE}]},
        faring(conditions=[CONDITION], data={"a": 1}, networkData={"interfaceName": "net1", "ips": ["10.9.8.7/24", "2001:db8::1/64"]}),
        {
            "allocation": {
                "devices": {"config": [{"source": "FromClass", "requests": ["foo"], "opaque": {"driver": "d", "parameters": {"a": 1}}}]}
            }
        },
    ],
)
def test_what_may_be_said(good: dict[str, Any]) -> None:
    assert told(good) == []


R, D = "status.allocation.devices.results[0]", "status.devices[0]"


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ({"reservedFor": [POD]}, "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"),
        ({**allocated(), "reservedFor": [POD, POD]}, 'status.reservedFor[1]: Duplicate value: "1"'),
        ({**allocated(), "reservedFor": [{"name": "a"}]}, "status.reservedFor[0].uid: Required value"),
        ({**allocated(), "reservedFor": [{**POD, "uid": str(i)} for i in range(257)]},
         "status.reservedFor: Too many: 257: must have at most 256 items"),
        (allocated(request="bar"), f'{R}.request: Invalid value: "bar": must be the name of a request in the claim'),
        (allocated(driver=""), f"{R}.driver: Required value"),
        (allocated(pool="P"), f'{R}.pool: Invalid value: "P": a lowercase RFC 1123 subdomain'),
        (allocated(device="X"), f'{R}.device: Invalid value: "X": a lowercase RFC 1123 label'),
        (allocated(shareID="nope"), f'{R}.shareID: Invalid value: "nope": uid must be in RFC 4122 normalized form'),
        (allocated(bindingFailureConditions=["a"]), "bindingConditions are required to use bindingFailureConditions"),
        ({"allocation": {"devices": {"config": [{"opaque": {"driver": "d", "parameters": {}}}]}}},
         "status.allocation.devices.config[0].source: Required value"),
        ({"allocation": {"devices": {}, "nodeSelector": {"nodeSelectorTerms": []}}},
         "status.allocation.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term"),
        (faring(device="other"), f'{D}: Invalid value: "d.example.com/p/other": must be an allocated device in the claim'),
        ({**allocated(), "devices": [DEVICE, DEVICE]}, 'status.devices[1]: Duplicate value: "d.example.com/p/x"'),
        (faring(conditions=[CONDITION, CONDITION]), f'{D}.conditions[1].type: Duplicate value: "Ready"'),
        (faring(conditions=[{**CONDITION, "reason": ""}]), f"{D}.conditions[0].reason: Required value"),
        (faring(data={"a": "x" * 11_000}), f"{D}.data: Too long: may not be more than 10240 bytes"),
        (faring(data=[1]), f'{D}.data: Invalid value: "<value omitted>": must be a valid JSON object'),
        (faring(networkData={"ips": ["10.9.8.7"]}), f'{D}.networkData.ips[0]: Invalid value: "10.9.8.7": must be a valid address in CIDR form'),
        (faring(networkData={"ips": ["2001:DB8::1/64"]}), 'must be in canonical form ("2001:db8::1/64")'),
    ],
)  # fmt: skip
def test_what_may_not(bad: dict[str, Any], expected: str) -> None:
    assert any(expected in fault for fault in told(bad)), told(bad)


def test_what_is_allocated_stays_as_it_is_or_goes() -> None:
    assert told({}, allocated()) == []
    assert "field is immutable" in told(allocated(device="y"), allocated())[0]
    assert told(allocated(request="gone"), allocated(request="gone")) == [], "results of earlier rules may stay"


def test_nobody_new_reserves_a_claim_that_is_being_deleted() -> None:
    held = {**allocated(), "reservedFor": [POD]}
    assert told(held, held, deleted=True) == []
    late = {**allocated(), "reservedFor": [POD, {**POD, "uid": "2"}]}
    assert told(late, held, deleted=True) == [
        "status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
    ]
