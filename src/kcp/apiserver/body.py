"""Request bodies: JSON first, YAML and protobuf where it is said, and the check that they are of the kind the URL names.

Before: `handlers`. Source: k8s.io/apiserver/pkg/endpoints/handlers/{create,update,rest}.go (transformDecodeError, checkName),
k8s.io/apiserver/pkg/endpoints/handlers/negotiation (body media types).
"""

from __future__ import annotations

from typing import Any

import orjson

from kcp.apimachinery.duplicates import duplicate_fields
from kcp.apimachinery.errors import BadRequest, Cause, Invalid, UnsupportedMediaType
from kcp.apimachinery.gvk import GVK, GroupResource
from kcp.apimachinery.meta import MOST_LEVELS, JSONObject, is_deeper, metadata, nested
from kcp.apiserver.request import Request
from kcp.registry.backend import Scope
from kcp.registry.builtin import builtin_schema
from kcp.registry.resource import Origin
from kcp.registry.writes import OTHER_NAMESPACE

JSON_TYPES = ("", "application/json", "text/json")
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")
PROTOBUF = "application/vnd.kubernetes.protobuf"
_OFFERED = f"application/json, application/yaml, {PROTOBUF}"


def media_type(req: Request) -> str:
    """The Content-Type without its parameters, in lower case; "" if there is none."""
    return req.headers.get("content-type", "").partition(";")[0].strip().lower()


def unsupported(offered: str) -> UnsupportedMediaType:
    return UnsupportedMediaType(f"the body of the request was in an unknown format - accepted media types include: {offered}")


class Body:
    """One decoded object body, given out afresh as often as it is asked for: the registry changes what it gets."""

    __slots__ = ("_first", "_raw", "repeated")

    def __init__(self, raw: bytes, first: JSONObject, repeated: tuple[str, ...] = ()) -> None:
        self._raw = raw
        self._first: JSONObject | None = first
        self.repeated = repeated
        """What stands twice in it, in words."""

    @property
    def told_in_order(self) -> bytes:
        """The JSON text that names fields twice; empty for YAML, where they are told first."""
        return self._raw if self.repeated and not self.repeated[0].startswith("line ") else b""

    def glance(self) -> JSONObject:
        """To look at, not to keep or change: the next `fresh` gives out the same."""
        if self._first is None:
            self._first = orjson.loads(self._raw)
        return self._first

    def fresh(self) -> JSONObject:
        first, self._first = self._first, None
        return first if first is not None else orjson.loads(self._raw)


async def read_object(req: Request, kind: str) -> Body:
    """The body as an object of whatever kind. Raises: UnsupportedMediaType, BadRequest, RequestEntityTooLarge."""
    media = media_type(req)
    if media not in JSON_TYPES and media not in YAML_TYPES and media != PROTOBUF:
        raise unsupported(_OFFERED)
    body = _read(req, await req.read_body(), media, kind)
    if req.audit is not None:
        req.audit.take_object(body.glance())
    return body


def _read(req: Request, raw: bytes, media: str, kind: str) -> Body:
    if media == PROTOBUF:
        obj = decode_protobuf(raw, kind)
        return Body(orjson.dumps(obj), obj)
    is_checked = not req.query_string or req.query.get("fieldValidation") != "Ignore"
    if media in YAML_TYPES:
        obj, repeated = decode_yaml(raw, kind)
        raw = orjson.dumps(obj, option=orjson.OPT_SORT_KEYS)  # as upstream turns YAML into JSON, which shows in the order of faults
        return Body(raw, orjson.loads(raw), repeated if is_checked else ())
    obj = decode_json(raw, kind)
    return Body(raw, obj, tuple(f'duplicate field "{path}"' for path in duplicate_fields(raw, obj)) if is_checked else ())


def decode_json(raw: bytes, kind: str) -> JSONObject:
    try:
        obj = parse_json(raw)
    except ValueError as error:
        raise _unrecognized(kind, f"json parse error: {json_fault(error)}", raw) from error
    if not isinstance(obj, dict):
        raise _unrecognized(kind, f"json parse error: {go_mismatch(obj, _TYPE_META)}", raw)
    return obj


_TYPE_META = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'


def json_fault(error: ValueError) -> str:
    """What Go says of JSON that ends too early, which is what a person meets; other faults are said in the parser's own words."""
    text = str(error)
    if text.startswith("depth limit exceeded"):
        return "exceeded max depth"
    return "unexpected end of JSON input" if text.startswith(("unexpected end of data", "Input is a zero-length")) else text


def go_mismatch(value: Any, wanted: str) -> str:
    """What Go says of a JSON value of the wrong kind. Source: encoding/json, UnmarshalTypeError."""
    kinds = {dict: "object", list: "array", str: "string", bool: "bool", type(None): "null"}
    return f"json: cannot unmarshal {kinds.get(type(value), 'number')} into Go value of type {wanted}"


class TooDeep(ValueError):
    """JSON that is nested deeper than anything behind here can follow."""

    def __init__(self) -> None:
        super().__init__(f"exceeded max depth of {MOST_LEVELS}")


def parse_json(raw: bytes) -> Any:
    """Any JSON value. Raises ValueError, TooDeep among them; counting the brackets first spares nearly every body the look inside."""
    value = orjson.loads(raw)
    if raw.count(b"{") + raw.count(b"[") > MOST_LEVELS and is_deeper(value, MOST_LEVELS):
        raise TooDeep
    return value


def check_types(obj: JSONObject, gvk: GVK) -> None:
    """For objects that are never stored, and so meet no schema on their way: values are of the types that their kind has.

    Raises BadRequest, where Go could not decode the value.
    """
    schema = builtin_schema(gvk)
    for cause in schema.validate(obj) if schema is not None else ():
        if cause.reason == "FieldValueTypeInvalid":
            raise BadRequest(f'{gvk.kind} in version "{gvk.version}" cannot be handled as a {gvk.kind}: {cause}')


def decode_yaml(raw: bytes, kind: str) -> tuple[JSONObject, tuple[str, ...]]:
    """One YAML document as JSON values, and what it says twice."""
    import yaml

    from kcp.apiserver.yamlbody import describe, load

    try:
        obj, duplicates = load(raw)
    except yaml.YAMLError as error:
        raise _unrecognized(kind, f"yaml parse error: yaml: {describe(error)}", raw) from error
    if not isinstance(obj, dict):
        raise _unrecognized(kind, "yaml parse error: the body is not an object", raw)
    return obj, duplicates


def decode_protobuf(raw: bytes, kind: str) -> JSONObject:
    """A body in Kubernetes' protobuf as the object a JSON client would have sent. Raises: BadRequest, UnsupportedMediaType."""
    from kcp.apiserver.protobuf.envelope import NoMessage, Undecodable, decode

    try:
        obj = decode(raw)
        if is_deeper(obj, MOST_LEVELS):
            raise Undecodable(str(TooDeep()))
        return obj
    except Undecodable as error:
        raise _unrecognized(kind, f"protobuf parse error: {error}", raw) from error
    except NoMessage as error:
        raise unsupported("application/json, application/yaml") from error


def _unrecognized(kind: str, why: str, raw: bytes) -> BadRequest:
    return BadRequest(f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; {why} ({_summary(raw)})")


def _summary(raw: bytes) -> str:
    """The beginning of a body, in hexadecimal where it is not JSON. Source: handlers/rest.go, summarizeData."""
    if not raw:
        return "<empty>"
    more = " ..." if len(raw) > 30 else ""
    return (raw[:30].decode(errors="replace") if raw[:1] == b"{" else raw[:30].hex()) + more


def check_kind(obj: JSONObject, scope: Scope, *, expected: GVK | None = None) -> None:
    """apiVersion and kind of a body; absent ones are those of the URL. Raises BadRequest for others."""
    gvk = expected or scope.resource.gvk
    if expected is None and scope.resource.origin is Origin.CRD:
        return _check_custom_kind(obj, gvk)
    api_version, kind = obj.get("apiVersion") or gvk.api_version, obj.get("kind") or gvk.kind
    if api_version == f"/{gvk.api_version}":
        api_version = gvk.api_version  # the core group's in Go's other spelling; source: runtime/schema/group_version.go
    if api_version != gvk.api_version:
        raise BadRequest(f"the API version in the data ({api_version}) does not match the expected API version ({gvk.api_version})")
    if kind != gvk.kind:
        raise BadRequest(
            f'{kind} in version "{gvk.version}" cannot be handled as a {gvk.kind}: '
            f"the kind in the data ({kind}) does not match the expected kind ({gvk.kind})"
        )
    obj["apiVersion"], obj["kind"] = api_version, kind


def _check_custom_kind(obj: JSONObject, gvk: GVK) -> None:
    """Custom objects must say what they are. Source: customresource_handler.go (unstructured decoding), validator.go (ValidateTypeMeta)."""
    api_version, kind = obj.get("apiVersion") or "", obj.get("kind")
    if not kind:
        shown = orjson.dumps(obj)
        missing = f"Object 'Kind' is missing in '{shown.decode()}'"
        raise BadRequest(f"the object provided is unrecognized (must be of type {gvk.kind}): {missing} ({_summary(shown)})")
    if api_version != gvk.api_version:
        raise BadRequest(f"the API version in the data ({api_version}) does not match the expected API version ({gvk.api_version})")
    if kind != gvk.kind:
        cause = Cause.invalid("kind", kind, f"must be {gvk.kind}")
        raise Invalid.of(GroupResource(gvk.group, str(kind)), str(kind), str(nested(obj, "metadata", "name", default="") or ""), [cause])


def check_name(obj: JSONObject, scope: Scope) -> None:
    """A PUT's body must have the name of its URL. Raises BadRequest."""
    name = _metadata(obj).get("name")
    if not name:
        raise BadRequest(f"the name of the object ({scope.name} based on URL) was undeterminable: name must be provided")
    if name != scope.name:
        raise BadRequest(f"the name of the object ({name}) does not match the name on the URL ({scope.name})")
    namespace = _metadata(obj).get("namespace")
    if namespace and scope.namespace and namespace != scope.namespace:
        raise BadRequest(OTHER_NAMESPACE)


def check_namespace(obj: JSONObject, scope: Scope) -> None:
    """A POST's body may leave its namespace out. Raises BadRequest for another one."""
    namespace = _metadata(obj).get("namespace")
    if namespace and scope.namespace and namespace != scope.namespace:
        raise BadRequest(OTHER_NAMESPACE)


def _metadata(obj: JSONObject) -> Any:
    held = metadata(obj)
    if not isinstance(held, dict) and held:
        kind, version = obj.get("kind", "object"), str(obj.get("apiVersion", "")).rpartition("/")[2]
        fault = go_mismatch(held, "v1.ObjectMeta")
        raise BadRequest(f'{kind} in version "{version}" cannot be handled as a {kind}: {fault}')
    return held
