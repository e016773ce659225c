"""Which form a client wants its answer in, and bringing it there: JSON, YAML or protobuf; whole objects, metadata only, or a Table; gzip.

Before: `handlers`. After: `apimachinery.table`, `protobuf`. The ordinary case, JSON of whole objects, decodes nothing.
Source: k8s.io/apiserver/pkg/endpoints/handlers/negotiation/negotiate.go, responsewriters/writers.go (KEP-156 for Tables).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import orjson

from kcp.aio.clock import Clock
from kcp.apimachinery.errors import BadRequest, NotAcceptable
from kcp.apimachinery.remember import remembered
from kcp.apiserver.body import PROTOBUF as PROTOBUF
from kcp.apiserver.request import Request, Response
from kcp.registry.backend import Scope

JSON, YAML = "application/json", "application/yaml"
_TEXT_TYPES = {JSON: JSON, YAML: YAML, "application/x-yaml": YAML, "*/*": JSON, "application/*": JSON, "text/json": JSON, "text/yaml": YAML}
_META_VERSIONS = ("v1", "v1beta1")
_TRANSFORMS = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
_TRANSFORMING = frozenset(("as", "g", "v"))
_SCALE = ("autoscaling/v1", "Scale")

InProtobuf: TypeAlias = Literal["nothing", "metadata", "everything"]
"""What of a resource can be sent as protobuf: objects only of kinds with a message, metadata of every kind, Tables never."""

_GZIP_FROM_BYTES = 128 * 1024
_GZIP_STEP_BYTES = 256 * 1024
_BROWSERS = ("curl/", "Wget/", "Mozilla/")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an Accept header comes to."""

    media: str = JSON
    transform: str = ""
    """"" for whole objects, "Table", "PartialObjectMetadata" or "PartialObjectMetadataList"."""
    meta_version: str = "v1"
    """Version of meta.k8s.io the transformed answer is in."""

    @property
    def is_plain(self) -> bool:
        return self is PLAIN


PLAIN = Wanted()


def wanted(req: Request, scope: Scope, *, is_stream: bool = False) -> Wanted:
    """Raises NotAcceptable where the server offers nothing of what the client accepts."""
    accept = req.headers.get("accept")
    if accept is None or accept == JSON or accept == "*/*":
        return PLAIN
    return _parse(accept, _in_protobuf(scope) if PROTOBUF in accept else "nothing", is_stream=is_stream, has_tables=True)


def is_of_metadata(req: Request, scope: Scope, *, is_stream: bool) -> bool:
    """Whether nothing but metadata is asked for. Raises NotAcceptable."""
    return wanted(req, scope, is_stream=is_stream).transform.startswith("PartialObjectMetadata")


def check_answerable(req: Request) -> None:
    """For what is answered rather than stored, such as reviews: no Table can be made of that. Raises NotAcceptable.

    Source: k8s.io/apiserver/pkg/endpoints/handlers/rest.go (AllowsMediaTypeTransform without a TableConvertor).
    """
    accept = req.headers.get("accept")
    if accept is not None and accept != JSON:
        _parse(accept, "everything", is_stream=False, has_tables=False)


def _in_protobuf(scope: Scope) -> InProtobuf:
    from kcp.apiserver.protobuf.envelope import has_message

    gvk = scope.resource.gvk
    api_version, kind = _SCALE if scope.subresource == "scale" else (gvk.api_version, gvk.kind)
    return "everything" if has_message(api_version, kind) else "metadata"


@remembered(512)
def _parse(accept: str, in_protobuf: InProtobuf, *, is_stream: bool, has_tables: bool) -> Wanted:
    for media, params in by_preference(accept):
        form = PROTOBUF if media == PROTOBUF and in_protobuf != "nothing" else _TEXT_TYPES.get(media)
        if form is None or (is_stream and form == YAML) or params.get("stream", "watch") != "watch":
            continue
        transform = params.get("as", "")
        if form == PROTOBUF and (transform == "Table" or (not transform and in_protobuf == "metadata")):
            is_stream = is_stream and transform != "Table"  # found out later than the rest, in the words for what is no stream
            continue
        if not transform:
            if "g" in params or "v" in params:
                continue
            return PLAIN if form == JSON else Wanted(form)
        if params.get("g") != "meta.k8s.io" or params.get("v") not in _META_VERSIONS or (transform == "Table" and not has_tables):
            continue
        if transform in _TRANSFORMS:
            return Wanted(form, transform, params["v"])
    if not accept.strip():
        return PLAIN
    offered = [f"{JSON};stream=watch", f"{PROTOBUF};stream=watch"] if is_stream else [JSON, YAML, PROTOBUF]
    raise NotAcceptable(f"only the following media types are accepted: {', '.join(offered)}")


@remembered(512)
def _preferred(accept: str) -> str:
    """The form of the first known media type that asks for no transformation: a Status is never shown as something else."""
    plain = [media for media, params in by_preference(accept) if not _TRANSFORMING.intersection(params)]
    known = [_TEXT_TYPES.get(media, media) for media in plain if media == PROTOBUF or media in _TEXT_TYPES]
    return known[0] if known else JSON


def by_preference(accept: str) -> list[tuple[str, dict[str, str]]]:
    """Media types with their parameters, best first; equal weights keep their order."""
    weighed: list[tuple[float, str, dict[str, str]]] = []
    for clause in accept.split(","):
        media, *rest = (part.strip() for part in clause.split(";"))
        params = {name.strip(): value.strip().strip('"') for name, _, value in (part.partition("=") for part in rest)}
        try:
            weight = float(params.get("q", "1"))
        except ValueError:
            weight = 1.0
        if weight > 0:
            weighed.append((-weight, media.lower(), params))
    weighed.sort(key=lambda entry: entry[0])
    return [(media, params) for _, media, params in weighed]


async def answer(req: Request, body: bytes, form: Wanted, clock: Clock, *, status: int = 200) -> Response:
    """A response with JSON `body`, in the form and encoding the client asked for."""
    if req.audit is not None:
        req.audit.take_answer(body)
    if form.media == PROTOBUF:
        body, form = await _as_protobuf(req, body, form, clock)
    if form.media == YAML:
        body = _as_yaml(body)
    elif form.media == JSON:
        body = _laid_out(req, body)
    headers: tuple[tuple[str, str], ...] = ()
    if len(body) >= _GZIP_FROM_BYTES and "gzip" in req.headers.get("accept-encoding", ""):
        body = await _gzip(body, clock)
        headers = (("content-encoding", "gzip"), ("vary", "Accept-Encoding"))
    return Response(status, body, form.media, headers)


async def _as_protobuf(req: Request, body: bytes, form: Wanted, clock: Clock) -> tuple[bytes, Wanted]:
    """An object that its message cannot hold is sent in the next form the client accepts. Raises NotAcceptable where there is none."""
    from kcp.apiserver.protobuf.envelope import NoMessage, Unfit, encode_document

    try:
        return await encode_document(body, clock), form
    except (NoMessage, Unfit):
        return body, _parse(req.headers["accept"], "nothing", is_stream=False, has_tables=True)


def in_form(req: Request, response: Response) -> Response:
    """An answer made as JSON whatever the client accepts, such as a review or an error: in YAML or protobuf for who prefers that."""
    if response.content_type != JSON:
        return response
    if req.audit is not None:
        req.audit.take_answer(response.body)
    accept = req.headers.get("accept")
    preferred = JSON if accept is None or accept == JSON else _preferred(accept)
    if preferred not in (YAML, PROTOBUF):
        return laid_out(req, response)
    if preferred == YAML:
        return replace(response, body=_as_yaml(response.body), content_type=YAML)
    from kcp.apiserver.protobuf.envelope import NoMessage, Unfit, encode

    try:
        return replace(response, body=encode(orjson.loads(response.body)), content_type=PROTOBUF)
    except (NoMessage, Unfit):
        return response


def laid_out(req: Request, response: Response) -> Response:
    """An answer in JSON, indented where a person looks at it, and ended by a newline, as Go's encoder ends it: some clients compare texts.

    Source: endpoints/handlers/negotiation/negotiate.go (isPrettyPrint), runtime/serializer/json/json.go (doEncode).
    """
    return replace(response, body=_laid_out(req, response.body)) if response.content_type == JSON else response


def _laid_out(req: Request, body: bytes) -> bytes:
    if _is_for_eyes(req):
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return body if body.endswith(b"\n") else body + b"\n"


def _is_for_eyes(req: Request) -> bool:
    """A person looks at it: `?pretty`, or a browser or curl that did not say `pretty=false`."""
    if req.query_string and (pretty := req.query.get("pretty")) is not None:
        return pretty not in ("false", "0")
    return req.headers.get("user-agent", "").startswith(_BROWSERS)


def _as_yaml(body: bytes) -> bytes:
    import yaml

    text = yaml.dump(orjson.loads(body), Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), default_flow_style=False, allow_unicode=True)
    return str(text).encode()


async def _gzip(body: bytes, clock: Clock) -> bytes:
    """Level 1, in steps between which others run. Source: KEP-2338 (gzip of large lists)."""
    packer = zlib.compressobj(level=1, wbits=31)
    parts = []
    for start in range(0, len(body), _GZIP_STEP_BYTES):
        parts.append(packer.compress(body[start : start + _GZIP_STEP_BYTES]))
        await clock.sleep(0)
    parts.append(packer.flush())
    return b"".join(parts)


def include_object(req: Request) -> str:
    """The `includeObject` of a Table. Raises BadRequest."""
    asked = req.query.get("includeObject", "Metadata") or "Metadata"
    if asked not in ("None", "Metadata", "Object"):
        fault = f"includeObject: Invalid value: \"{asked}\": must be 'Metadata', 'Object', 'None', or empty"
        raise BadRequest(f"Unable to convert to Table as requested: {fault}")
    return asked
