"""The errors an API server may answer, as `metav1.Status` and as Python classes.

    StatusError
    ├── BadRequest 400          ├── NotAcceptable 406         ├── TooManyRequests 429
    ├── Unauthorized 401        ├── Conflict 409              ├── InternalError 500 (Unexplained: without a reason)
    ├── Forbidden 403           │   └── AlreadyExists 409     ├── NotImplementedStatus 501
    ├── NotFound 404            ├── Gone 410                  ├── ServiceUnavailable 503
    ├── MethodNotAllowed 405    │   └── Expired 410           └── Timeout 504 (reason Timeout)
    ├── RequestEntityTooLarge 413
    ├── UnsupportedMediaType 415
    └── Invalid 422 (carries causes with field paths)

The client side turns a Status back into the same classes, so a reconciler catches `NotFound` whether the server is in-process or remote.
Source: k8s.io/apimachinery/pkg/api/errors/errors.go, pkg/apis/meta/v1/types.go (StatusReason), util/validation/field/errors.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Self

from kcp.apimachinery.gvk import GroupResource


@dataclass(frozen=True, slots=True)
class Cause:
    """One field's fault.

    >>> Cause.invalid("spec.replicas", "x", "must be an integer").message
    'Invalid value: "x": must be an integer'
    """

    field: str
    reason: str
    """FieldValueInvalid, FieldValueRequired, FieldValueDuplicate, FieldValueNotSupported, FieldValueForbidden, FieldManagerConflict, …"""
    message: str

    @classmethod
    def invalid(cls, field: str, value: object, detail: str) -> Cause:
        return cls(field, "FieldValueInvalid", f"Invalid value: {_show(value)}: {detail}")

    @classmethod
    def type_invalid(cls, field: str, value: object, detail: str) -> Cause:
        return cls(field, "FieldValueTypeInvalid", f"Invalid value: {_show(value)}: {detail}")

    @classmethod
    def required(cls, field: str, detail: str = "") -> Cause:
        return cls(field, "FieldValueRequired", f"Required value: {detail}" if detail else "Required value")

    @classmethod
    def duplicate(cls, field: str, value: object) -> Cause:
        return cls(field, "FieldValueDuplicate", f"Duplicate value: {_show(value)}")

    @classmethod
    def not_supported(cls, field: str, value: object, allowed: Iterable[str]) -> Cause:
        choices = ", ".join(f'"{a}"' for a in allowed)
        return cls(field, "FieldValueNotSupported", f"Unsupported value: {_show(value)}: supported values: {choices}")

    @classmethod
    def forbidden(cls, field: str, detail: str) -> Cause:
        return cls(field, "FieldValueForbidden", f"Forbidden: {detail}")

    @classmethod
    def too_long(cls, field: str, limit: int) -> Cause:
        return cls(field, "FieldValueTooLong", f"Too long: may not be more than {limit} bytes")

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


MOST_CAUSES = 250
"""Faults that are told of one object; nobody reads more, and a body of 3 MiB can have a million."""
_LONGEST_SHOWN = 4 * 1024
"""Characters of a value that are shown in an error: hundreds of causes may show the same one."""


def first_causes(causes: Iterable[Cause]) -> list[Cause]:
    """As many as are told; those behind are not even looked for."""
    return list(islice(causes, MOST_CAUSES))


def _show(value: object) -> str:
    """A value as Kubernetes prints it inside an error: strings quoted, the rest as compact JSON; a very long one only begins."""
    if isinstance(value, str):
        if len(value) > _LONGEST_SHOWN:
            return f"{_quoted(value[:_LONGEST_SHOWN])}..."
        return _quoted(value)
    parts: list[str] = []
    _write(value, parts, _LONGEST_SHOWN)
    return "".join(parts)


def _write(value: object, parts: list[str], room: int) -> int:
    """Append the text of `value` to `parts`. Returns the room that is left; from zero on, nothing more is written."""
    if room <= 0:
        return room
    if isinstance(value, (Mapping, Sequence)) and not isinstance(value, str):
        return _write_parts(value, parts, room)
    if isinstance(value, str):
        text = _quoted(value[:room])
    elif value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    else:
        text = str(value)
    parts.append(text)
    return room - len(text)


def _write_parts(value: Mapping[Any, object] | Sequence[object], parts: list[str], room: int) -> int:
    is_map = isinstance(value, Mapping)
    parts.append("{" if is_map else "[")
    for index, part in enumerate(value):
        if room <= 0:
            parts.append("...")
            break
        if index:
            parts.append(",")
        if isinstance(value, Mapping):
            room = _write(str(part), parts, room)
            parts.append(":")
        room = _write(value[part] if isinstance(value, Mapping) else part, parts, room) - 1
    parts.append("}" if is_map else "]")
    return room


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v"}


def _quoted(text: str) -> str:
    """As Go's %q writes it.

    >>> _quoted('a "b"'), _quoted("a\\x00\\u2028")
    ('"a \\\\"b\\\\""', '"a\\\\x00\\\\u2028"')
    """
    if text.isprintable():
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if (known := _ESCAPES.get(char)) is not None:
        return known
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _cause_object(cause: Cause) -> dict[str, str]:
    """A `metav1.StatusCause`; empty parts are left out."""
    parts = {"reason": cause.reason, "message": cause.message, "field": cause.field}
    return {name: value for name, value in parts.items() if value}


class StatusError(Exception):
    """An answer the API may give; each subclass fixes one HTTP code and one reason."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        resource: GroupResource | None = None,
        kind: str = "",
        name: str = "",
        uid: str = "",
        causes: Sequence[Cause] = (),
        retry_after_s: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.resource = resource
        self.kind = kind
        self.name = name
        self.uid = uid
        self.causes = tuple(causes)
        self.retry_after_s = retry_after_s

    def to_status(self) -> dict[str, Any]:
        """This error as a `metav1.Status` object."""
        details: dict[str, Any] = {}
        if self.name:
            details["name"] = self.name
        if self.resource is not None:
            if self.resource.group:
                details["group"] = self.resource.group
            details["kind"] = self.kind or self.resource.resource
        elif self.kind:
            details["kind"] = self.kind
        if self.uid:
            details["uid"] = self.uid
        if self.causes:
            details["causes"] = [_cause_object(c) for c in self.causes]
        if self.retry_after_s:
            details["retryAfterSeconds"] = self.retry_after_s
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if details:
            status["details"] = details
        status["code"] = self.code
        return status


class BadRequest(StatusError):
    code, reason = 400, "BadRequest"


class Unauthorized(StatusError):
    code, reason = 401, "Unauthorized"


class Forbidden(StatusError):
    code, reason = 403, "Forbidden"


class NotFound(StatusError):
    code, reason = 404, "NotFound"

    @classmethod
    def of(cls, resource: GroupResource, name: str) -> NotFound:
        """The usual text: `deployments.apps "web" not found`."""
        return cls(f'{resource} "{name}" not found', resource=resource, name=name)

    def is_of(self, resource: GroupResource, name: str) -> bool:
        """Whether it says that this very object is absent. A NotFound may also mean the resource, or something on the way there."""
        return self.resource == resource and self.name == name


class MethodNotAllowed(StatusError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(StatusError):
    code, reason = 406, "NotAcceptable"


class Conflict(StatusError):
    """The object moved, a precondition failed, or another field manager owns a field (then with causes)."""

    code, reason = 409, "Conflict"


class AlreadyExists(Conflict):
    code, reason = 409, "AlreadyExists"

    @classmethod
    def of(cls, resource: GroupResource, name: str) -> AlreadyExists:
        return cls(f'{resource} "{name}" already exists', resource=resource, name=name)


class Gone(StatusError):
    code, reason = 410, "Gone"


class Expired(Gone):
    """The resourceVersion or continue token is older than the compacted history: list again."""

    code, reason = 410, "Expired"


class RequestEntityTooLarge(StatusError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(StatusError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(StatusError):
    """The object breaks its schema or rules; all faults at once."""

    code, reason = 422, "Invalid"

    @classmethod
    def of(cls, resource: GroupResource, kind: str, name: str, causes: Sequence[Cause]) -> Self:
        """The usual text: `Deployment.apps "web" is invalid: spec.replicas: Invalid value: …`."""
        qualified = f"{kind}.{resource.group}" if resource.group else kind
        told = causes[:MOST_CAUSES]
        texts = [str(c) for c in told]
        if len(told) < len(causes):
            texts.append(f"and {len(causes) - len(told)} more")
        body = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
        return cls(f'{qualified} "{name}" is invalid: {body}', resource=resource, kind=kind, name=name, causes=told)


class TooManyRequests(StatusError):
    code, reason = 429, "TooManyRequests"


class InternalError(StatusError):
    code, reason = 500, "InternalError"


class Unexplained(InternalError):
    """What went wrong, without a reason: upstream's answer for errors of other programs. Source: ErrorToAPIStatus."""

    code, reason = 500, ""


class NotImplementedStatus(StatusError):
    code, reason = 501, "NotImplemented"


class ServiceUnavailable(StatusError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(StatusError):
    code, reason = 504, "Timeout"


_ALL: tuple[type[StatusError], ...] = (
    BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, Conflict, AlreadyExists, Gone, Expired,
    RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError, NotImplementedStatus,
    ServiceUnavailable, Timeout,
)  # fmt: skip
_BY_REASON = {cls.reason: cls for cls in _ALL}
_BY_CODE = {cls.code: cls for cls in reversed(_ALL)} | {409: Conflict, 410: Gone, 500: Unexplained}


def from_status(code: int, status: Mapping[str, Any]) -> StatusError:
    """The error class for an answer; an unknown reason falls back to the HTTP code, then to InternalError."""
    details = status.get("details") or {}
    causes = [Cause(c.get("field", ""), c.get("reason", ""), c.get("message", "")) for c in details.get("causes") or ()]
    cls = _BY_REASON.get(status.get("reason", "")) or _BY_CODE.get(code) or InternalError
    group, kind = details.get("group", ""), details.get("kind", "")
    return cls(
        status.get("message") or f"the server answered {code}",
        resource=GroupResource(group, kind) if kind else None,
        kind=kind,
        name=details.get("name", ""),
        uid=details.get("uid", ""),
        causes=causes,
        retry_after_s=int(details.get("retryAfterSeconds") or 0),
    )
