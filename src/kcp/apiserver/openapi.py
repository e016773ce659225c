"""OpenAPI: v3 with one document per group version, built when asked for and shared by workspaces that serve the same; v2 for old clients.

A document holds what clients use: schemas of the kinds with everything they refer to, and the paths with verbs, group-version-kind and the
parameters that `kubectl` looks for (`fieldValidation` on PATCH decides whether it leaves validation to the server).
Before: the router. After: `registry.resource.Catalog`, `apis.kubernetes.definitions`.
Source: k8s.io/kube-openapi/pkg/handler3; KEP-2896; k8s.io/kubectl/pkg/... query_param_verifier_v3.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import orjson

from kcp.aio.clock import Clock
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.aggregation.documents import merged
from kcp.apiserver.discovery import grouped, subresources_of
from kcp.apiserver.documents import Document, DocumentCache, respond
from kcp.apiserver.openapi_discovery import described
from kcp.apiserver.openapi_forms import PROTOBUF_V2, PROTOBUF_V3, form_of
from kcp.apiserver.openapi_paths import GVK_EXTENSION, META, PREFIX, SUBRESOURCE_COMPONENTS, api_path, paths_of
from kcp.apiserver.openapi_v2 import to_v2
from kcp.apiserver.request import Request, Response
from kcp.apiserver.version import version_info
from kcp.registry.resource import Catalog, Origin, Resource

if TYPE_CHECKING:
    from kcp.apiserver.aggregation.apis import AggregatedAPIs

_V3 = "/openapi/v3"
_CONVENTIONS = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
_DESCRIPTIONS = {
    "apiVersion": "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas "
    f"to the latest internal value, and may reject unrecognized values. More info: {_CONVENTIONS}#resources",
    "kind": "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the "
    f"client submits requests to. Cannot be updated. In CamelCase. More info: {_CONVENTIONS}#types-kinds",
    "metadata": f"Standard object's metadata. More info: {_CONVENTIONS}#metadata",
}
"""Source: apimachinery's TypeMeta, apiextensions-apiserver/pkg/controller/openapi/builder/builder.go."""

_FORMAT = "2"
"""Changes with what this file makes of the same schemas: clients keep documents by their hash."""

DefinitionSource = Callable[[str], JSONObject]
"""Name of a shared definition → its published schema, with references in the form `#/components/schemas/<name>`. Raises KeyError."""


class OpenAPI:
    """Handler for `/openapi/v3`, everything below it, and `/openapi/v2`."""

    def __init__(self, catalog: Catalog, definition: DefinitionSource, clock: Clock, *, elsewhere: AggregatedAPIs | None = None) -> None:
        """Args: elsewhere: what other servers serve behind this one."""
        self._catalog = catalog
        self._elsewhere = elsewhere
        self._clock = clock
        self._definition = definition
        self._documents = DocumentCache(64)
        self._indexes = DocumentCache(64)

    async def __call__(self, request: Request) -> Response:
        path = request.info.path.rstrip("/")
        cluster = request.info.cluster
        groups = {api_path(g, v): r for g, versions in grouped(self._catalog.resources(cluster)).items() for v, r in versions.items()}
        if path == _V3:
            key = (cluster, self._catalog.version(cluster), self._elsewhere.changes if self._elsewhere is not None else 0)
            return respond(request, self._indexes.get(key, lambda: _index(groups, self._elsewhere)))
        if path == "/openapi/v2":
            others = await self._elsewhere.openapi_v2() if self._elsewhere is not None and self._elsewhere.remotes else []
            return respond(request, self._second(request, [r for resources in groups.values() for r in resources], others))
        asked = path.removeprefix(_V3 + "/")
        resources = groups.get(asked)
        if resources is not None:
            return self._by_hash(request, _hash(resources), lambda: self._v3(resources))
        found = described(_group_names(groups)).get(asked)
        if found is None:
            raise NotFound("the server could not find the requested resource")
        return self._by_hash(request, _hash_of([asked]), lambda: self._document(found.paths(asked), self._closure({}, [found.component])))

    def _by_hash(self, request: Request, digest: str, make: Callable[[], JSONObject]) -> Response:
        """The document of a group version; a client that asks for an older one is sent to the one there is now.

        Source: k8s.io/kube-openapi/pkg/handler3/handler.go, HandleGroupVersion.
        """
        form = form_of(request.headers.get("accept", ""), PROTOBUF_V3)
        asked = request.query.get("hash", "")
        if asked and asked != digest:
            return Response(301, headers=(("location", f"{request.path}?hash={digest}"),), content_type="")
        document = self._documents.get(digest, lambda: replace(Document.of(orjson.dumps(make())), etag=digest))
        if form == PROTOBUF_V3:
            plain = document
            document = self._documents.get(("protobuf", digest), lambda: replace(_as_protobuf(plain, form), etag=digest))
        if not asked:
            return respond(request, document)
        expires = format_datetime(self._clock.now() + timedelta(days=365), usegmt=True)
        return respond(request, document, ("cache-control", "public, immutable"), ("expires", expires))

    def _v3(self, resources: list[Resource]) -> JSONObject:
        paths = (path for resource in resources for path in paths_of(resource, *self._components(resource)))
        return self._document(dict(paths), self._schemas(resources))

    @staticmethod
    def _document(paths: JSONObject, schemas: JSONObject) -> JSONObject:
        info = {"title": "Kubernetes", "version": version_info()["gitVersion"]}
        return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}

    def _second(self, request: Request, resources: list[Resource], others: list[tuple[str, JSONObject]]) -> Document:
        """The one document of OpenAPI v2, in JSON or, for client-go, in protobuf. Raises NotAcceptable."""
        form = form_of(request.headers.get("accept", ""), PROTOBUF_V2)
        digest = _hash(resources)
        plain = self._documents.get(("v2", digest), lambda: Document.of(orjson.dumps(to_v2(self._v3(resources)))))
        if others:
            plain = Document.of(orjson.dumps(merged(orjson.loads(plain.body), others)))
            digest = plain.etag
        if form != PROTOBUF_V2:
            return plain
        return self._documents.get(("v2 protobuf", digest), lambda: _as_protobuf(plain, form))

    def _schemas(self, resources: Iterable[Resource]) -> JSONObject:
        """Every kind, its list, and what they refer to, transitively."""
        found: JSONObject = {}
        pending: list[str] = [META + part for part in ("ObjectMeta", "ListMeta", "DeleteOptions", "Status", "Patch")]
        for resource in resources:
            name, schema = self._kind_schema(resource)
            found[name] = schema
            found[name + "List"] = _list_schema(resource, name)
            pending += _references(schema)
            pending += (SUBRESOURCE_COMPONENTS[gvk] for _, gvk, _ in subresources_of(resource) if gvk in SUBRESOURCE_COMPONENTS)
        return self._closure(found, pending)

    def _closure(self, found: JSONObject, pending: list[str]) -> JSONObject:
        """The schemas that are found, those of the names that are pending, and all they refer to."""
        while pending:
            name = pending.pop()
            if name in found:
                continue
            try:
                found[name] = self._definition(name)
            except KeyError:
                found[name] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
            pending += _references(found[name])
        return found

    def _components(self, resource: Resource) -> tuple[str, str]:
        """Names of the schemas of a kind and of its list."""
        reference = resource.openapi_source().get("$ref")
        name = reference.removeprefix(PREFIX) if isinstance(reference, str) else component_name(resource.gvk)
        return name, name + "List"

    def _kind_schema(self, resource: Resource) -> tuple[str, JSONObject]:
        """Component name and schema of a kind."""
        schema = dict(resource.openapi_source())
        reference = schema.get("$ref")
        if isinstance(reference, str):
            name = reference.removeprefix(PREFIX)
            schema = dict(self._definition(name))
        else:
            name = component_name(resource.gvk)
            schema = _with_object_fields(_with_both_types(schema)) | _selectable(resource)
        schema[GVK_EXTENSION] = [_gvk_object(resource.gvk)]
        return name, schema


def component_name(gvk: GVK) -> str:
    """Name of a custom kind's schema: its group turned round.

    >>> component_name(GVK("stable.example.com", "v1", "CronTab"))
    'com.example.stable.v1.CronTab'
    """
    return ".".join([*reversed(gvk.group.split(".")), gvk.version, gvk.kind]) if gvk.group else f"io.k8s.api.core.{gvk.version}.{gvk.kind}"


def _hash(resources: Iterable[Resource]) -> str:
    """What a document depends on: which resources with which schemas and verbs."""
    parts = sorted(
        f"{r.gvr}|{r.kind}|{r.schema_id}|{','.join(r.verbs)}|{r.has_status}|{r.scale is not None}|{r.selectable_fields}|{r.list_kind}"
        for r in resources
    )
    return _hash_of(parts)


def _hash_of(parts: list[str]) -> str:
    text = "\n".join([*parts, _FORMAT, str(version_info()["gitVersion"])])
    return hashlib.sha256(text.encode()).hexdigest()[:32].upper()


def _group_names(groups: Iterable[str]) -> set[str]:
    """Of paths such as apis/apps/v1 and api/v1: apps and the empty one."""
    return {path.split("/")[1] if path.startswith("apis/") else "" for path in groups}


def _index(groups: dict[str, list[Resource]], elsewhere: AggregatedAPIs | None) -> Document:
    hashes = {path: _hash_of([path]) for path in described(_group_names(groups))}
    hashes |= {path: _hash(resources) for path, resources in groups.items()}
    if elsewhere is not None:
        known = {remote.path.strip("/"): elsewhere.served(remote) for remote in elsewhere.remotes.values()}
        hashes |= {path: served.openapi_hash for path, served in known.items() if served is not None and served.openapi_hash}
    paths = {path: {"serverRelativeURL": f"{_V3}/{path}?hash={digest}"} for path, digest in hashes.items()}
    return Document.of(orjson.dumps({"paths": paths}))


def _with_object_fields(schema: JSONObject) -> JSONObject:
    """A custom kind's schema with the fields every object has. Source: apiextensions-apiserver/pkg/controller/openapi/builder."""
    properties = dict(schema.get("properties") or {})
    for part in ("apiVersion", "kind"):
        properties[part] = {"type": "string", "description": _DESCRIPTIONS[part]}
    properties["metadata"] = {"allOf": [{"$ref": PREFIX + META + "ObjectMeta"}], "description": _DESCRIPTIONS["metadata"]}
    return {**schema, "type": "object", "properties": properties}


def _list_schema(resource: Resource, item: str) -> JSONObject:
    described: JSONObject = {part: {"type": "string", "description": _DESCRIPTIONS[part]} for part in ("apiVersion", "kind")}
    return {
        "description": f"{resource.kind}List is a list of {resource.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            **described,
            "items": {
                "description": f"List of {resource.gvr.resource}. More info: {_CONVENTIONS}",
                "type": "array",
                "items": {"$ref": PREFIX + item},
            },
            "metadata": {
                "description": f"Standard list metadata. More info: {_CONVENTIONS}#types-kinds",
                "allOf": [{"$ref": PREFIX + META + "ListMeta"}],
            },
        },
        GVK_EXTENSION: [{**_gvk_object(resource.gvk), "kind": resource.list_kind or resource.kind + "List"}],
        **_selectable(resource),
    }


def _selectable(resource: Resource) -> JSONObject:
    """Which fields of a custom kind select. Source: KEP-4358."""
    if resource.origin is Origin.BUILTIN or not resource.selectable_fields:
        return {}
    return {"x-kubernetes-selectable-fields": [{"fieldPath": field} for field in resource.selectable_fields]}


def _with_both_types(node: Any) -> Any:
    """A custom schema in which each int-or-string says which two types that is, as v3 documents do."""
    if isinstance(node, list):
        return [_with_both_types(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _with_both_types(value) if isinstance(value, (dict, list)) else value for key, value in node.items()}
    if made.get("x-kubernetes-int-or-string") is True and "anyOf" not in made and "oneOf" not in made:
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return made


def _as_protobuf(plain: Document, form: str) -> Document:
    from kcp.apiserver.protobuf.openapi import encode

    return Document.of(encode(orjson.loads(plain.body)), form)


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(PREFIX)
        for value in node.values():
            if isinstance(value, (dict, list)):
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            if isinstance(value, (dict, list)):
                yield from _references(value)


def _gvk_object(gvk: GVK) -> JSONObject:
    return {"group": gvk.group, "version": gvk.version, "kind": gvk.kind}
