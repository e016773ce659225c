"""The signer of client certificates: which requests it signs, and what it says of those that it cannot."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest

from kcp.controller.builtin.certificatesigning import SIGNER, is_waiting, signed

NOW = "2026-01-01T00:00:00Z"
APPROVED = {"type": "Approved", "status": "True"}


def request(*conditions: dict[str, str], **spec: Any) -> dict[str, Any]:
    spec = {"signerName": SIGNER, "request": base64.b64encode(b"pem").decode(), **spec}
    return {"metadata": {"name": "a"}, "spec": spec, "status": {"conditions": list(conditions)}}


@pytest.mark.parametrize(
    ("found", "waits"),
    [
        (request(), False),
        (request(APPROVED), True),
        (request(APPROVED, {"type": "Failed", "status": "True"}), False),
        (request(APPROVED, signerName="example.com/other"), False),
        ({**request(APPROVED), "status": {"conditions": [APPROVED], "certificate": "x"}}, False),
    ],
)
def test_only_approved_requests_to_this_signer_wait(found: dict[str, Any], waits: bool) -> None:
    assert is_waiting(found) is waits


@pytest.mark.parametrize(
    ("asked_s", "lifetime"), [(600, timedelta(seconds=600)), (10**9, timedelta(days=365)), (None, timedelta(days=365))]
)
def test_a_certificate_lives_as_long_as_asked_but_a_year_at_most(asked_s: int | None, lifetime: timedelta) -> None:
    asked: list[tuple[bytes, timedelta]] = []

    def sign(pem: bytes, lifetime: timedelta) -> str:
        asked.append((pem, lifetime))
        return "certificate"

    found = request(APPROVED, **({"expirationSeconds": asked_s} if asked_s else {}))
    assert signed(found, sign, NOW)["status"]["certificate"] == base64.b64encode(b"certificate").decode()
    assert asked == [(b"pem", lifetime)]


def test_a_request_that_cannot_be_signed_fails_with_a_reason() -> None:
    def sign(pem: bytes, lifetime: timedelta) -> str:
        raise ValueError("no key")

    status = signed(request(APPROVED), sign, NOW)["status"]
    assert "certificate" not in status
    assert [(c["type"], c.get("reason"), c.get("message")) for c in status["conditions"]] == [
        ("Approved", None, None),
        ("Failed", "SignerValidationFailure", "no key"),
    ]
