"""Any failure becomes one of the 24 types, with a hint where a person can act."""

from __future__ import annotations

import errno
import socket

import pytest

from kcp.apimachinery import errors
from kcp.apimachinery.gvk import GroupResource
from kcp.client.transport import TransportError, UntrustedServer
from kcp.tmc.errors import ErrorType, Severity, TMCError, classify, told


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


@pytest.mark.parametrize("kind", ErrorType)
def test_every_type_says_what_to_do(kind: ErrorType) -> None:
    error = TMCError(kind, "something")
    assert error.hint
    assert error.severity in Severity
    assert error.to_object()["hint"] == error.hint


def broken(behind: OSError) -> TransportError:
    error = TransportError("https://east: broken")
    error.__cause__ = behind
    return error


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (broken(socket.gaierror(-2, "Name or service not known")), ErrorType.NETWORK_CONNECTIVITY, True),
        (broken(OSError(errno.EHOSTUNREACH, "No route to host")), ErrorType.NETWORK_CONNECTIVITY, True),
        (broken(ConnectionRefusedError(errno.ECONNREFUSED, "refused")), ErrorType.CLUSTER_UNREACHABLE, True),
        (UntrustedServer("unknown authority"), ErrorType.CLUSTER_CONFIGURATION, False),
        (TimeoutError(), ErrorType.SYNC_TIMEOUT, True),
        (ConnectionResetError(), ErrorType.NETWORK_CONNECTIVITY, True),
    ],
)
def test_what_breaks_on_the_way_is_told_from_what_breaks_at_its_end(error: Exception, kind: ErrorType, retryable: bool) -> None:
    found = classify(error)
    assert (found.type, found.retryable) == (kind, retryable)


def test_an_error_carries_all_that_a_user_needs() -> None:
    resource = GroupResource("apps", "deployments")
    refusal = errors.TooManyRequests("slow down", retry_after_s=7)
    error = classify(refusal, cluster="east", operation="apply", resource=resource, subject="default/web")
    assert error.retry_after_s == 7.0
    assert error.to_object() == {
        "type": "ClusterUnavailable", "severity": "Medium", "cluster": "east", "object": "deployments.apps default/web",
        "operation": "apply", "message": "slow down", "cause": "HTTP 429 TooManyRequests", "hint": error.hint, "retryable": True,
    }  # fmt: skip
    assert told(error.to_object()) == f"ClusterUnavailable (Medium): slow down; cause: HTTP 429 TooManyRequests ({error.hint})"
