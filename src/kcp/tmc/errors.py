"""TMC's typed errors: what went wrong, how bad it is, whether trying again helps, and what a person should do.

    TMCError(type, message, severity, cluster, retryable, hint)     one class; the type is data, because users read it on their objects

The wire strings are those of the TMC reference (24 types). `classify` turns any transport or Status error into one of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from kcp.apimachinery import errors
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.client.transport import TransportError


class ErrorType(StrEnum):
    RESOURCE_NOT_FOUND = "ResourceNotFound"
    RESOURCE_VALIDATION = "ResourceValidation"
    RESOURCE_CONFLICT = "ResourceConflict"
    RESOURCE_PERMISSION = "ResourcePermission"
    CLUSTER_UNREACHABLE = "ClusterUnreachable"
    CLUSTER_UNAVAILABLE = "ClusterUnavailable"
    CLUSTER_AUTHENTICATION = "ClusterAuthentication"
    CLUSTER_CONFIGURATION = "ClusterConfiguration"
    PLACEMENT_CONSTRAINT = "PlacementConstraint"
    PLACEMENT_CAPACITY = "PlacementCapacity"
    PLACEMENT_POLICY = "PlacementPolicy"
    SYNC_FAILURE = "SyncFailure"
    SYNC_CONFLICT = "SyncConflict"
    SYNC_TIMEOUT = "SyncTimeout"
    MIGRATION_FAILURE = "MigrationFailure"
    MIGRATION_TIMEOUT = "MigrationTimeout"
    MIGRATION_ROLLBACK = "MigrationRollback"
    AGGREGATION_FAILURE = "AggregationFailure"
    AGGREGATION_CONFLICT = "AggregationConflict"
    PROJECTION_FAILURE = "ProjectionFailure"
    PROJECTION_TRANSFORM = "ProjectionTransform"
    INTERNAL = "InternalError"
    CONFIGURATION = "ConfigurationError"
    NETWORK_CONNECTIVITY = "NetworkConnectivity"


class Severity(StrEnum):
    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"
    CRITICAL = "Critical"


_SEVERITY = {
    ErrorType.RESOURCE_NOT_FOUND: Severity.LOW,
    ErrorType.RESOURCE_VALIDATION: Severity.LOW,
    ErrorType.SYNC_TIMEOUT: Severity.LOW,
    ErrorType.RESOURCE_PERMISSION: Severity.HIGH,
    ErrorType.CLUSTER_UNREACHABLE: Severity.HIGH,
    ErrorType.PLACEMENT_CONSTRAINT: Severity.HIGH,
    ErrorType.MIGRATION_FAILURE: Severity.HIGH,
    ErrorType.CLUSTER_AUTHENTICATION: Severity.CRITICAL,
    ErrorType.MIGRATION_ROLLBACK: Severity.CRITICAL,
    ErrorType.INTERNAL: Severity.CRITICAL,
}
"""Everything else is Medium."""

_RETRYABLE = frozenset(
    {
        ErrorType.CLUSTER_UNREACHABLE,
        ErrorType.CLUSTER_UNAVAILABLE,
        ErrorType.SYNC_TIMEOUT,
        ErrorType.MIGRATION_TIMEOUT,
        ErrorType.AGGREGATION_FAILURE,
        ErrorType.PROJECTION_FAILURE,
        ErrorType.INTERNAL,
        ErrorType.NETWORK_CONNECTIVITY,
    }
)

_HINTS = {
    ErrorType.CLUSTER_UNREACHABLE: "check that the cluster's API server is up and reachable from its syncer",
    ErrorType.CLUSTER_UNAVAILABLE: "the cluster answers but refuses work just now; it is tried again",
    ErrorType.CLUSTER_AUTHENTICATION: "renew the credentials in the syncer's --cluster-kubeconfig",
    ErrorType.RESOURCE_PERMISSION: "grant the syncer's identity this verb on this resource in the cluster",
    ErrorType.RESOURCE_CONFLICT: "another manager owns these fields in the cluster, or the object moved",
    ErrorType.RESOURCE_VALIDATION: "the cluster refuses the object: change it in the workspace",
    ErrorType.RESOURCE_NOT_FOUND: "the cluster does not serve this resource, or the namespace is gone there",
    ErrorType.PLACEMENT_CONSTRAINT: "relax the placement's constraints or add a matching SyncTarget",
}


@dataclass(frozen=True, slots=True)
class TMCError(Exception):
    """One error, with all that a user needs to act on it."""

    type: ErrorType
    message: str
    cluster: str = ""
    """Name of the physical cluster (SyncTarget)."""
    operation: str = ""
    retryable: bool = field(default=False)
    advice: str = ""
    """What to do about this very error; "" for what its type advises."""

    @property
    def severity(self) -> Severity:
        return _SEVERITY.get(self.type, Severity.MEDIUM)

    @property
    def hint(self) -> str:
        return self.advice or _HINTS.get(self.type, "")

    def to_object(self) -> JSONObject:
        """For annotations: everything but the stack."""
        shown = {
            "type": str(self.type),
            "severity": str(self.severity),
            "cluster": self.cluster,
            "operation": self.operation,
            "message": self.message,
            "hint": self.hint,
        }
        return {name: value for name, value in shown.items() if value} | {"retryable": self.retryable}

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" + (f" ({self.hint})" if self.hint else "")


def classify(error: Exception, *, cluster: str = "", operation: str = "", resource: GroupResource | None = None) -> TMCError:
    """The TMC error for anything a client may raise.

    Args: resource: of the object concerned.

    >>> classify(errors.Forbidden("no"), cluster="east").type.value
    'ResourcePermission'
    """
    if isinstance(error, TMCError):
        return error
    kind, retryable = _kind(error)
    advice = _advice(error, kind, resource)
    return TMCError(kind, str(error) or type(error).__name__, cluster, operation, retryable or kind in _RETRYABLE, advice)


_REFUSED = re.compile(r'cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"')
"""Source: apiserver/pkg/endpoints/handlers/responsewriters/errors.go forbiddenMessage."""
_TOO_LARGE = "request is too large"
"""Source: go.etcd.io/etcd api/v3/rpc/rpctypes ErrRequestTooLarge; kube-apiserver passes it on as an internal error."""


def _advice(error: Exception, kind: ErrorType, resource: GroupResource | None) -> str:
    """What to do, where the error itself says more than its type."""
    if kind is ErrorType.RESOURCE_PERMISSION and (found := _REFUSED.search(str(error))):
        what = GroupResource(found["group"], found["resource"])
        return f'grant the syncer\'s identity the verb "{found["verb"]}" on {what} in the cluster'
    if kind is ErrorType.RESOURCE_NOT_FOUND and resource is not None and not (isinstance(error, errors.NotFound) and error.name):
        return f"the cluster does not serve {resource}: install its API there, or keep the object off this cluster"
    if isinstance(error, errors.RequestEntityTooLarge) or _TOO_LARGE in str(error):
        return "the object is larger than the cluster takes: make it smaller or split it"
    if is_immutable(error):
        return (
            f"the cluster cannot change this in place: change it back, or annotate the object with {_RECREATE} to have its copy made anew"
        )
    return ""


_RECREATE = "tmc.kcp.io/immutable-fields=recreate"
_IMMUTABLE = ("field is immutable", "may not change once set", "updates to statefulset spec for fields other than")
"""Source: k8s.io/apimachinery/pkg/api/validation FieldImmutableErrorMsg; kubernetes/pkg/apis/{core,apps}/validation."""


def is_immutable(error: Exception) -> bool:
    """Whether a cluster refused a change because the field cannot change in place."""
    texts = [str(error), *(cause.message for cause in error.causes)] if isinstance(error, errors.StatusError) else []
    return isinstance(error, (errors.Invalid, errors.Forbidden)) and any(known in text for known in _IMMUTABLE for text in texts)


_BY_CLASS: tuple[tuple[type[Exception], ErrorType, bool], ...] = (
    (TransportError, ErrorType.CLUSTER_UNREACHABLE, True),
    (errors.NotFound, ErrorType.RESOURCE_NOT_FOUND, False),
    (errors.Conflict, ErrorType.RESOURCE_CONFLICT, True),
    (errors.Forbidden, ErrorType.RESOURCE_PERMISSION, False),
    (errors.Unauthorized, ErrorType.CLUSTER_AUTHENTICATION, False),
    (errors.Invalid, ErrorType.RESOURCE_VALIDATION, False),
    (errors.BadRequest, ErrorType.RESOURCE_VALIDATION, False),
    (errors.RequestEntityTooLarge, ErrorType.RESOURCE_VALIDATION, False),
    (errors.Timeout, ErrorType.SYNC_TIMEOUT, True),
    (errors.ServiceUnavailable, ErrorType.CLUSTER_UNAVAILABLE, True),
    (errors.TooManyRequests, ErrorType.CLUSTER_UNAVAILABLE, True),
)


def _kind(error: Exception) -> tuple[ErrorType, bool]:
    if isinstance(error, errors.StatusError) and any(cause.reason == "NamespaceTerminating" for cause in error.causes):
        return ErrorType.CLUSTER_UNAVAILABLE, True  # a matter of time, though it comes as Forbidden
    if isinstance(error, errors.StatusError) and _TOO_LARGE in str(error):
        return ErrorType.RESOURCE_VALIDATION, False
    for cls, kind, retryable in _BY_CLASS:
        if isinstance(error, cls):
            return kind, retryable
    return ErrorType.INTERNAL, True
