"""TMC's typed errors: what went wrong, how bad it is, whether trying again helps, and what a person should do.

    TMCError(type, message, cluster, operation, retryable, advice, object, cause, …)     one class; the type is data: users read it

The wire strings, severities and which are retryable are those of the TMC reference §6 (24 types). `classify` turns any transport or Status
error into one of them; `told` is how conditions, events and commands say it.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kcp.apimachinery import errors
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.client.transport import TransportError, UntrustedServer


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
    ErrorType.RESOURCE_NOT_FOUND: "the cluster does not serve this resource, or the namespace is gone there",
    ErrorType.RESOURCE_VALIDATION: "the cluster refuses the object: change it in the workspace",
    ErrorType.RESOURCE_CONFLICT: "another manager owns these fields in the cluster, or the object moved",
    ErrorType.RESOURCE_PERMISSION: "grant the syncer's identity this verb on this resource in the cluster",
    ErrorType.CLUSTER_UNREACHABLE: "check that the cluster's API server is up and reachable from its syncer",
    ErrorType.CLUSTER_UNAVAILABLE: "the cluster answers but refuses work just now; it is tried again",
    ErrorType.CLUSTER_AUTHENTICATION: "renew the credentials in the syncer's --cluster-kubeconfig",
    ErrorType.CLUSTER_CONFIGURATION: "correct the kubeconfig of the cluster: its address, its certificate authority or its Secret",
    ErrorType.PLACEMENT_CONSTRAINT: "relax the placement's constraints or add a matching SyncTarget",
    ErrorType.PLACEMENT_CAPACITY: "make room in a chosen cluster, ask for less, or add a cluster",
    ErrorType.PLACEMENT_POLICY: "change the policy that leaves the object out, or the object's own annotations",
    ErrorType.SYNC_FAILURE: "it is tried again; the syncer's log says more",
    ErrorType.SYNC_CONFLICT: "stop what changes the copy in the cluster, or take its change over into the workspace",
    ErrorType.SYNC_TIMEOUT: "the cluster answers slowly; it is tried again",
    ErrorType.MIGRATION_FAILURE: "the workload stays, or goes back, where it ran; mend what the message names and migrate again",
    ErrorType.MIGRATION_TIMEOUT: "give the migration more time, or see why the new copy does not get ready",
    ErrorType.MIGRATION_ROLLBACK: "look at the workload on both clusters: neither the way on nor the way back worked",
    ErrorType.AGGREGATION_FAILURE: "it is tried again; the view shows which clusters could not be asked",
    ErrorType.AGGREGATION_CONFLICT: "decide in the view's conflictResolution which cluster is right",
    ErrorType.PROJECTION_FAILURE: "it is tried again; the projection's conditions say which cluster refuses it",
    ErrorType.PROJECTION_TRANSFORM: "correct the transformation that the message names",
    ErrorType.INTERNAL: "it is tried again; if it stays, the logs of the server that answered say why",
    ErrorType.CONFIGURATION: "correct the setting that the message names",
    ErrorType.NETWORK_CONNECTIVITY: "check name resolution, routes and firewalls between the syncer and the cluster",
}
"""What a person should do, where the error itself does not say it better."""


@dataclass(slots=True, eq=False)
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
    object: str = ""
    """What it happened to, as `resource.group namespace/name`."""
    cause: str = ""
    """What lies behind the message: the kind of answer, or of break."""
    context: Mapping[str, str] = field(default_factory=dict)
    """Whatever else helps."""
    retry_after_s: float | None = None
    """When to try again, where that is known."""

    @property
    def severity(self) -> Severity:
        return _SEVERITY.get(self.type, Severity.MEDIUM)

    @property
    def hint(self) -> str:
        return self.advice or _HINTS[self.type]

    def to_object(self) -> JSONObject:
        """For annotations and statuses: everything but the stack and what changes from try to try."""
        shown: JSONObject = {
            "type": str(self.type),
            "severity": str(self.severity),
            "cluster": self.cluster,
            "object": self.object,
            "operation": self.operation,
            "message": self.message,
            "cause": self.cause,
            "hint": self.hint,
            "context": dict(self.context),
        }
        return {name: value for name, value in shown.items() if value} | {"retryable": self.retryable}

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" + (f" ({self.hint})" if self.hint else "")


def told(error: Mapping[str, Any]) -> str:
    """An error, as `to_object` made it, in a sentence: for conditions, events and commands.

    >>> told({"type": "SyncTimeout", "severity": "Low", "message": "no answer", "cause": "Timeout", "hint": "wait"})
    'SyncTimeout (Low): no answer; cause: Timeout (wait)'
    """
    kind = str(error.get("type") or ErrorType.SYNC_FAILURE)
    severity = f" ({error['severity']})" if error.get("severity") else ""
    cause = f"; cause: {error['cause']}" if error.get("cause") else ""
    hint = f" ({error['hint']})" if error.get("hint") else ""
    return f"{kind}{severity}: {error.get('message', '')}{cause}{hint}"


def classify(
    error: Exception, *, cluster: str = "", operation: str = "", resource: GroupResource | None = None, subject: str = ""
) -> TMCError:
    """The TMC error for anything a client may raise.

    Args: resource: of the object concerned. subject: its `namespace/name`.

    >>> classify(errors.Forbidden("no"), cluster="east").type.value
    'ResourcePermission'
    """
    what = f"{resource} {subject}".strip() if resource is not None else subject
    if isinstance(error, TMCError):
        error.object = error.object or what
        return error
    kind, retryable = _kind(error)
    return TMCError(
        kind, str(error) or type(error).__name__, cluster, operation, retryable or kind in _RETRYABLE, _advice(error, kind, resource),
        object=what,
        cause=_cause(error), retry_after_s=float(getattr(error, "retry_after_s", 0)) or None,
    )  # fmt: skip


def _cause(error: Exception) -> str:
    """The kind of answer, or what broke: the message says the rest."""
    if isinstance(error, errors.StatusError):
        return f"HTTP {error.code} {error.reason}"
    behind = error.__cause__
    while behind is not None and behind.__cause__ is not None:
        behind = behind.__cause__
    return type(behind if behind is not None else error).__name__


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
    (UntrustedServer, ErrorType.CLUSTER_CONFIGURATION, False),
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
    (TimeoutError, ErrorType.SYNC_TIMEOUT, True),
    (OSError, ErrorType.NETWORK_CONNECTIVITY, True),
)
"""Source: the TMC reference §6; Invalid, which it leaves out, is a matter of validation."""


def _kind(error: Exception) -> tuple[ErrorType, bool]:
    if isinstance(error, errors.StatusError) and any(cause.reason == "NamespaceTerminating" for cause in error.causes):
        return ErrorType.CLUSTER_UNAVAILABLE, True  # a matter of time, though it comes as Forbidden
    if isinstance(error, errors.StatusError) and _TOO_LARGE in str(error):
        return ErrorType.RESOURCE_VALIDATION, False
    if isinstance(error, TransportError) and not isinstance(error, UntrustedServer) and _is_of_the_network(error):
        return ErrorType.NETWORK_CONNECTIVITY, True
    for cls, kind, retryable in _BY_CLASS:
        if isinstance(error, cls):
            return kind, retryable
    return ErrorType.INTERNAL, True


_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})


def _is_of_the_network(error: BaseException) -> bool:
    """Whether it is the way to the cluster that fails: no such name, no route."""
    behind: BaseException | None = error
    while behind is not None:
        found = getattr(behind, "os_error", None) or behind
        if isinstance(found, socket.gaierror) or (isinstance(found, OSError) and found.errno in _NO_ROUTE):
            return True
        behind = behind.__cause__
    return False


_OF_THE_CLUSTER = frozenset({ErrorType.CLUSTER_UNREACHABLE, ErrorType.CLUSTER_UNAVAILABLE, ErrorType.NETWORK_CONNECTIVITY})
_MAYBE_OF_THE_CLUSTER = frozenset({ErrorType.SYNC_TIMEOUT, ErrorType.INTERNAL})


def speaks_of_cluster(error: TMCError) -> bool | None:
    """Whether the cluster as a whole is at fault; None: it may be, or only this object."""
    if error.type in _OF_THE_CLUSTER:
        return True
    return None if error.type in _MAYBE_OF_THE_CLUSTER else False
