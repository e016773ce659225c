"""CertificateSigningRequests: what is legal in a new one, and which conditions may come and go through which subresource."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from kcp.apis.kubernetes.certificates import condition_faults, validate

PEM = base64.b64encode(b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n").decode()


def request(**spec: Any) -> dict[str, Any]:
    return {"spec": {"request": PEM, "signerName": "example.com/signer", "usages": ["client auth"], **spec}}


def test_an_ordinary_request_is_legal() -> None:
    assert list(validate(request(), None)) == []


def test_a_request_may_stand_among_other_text() -> None:
    """As openssl writes it with -text, or with comments before it."""
    framed = b"# for tests only\nCertificate Request:\n    Data:\n" + base64.b64decode(PEM) + b"\nand after it"
    assert list(validate(request(request=base64.b64encode(framed).decode()), None)) == []


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"request": base64.b64encode(b"-----BEGIN X-----\nMIIB\n-----END X-----\n" + base64.b64decode(PEM)).decode()},
            "spec.request: Invalid value",
        ),
        ({"request": base64.b64encode(b"x").decode()}, "spec.request: Invalid value"),
        ({"usages": []}, "spec.usages: Required value"),
        ({"usages": ["client auth", "client auth"]}, 'spec.usages[1]: Duplicate value: "client auth"'),
        ({"usages": ["flying"]}, 'spec.usages[0]: Unsupported value: "flying"'),
        ({"signerName": ""}, "spec.signerName: Required value"),
        ({"signerName": "signer"}, "spec.signerName: Invalid value"),
        ({"expirationSeconds": 599}, "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds"),
    ],
)
def test_faults_of_a_new_request(spec: dict[str, Any], told: str) -> None:
    (cause,) = validate(request(**spec), None)
    assert str(cause).startswith(told)


def with_conditions(*kinds: str) -> dict[str, Any]:
    return {"status": {"conditions": [{"type": kind, "status": "True"} for kind in kinds]}}


@pytest.mark.parametrize(
    ("new", "old", "may_add", "told"),
    [
        (with_conditions("Approved"), with_conditions(), ("Approved", "Denied"), []),
        (with_conditions("Approved"), with_conditions(), ("Failed",), ['updates may not add a condition of type "Approved"']),
        (with_conditions(), with_conditions("Approved"), ("Approved",), ['updates may not remove a condition of type "Approved"']),
        (with_conditions("Approved", "Denied"), with_conditions("Approved"), ("Approved", "Denied"), ["are mutually exclusive"]),
        (with_conditions("Other", "Other"), with_conditions(), (), ["Duplicate value"]),
        ({"status": {"conditions": [{"type": "Denied", "status": "False"}]}}, {}, ("Denied",), ['Unsupported value: "False"']),
    ],
)
def test_decisions_stand(new: dict[str, Any], old: dict[str, Any], may_add: tuple[str, ...], told: list[str]) -> None:
    causes = [str(cause) for cause in condition_faults(new, old, may_add=may_add)]
    assert len(causes) == len(told)
    assert all(text in cause for text, cause in zip(told, causes, strict=True))
