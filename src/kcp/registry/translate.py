"""Store errors become API errors here and nowhere else: the one place that knows both words.

Before: `generic` and its parts. Errors that carry no meaning for a client (a closed store) become 503, never a silent success.
"""

from __future__ import annotations

from typing import Any

from kcp.apimachinery.errors import AlreadyExists, Cause, Conflict, Expired, InternalError, ServiceUnavailable, StatusError, Timeout
from kcp.apimachinery.gvk import GroupResource
from kcp.storage.interface import (
    Compacted,
    FutureRevision,
    KeyExists,
    RevisionMismatch,
    SlowConsumer,
    StoreClosed,
    StoreError,
    StoreFull,
    StoreUnavailable,
    Unreadable,
)

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
"""Source: k8s.io/apiserver/pkg/registry/generic/registry/store.go, OptimisticLockErrorMsg."""


class InsufficientStorage(ServiceUnavailable):
    """No room on the disk: the write did not happen, reads go on."""

    code, reason = 507, "InsufficientStorage"


class ContinueExpired(Expired):
    """A continue token that is too old, with a token to go on inconsistently. Source: apiserver/pkg/storage/etcd3/errors.go."""

    def __init__(self, continue_token: str) -> None:
        super().__init__(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the "
            "continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the "
            "provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first "
            "chunk was returned and now may show up in the list."
        )
        self.continue_token = continue_token

    def to_status(self) -> dict[str, Any]:
        return {**super().to_status(), "metadata": {"continue": self.continue_token}}


def conflict(resource: GroupResource, name: str, why: str = MODIFIED) -> Conflict:
    """The usual text: `Operation cannot be fulfilled on deployments.apps "web": …`."""
    return Conflict(f'Operation cannot be fulfilled on {resource} "{name}": {why}', resource=resource, name=name)


def too_large_revision(asked: int, current: int) -> Timeout:
    """A resourceVersion from the future. Source: k8s.io/apiserver/pkg/storage/errors.go, NewTooLargeResourceVersionError."""
    return Timeout(
        f"Timeout: Too large resource version: {asked}, current: {current}",
        causes=[Cause("", "ResourceVersionTooLarge", "Too large resource version")],
        retry_after_s=1,
    )


def as_status(error: StoreError, resource: GroupResource, name: str = "") -> StatusError:
    """What a client is told of a store error met while reading or writing `resource`."""
    match error:
        case KeyExists():
            return AlreadyExists.of(resource, name)
        case RevisionMismatch():
            return conflict(resource, name)
        case Compacted():
            return Expired("The resourceVersion for the provided list is too old.")
        case FutureRevision():
            return too_large_revision(0, error.current)
        case SlowConsumer():
            return Expired("the watch did not keep up with the changes and was ended; list again and watch from there")
        case StoreFull():
            return InsufficientStorage(
                f"the server's disk (or storage quota) is full: nothing was written to {resource}"
                + (f' "{name}"' if name else "")
                + "; free space or raise the quota, then try again",
                resource=resource,
                name=name,  # no Retry-After: client-go would keep its user waiting for minutes before it tells them this
            )
        case Unreadable():
            return InternalError(str(error), resource=resource, name=name)
        case StoreUnavailable():
            return ServiceUnavailable(f"the server's storage does not answer, try again: {error}", retry_after_s=1)
        case StoreClosed():
            return ServiceUnavailable("the server is shutting down", retry_after_s=1)
    return InternalError(f"storage failed: {error}", resource=resource, name=name)
