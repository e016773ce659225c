"""Query parameters and DeleteOptions bodies as the registry's option objects; all faults of one request at once.

Before: the handlers. Source: k8s.io/apimachinery/pkg/apis/meta/v1/validation/validation.go,
k8s.io/apimachinery/pkg/apis/meta/internalversion/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from kcp.apimachinery.errors import BadRequest, Cause, Invalid
from kcp.apimachinery.gvk import GVK, GroupResource
from kcp.apimachinery.selectors import FieldSelector, LabelSelector
from kcp.apiserver.body import (
    JSON_TYPES,
    PROTOBUF,
    YAML_TYPES,
    check_types,
    decode_protobuf,
    decode_yaml,
    go_mismatch,
    json_fault,
    media_type,
    parse_json,
    unsupported,
)
from kcp.apiserver.request import Request
from kcp.apiserver.requestinfo import is_true
from kcp.registry.backend import DeleteOptions, ListQuery, WatchQuery, WriteOptions

_LONGEST_MANAGER = 128
_INTEGER = re.compile(r"[+-]?[0-9]+")
_MOST_DIGITS = 19
"""Of a 64-bit number with a sign."""
_PROPAGATIONS = ("Foreground", "Background", "Orphan")
_VALIDATIONS = ("Ignore", "Warn", "Strict")
_MATCHES = ("Exact", "NotOlderThan")


def _refuse(kind: str, causes: Sequence[Cause]) -> None:
    if causes:
        raise Invalid.of(GroupResource("meta.k8s.io", kind), kind, "", causes)


def number(query: Mapping[str, str], name: str) -> int:
    """A parameter that is a 64-bit number; 0 if it is absent. Raises BadRequest. Source: apimachinery/pkg/runtime/conversion.go."""
    text = query.get(name) or "0"
    fault = ""
    if not _INTEGER.fullmatch(text):
        fault = "invalid syntax"
    elif len(text.lstrip("+-0")) > _MOST_DIGITS or not -(1 << 63) <= int(text) < 1 << 63:
        fault = "value out of range"
    if fault:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": {fault}')
    return int(text)


def list_query(req: Request) -> ListQuery:
    """Raises BadRequest for unreadable parameters, Invalid for combinations that make no sense."""
    query = req.query if req.query_string else {}
    if not query:
        return ListQuery()
    labels, fields = _selectors(query)
    asked = ListQuery(
        labels, fields, max(number(query, "limit"), 0), query.get("continue", ""), query.get("resourceVersion", ""),
        query.get("resourceVersionMatch", ""),
    )  # fmt: skip
    number(query, "timeoutSeconds")  # means nothing to a list, but must be one
    if asked.resource_version_match or "sendInitialEvents" in query:
        _refuse("ListOptions", list(_list_faults(asked, query)))
    return asked


def _selectors(query: Mapping[str, str]) -> tuple[LabelSelector | None, FieldSelector | None]:
    labels, fields = query.get("labelSelector"), query.get("fieldSelector")
    return LabelSelector.parse(labels) if labels else None, FieldSelector.parse(fields) if fields else None


def _list_faults(asked: ListQuery, query: Mapping[str, str]) -> list[Cause]:
    causes = []
    match = asked.resource_version_match
    if match:
        if not asked.resource_version:
            causes.append(Cause.forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if asked.continue_token:
            causes.append(Cause.forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"))
        if match not in _MATCHES:
            causes.append(Cause.not_supported("resourceVersionMatch", match, (*_MATCHES, "")))
        if match == "Exact" and asked.resource_version == "0":
            detail = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            causes.append(Cause.forbidden("resourceVersionMatch", detail))
    if "sendInitialEvents" in query:
        causes.append(Cause.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return causes


def watch_query(req: Request) -> WatchQuery:
    """Raises BadRequest for unreadable parameters, Invalid for combinations that make no sense."""
    query = req.query
    labels, fields = _selectors(query)
    initial = is_true(query["sendInitialEvents"]) if "sendInitialEvents" in query else None
    causes = []
    match = query.get("resourceVersionMatch", "")
    if initial is not None and match != "NotOlderThan":
        detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        causes.append(Cause.forbidden("resourceVersionMatch", detail))
    if match and initial is None:
        detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        causes.append(Cause.forbidden("resourceVersionMatch", detail))
    if match not in ("", "NotOlderThan"):
        causes.append(Cause.not_supported("resourceVersionMatch", match, ["NotOlderThan"]))
    if match and query.get("continue"):
        causes.append(Cause.forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"))
    _refuse("ListOptions", causes)
    return WatchQuery(
        labels,
        fields,
        query.get("resourceVersion", ""),
        bookmarks=is_true(query.get("allowWatchBookmarks")),
        send_initial_events=initial,
        timeout_s=float(max(number(query, "timeoutSeconds"), 0)),
    )


def write_options(req: Request, kind: str, *, repeated: tuple[str, ...] = (), body: bytes = b"") -> WriteOptions:
    """Options of a create, update or (non-apply) patch; `kind` is CreateOptions, UpdateOptions or PatchOptions."""
    query = req.query if req.query_string else {}
    causes = [*_manager_faults(query), *_dry_run_faults(query), *_validation_faults(query)]
    _refuse(kind, causes)
    return WriteOptions(
        user=req.user,
        field_manager=query.get("fieldManager") or manager_of(req),
        dry_run=bool(query.get("dryRun")),
        field_validation=cast("Literal['Ignore', 'Warn', 'Strict']", query.get("fieldValidation") or "Warn"),
        repeated=repeated,
        body=body,
        notes=req.audit.notes if req.audit is not None else None,
    )


def manager_of(req: Request) -> str:
    """The field manager of a client that names none: the first part of its User-Agent.

    Source: k8s.io/apiserver/pkg/endpoints/handlers/create.go, managerOrUserAgent.
    """
    agent = req.headers.get("user-agent", "").partition("/")[0].strip()
    printable = "".join(c for c in agent if c.isprintable())
    return printable[:_LONGEST_MANAGER] or "unknown"


def _manager_faults(query: Mapping[str, str]) -> list[Cause]:
    manager = query.get("fieldManager", "")
    causes = []
    if len(manager) > _LONGEST_MANAGER:
        causes.append(Cause.too_long("fieldManager", _LONGEST_MANAGER))
    for position, char in enumerate(manager):
        if not char.isprintable():
            causes.append(Cause.invalid("fieldManager", manager, f"invalid character U+{ord(char):04X} (at position {position})"))
    return causes


def _dry_run_faults(query: Mapping[str, str]) -> list[Cause]:
    value = query.get("dryRun", "")
    return [Cause.not_supported("dryRun", [value], ["All"])] if value not in ("", "All") else []


def _validation_faults(query: Mapping[str, str]) -> list[Cause]:
    value = query.get("fieldValidation", "")
    return [Cause.not_supported("fieldValidation", value, ["", *sorted(_VALIDATIONS)])] if value and value not in _VALIDATIONS else []


async def delete_options(req: Request) -> DeleteOptions:
    """From the body where there is one, else from the query. Raises BadRequest, UnsupportedMediaType, Invalid."""
    given: dict[str, Any] = {}
    if req.headers.get("content-length", "0") != "0" or "transfer-encoding" in req.headers:
        given = await _delete_body(req)
    query = req.query if req.query_string else {}
    propagation = given.get("propagationPolicy") or query.get("propagationPolicy") or ""
    grace = given.get("gracePeriodSeconds", number(query, "gracePeriodSeconds") if "gracePeriodSeconds" in query else None)
    orphan = given.get("orphanDependents", is_true(query["orphanDependents"]) if "orphanDependents" in query else None)
    dry_run = given.get("dryRun") or ([query["dryRun"]] if query.get("dryRun") else [])
    preconditions = given.get("preconditions") or {}
    causes = []
    if propagation and orphan is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        causes.append(Cause.invalid("propagationPolicy", propagation, detail))
    if propagation not in ("", *_PROPAGATIONS):
        causes.append(Cause.not_supported("propagationPolicy", propagation, (*_PROPAGATIONS, "nil")))
    if dry_run not in ([], ["All"]):
        causes.append(Cause.not_supported("dryRun", dry_run, ["All"]))
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool)):
        causes.append(Cause.invalid("gracePeriodSeconds", grace, "must be an integer"))
    if not isinstance(preconditions, dict):
        causes.append(Cause.invalid("preconditions", preconditions, "must be an object"))
    _refuse("DeleteOptions", causes)
    if orphan is not None:
        propagation = "Orphan" if orphan else "Background"
    return DeleteOptions(
        user=req.user,
        propagation=cast("Literal['', 'Background', 'Foreground', 'Orphan']", propagation),
        grace_period_s=None if grace is None else 1 if grace < 0 else grace,
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        dry_run=bool(dry_run),
        is_awaited=orphan is False,
        notes=req.audit.notes if req.audit is not None else None,
    )


async def _delete_body(req: Request) -> dict[str, Any]:
    """The DeleteOptions in the body, if there is one; values have the types that they must have."""
    raw = await req.read_body()
    if not raw:
        return {}
    given = _decode_options(raw, media_type(req))
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise BadRequest(f"couldn't get version/kind; json parse error: {go_mismatch(given, 'struct')}")
    if (kind := given.get("kind", "DeleteOptions")) != "DeleteOptions":
        raise BadRequest(f'no kind "{kind}" is registered for version "{given.get("apiVersion", "")}"')
    check_types(given, GVK("meta.k8s.io", "v1", "DeleteOptions"))
    if req.audit is not None:
        req.audit.take_patch(given)
    return given


def _decode_options(raw: bytes, media: str) -> Any:
    if media in YAML_TYPES:
        return decode_yaml(raw, "DeleteOptions")[0]
    if media not in JSON_TYPES and media != PROTOBUF:
        raise unsupported(f"application/json, application/yaml, {PROTOBUF}")
    try:
        given = decode_protobuf(raw, "DeleteOptions") if media == PROTOBUF else parse_json(raw)
    except ValueError as error:
        raise BadRequest(f"couldn't get version/kind; json parse error: {json_fault(error)}") from error
    return given
