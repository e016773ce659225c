"""Any failure becomes one of the 24 types, with a hint where a person can act."""

from __future__ import annotations

import pytest

from kcp.apimachinery import errors
from kcp.client.transport import TransportError
from kcp.tmc.errors import ErrorType, Severity, classify


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (errors.NotFound("x"), ErrorType.RESOURCE_NOT_FOUND, False),
        (errors.AlreadyExists("x"), ErrorType.RESOURCE_CONFLICT, True),
        (errors.Conflict("x"), ErrorType.RESOURCE_CONFLICT, True),
        (errors.Forbidden("x"), ErrorType.RESOURCE_PERMISSION, False),
        (errors.Unauthorized("x"), ErrorType.CLUSTER_AUTHENTICATION, False),
        (errors.Invalid("x"), ErrorType.RESOURCE_VALIDATION, False),
        (errors.Timeout("x"), ErrorType.SYNC_TIMEOUT, True),
        (errors.ServiceUnavailable("x"), ErrorType.CLUSTER_UNAVAILABLE, True),
        (errors.InternalError("x"), ErrorType.INTERNAL, True),
        (TransportError("x"), ErrorType.CLUSTER_UNREACHABLE, True),
        (ValueError("x"), ErrorType.INTERNAL, True),
    ],
)
def test_classification(error: Exception, kind: ErrorType, retryable: bool) -> None:
    found = classify(error, cluster="east", operation="apply")
    assert (found.type, found.retryable, found.cluster) == (kind, retryable, "east")


def test_there_are_24_types() -> None:
    assert len(ErrorType) == 24


def test_severities_follow_the_reference() -> None:
    assert classify(errors.Unauthorized("x")).severity is Severity.CRITICAL
    assert classify(errors.Conflict("x")).severity is Severity.MEDIUM


def test_a_tmc_error_passes_unchanged() -> None:
    error = classify(errors.Forbidden("x"), cluster="east")
    assert classify(error, cluster="other") is error


def test_a_namespace_that_is_going_is_a_matter_of_time() -> None:
    refusal = errors.Forbidden("no", causes=[errors.Cause("metadata.namespace", "NamespaceTerminating", "namespace x is being terminated")])
    found = classify(refusal, cluster="east")
    assert (found.type, found.retryable) == (ErrorType.CLUSTER_UNAVAILABLE, True)
