"""OpenAPI: v3 with one document per group version, built when asked for and shared by workspaces that serve the same; v2 for old clients.

A document holds what clients use: schemas of the kinds with everything they refer to, and the paths with verbs, group-version-kind and the
parameters that `kubectl` looks for (`fieldValidation` on PATCH decides whether it leaves validation to the server).
Before: the router. After: `registry.resource.Catalog`, `apis.kubernetes.definitions`.
Source: k8s.io/kube-openapi/pkg/handler3; KEP-2896; k8s.io/kubectl/pkg/... query_param_verifier_v3.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.discovery import grouped
from kcp.apiserver.documents import Document, DocumentCache, respond
from kcp.apiserver.handlers.patch import supported_patches
from kcp.apiserver.request import Request, Response
from kcp.apiserver.version import version_info
from kcp.registry.resource import Catalog, Resource

_V3 = "/openapi/v3"
_PREFIX = "#/components/schemas/"
_GVK = "x-kubernetes-group-version-kind"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_CONVENTIONS = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
_DESCRIPTIONS = {
    "apiVersion": "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas "
    f"to the latest internal value, and may reject unrecognized values. More info: {_CONVENTIONS}#resources",
    "kind": "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the "
    f"client submits requests to. Cannot be updated. In CamelCase. More info: {_CONVENTIONS}#types-kinds",
    "metadata": f"Standard object's metadata. More info: {_CONVENTIONS}#metadata",
}
"""Source: apimachinery's TypeMeta, apiextensions-apiserver/pkg/controller/openapi/builder/builder.go."""

_V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"

DefinitionSource = Callable[[str], JSONObject]
"""Name of a shared definition → its published schema, with references in the form `#/components/schemas/<name>`. Raises KeyError."""


class OpenAPI:
    """Handler for `/openapi/v3`, everything below it, and `/openapi/v2`."""

    def __init__(self, catalog: Catalog, definition: DefinitionSource) -> None:
        self._catalog = catalog
        self._definition = definition
        self._documents = DocumentCache(64)
        self._indexes = DocumentCache(64)

    async def __call__(self, request: Request) -> Response:
        path = request.info.path.rstrip("/")
        cluster = request.info.cluster
        groups = {api_path(g, v): r for g, versions in grouped(self._catalog.resources(cluster)).items() for v, r in versions.items()}
        if path == _V3:
            key = (cluster, self._catalog.version(cluster))
            return respond(request, self._indexes.get(key, lambda: _index(groups)))
        if path == "/openapi/v2" and _V2_PROTOBUF in request.headers.get("accept", ""):
            return respond(request, self._documents.get("v2 protobuf", _v2_protobuf))
        if path == "/openapi/v2":
            everything = [r for resources in groups.values() for r in resources]
            return respond(request, self._documents.get(("v2", _hash(everything)), lambda: self._v2(everything)))
        resources = groups.get(path.removeprefix(_V3 + "/"))
        if resources is None:
            raise NotFound("the server could not find the requested resource")
        digest = _hash(resources)
        document = self._documents.get(digest, lambda: Document.of(orjson.dumps(self._v3(resources))))
        fetched_by_hash = request.query.get("hash") == digest
        return respond(request, document, cache_control="public, immutable" if fetched_by_hash else "no-cache, private")

    def _v3(self, resources: list[Resource]) -> JSONObject:
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": version_info()["gitVersion"]},
            "paths": dict(path for resource in resources for path in _paths(resource)),
            "components": {"schemas": self._schemas(resources)},
        }

    def _v2(self, resources: list[Resource]) -> Document:
        schemas = orjson.loads(orjson.dumps(self._schemas(resources)).replace(_PREFIX.encode(), b"#/definitions/"))
        info = {"title": "Kubernetes", "version": version_info()["gitVersion"]}
        return Document.of(orjson.dumps({"swagger": "2.0", "info": info, "paths": {}, "definitions": schemas}))

    def _schemas(self, resources: Iterable[Resource]) -> JSONObject:
        """Every kind, its list, and what they refer to, transitively."""
        found: JSONObject = {}
        pending: list[str] = [_META + "ObjectMeta", _META + "ListMeta", _META + "DeleteOptions", _META + "Status"]
        for resource in resources:
            name, schema = self._kind_schema(resource)
            found[name] = schema
            found[name + "List"] = _list_schema(resource, name)
            pending += _references(schema)
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

    def _kind_schema(self, resource: Resource) -> tuple[str, JSONObject]:
        """Component name and schema of a kind."""
        schema = dict(resource.openapi_source())
        reference = schema.get("$ref")
        if isinstance(reference, str):
            name = reference.removeprefix(_PREFIX)
            schema = dict(self._definition(name))
        else:
            name = component_name(resource.gvk)
            schema = _with_object_fields(schema)
        schema[_GVK] = [_gvk_object(resource.gvk)]
        return name, schema


def _v2_protobuf() -> Document:
    """The same as protobuf, without definitions: client-go asks in this form only, about kinds that v3 does not have.

    For a kind without definition kubectl leaves validation to the server, and says that the kind is not served.
    Source: github.com/google/gnostic-models/openapiv2/OpenAPIv2.proto (Document: swagger = 1, info = 2, paths = 8; Info: title, version).
    """
    info = _field(1, b"Kubernetes") + _field(2, str(version_info()["gitVersion"]).encode())
    body = _field(1, b"2.0") + _field(2, info) + _field(8, b"")
    return Document.of(body, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited protobuf field of less than 128 bytes."""
    return bytes((number << 3 | 2, len(value))) + value


def api_path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def component_name(gvk: GVK) -> str:
    """Name of a custom kind's schema: its group turned round.

    >>> component_name(GVK("stable.example.com", "v1", "CronTab"))
    'com.example.stable.v1.CronTab'
    """
    return ".".join([*reversed(gvk.group.split(".")), gvk.version, gvk.kind]) if gvk.group else f"io.k8s.api.core.{gvk.version}.{gvk.kind}"


def _hash(resources: Iterable[Resource]) -> str:
    """What a document depends on: which resources with which schemas and verbs."""
    parts = sorted(f"{r.gvr}|{r.kind}|{r.schema_id}|{','.join(r.verbs)}|{r.has_status}|{r.scale is not None}" for r in resources)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32].upper()


def _index(groups: dict[str, list[Resource]]) -> Document:
    paths = {path: {"serverRelativeURL": f"{_V3}/{path}?hash={_hash(resources)}"} for path, resources in groups.items()}
    return Document.of(orjson.dumps({"paths": paths}))


def _with_object_fields(schema: JSONObject) -> JSONObject:
    """A custom kind's schema with the fields every object has. Source: apiextensions-apiserver/pkg/controller/openapi/builder."""
    properties = dict(schema.get("properties") or {})
    for part in ("apiVersion", "kind"):
        properties[part] = {"type": "string", "description": _DESCRIPTIONS[part]}
    properties["metadata"] = {"allOf": [{"$ref": _PREFIX + _META + "ObjectMeta"}], "description": _DESCRIPTIONS["metadata"]}
    return {**schema, "type": "object", "properties": properties}


def _list_schema(resource: Resource, item: str) -> JSONObject:
    return {
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"allOf": [{"$ref": _PREFIX + _META + "ListMeta"}]},
            "items": {"type": "array", "items": {"$ref": _PREFIX + item}},
        },
        _GVK: [{**_gvk_object(resource.gvk), "kind": resource.list_kind or resource.kind + "List"}],
    }


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(_PREFIX)
        for value in node.values():
            if isinstance(value, (dict, list)):
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            if isinstance(value, (dict, list)):
                yield from _references(value)


def _gvk_object(gvk: GVK) -> JSONObject:
    return {"group": gvk.group, "version": gvk.version, "kind": gvk.kind}


def _paths(resource: Resource) -> Iterator[tuple[str, JSONObject]]:
    """The collection, the object and the subresources of one resource."""
    base = f"/{api_path(resource.gvr.group, resource.gvr.version)}"
    scope = f"{base}/namespaces/{{namespace}}" if resource.namespaced else base
    collection, one = f"{scope}/{resource.gvr.resource}", f"{scope}/{resource.gvr.resource}/{{name}}"
    in_path = [_parameter("namespace", where="path")] if resource.namespaced else []
    verbs = set(resource.verbs)
    item: JSONObject = {"parameters": in_path}
    if "list" in verbs:
        item["get"] = _operation(resource, "list")
    if "create" in verbs:
        item["post"] = _operation(resource, "create")
    if "deletecollection" in verbs:
        item["delete"] = _operation(resource, "deletecollection")
    yield collection, item
    if resource.namespaced and "list" in verbs:
        yield f"{base}/{resource.gvr.resource}", {"get": _operation(resource, "list")}
    named = {"parameters": [*in_path, _parameter("name", where="path")]}
    operations = {"get": "get", "update": "put", "patch": "patch", "delete": "delete"}
    yield one, named | {method: _operation(resource, verb) for verb, method in operations.items() if verb in verbs}
    if resource.has_status:
        methods = {"get": "get", "update": "put", "patch": "patch"}
        yield f"{one}/status", named | {method: _operation(resource, verb) for verb, method in methods.items()}


_ACTIONS = {"create": "post", "update": "put"}
_WRITES = ("create", "update", "patch")


def _operation(resource: Resource, verb: str) -> JSONObject:
    parameters: list[JSONObject] = []
    if verb in _WRITES:
        parameters = [_parameter(name) for name in ("dryRun", "fieldManager", "fieldValidation")]
    if verb == "patch":
        parameters.append(_parameter("force", kind="boolean"))
    if verb in ("list", "deletecollection"):
        names = ("continue", "fieldSelector", "labelSelector", "resourceVersion", "resourceVersionMatch")
        parameters = [*(_parameter(n) for n in names), _parameter("limit", kind="integer"), _parameter("timeoutSeconds", kind="integer")]
    if verb == "list":
        parameters += [_parameter(n, kind="boolean") for n in ("watch", "allowWatchBookmarks", "sendInitialEvents")]
    found: JSONObject = {
        "operationId": f"{verb}_{resource.gvr.group}_{resource.gvr.version}_{resource.gvr.resource}".replace(".", "_"),
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": _ACTIONS.get(verb, verb),
        _GVK: _gvk_object(resource.gvk),
    }
    if verb in _WRITES:
        types = supported_patches(resource) if verb == "patch" else ("application/json", "application/yaml")
        body = {"type": "object"}
        found["requestBody"] = {"required": True, "content": {t: {"schema": body} for t in types}}
    return found


def _parameter(name: str, *, where: str = "query", kind: str = "string") -> JSONObject:
    found: JSONObject = {"name": name, "in": where, "schema": {"type": kind}}
    return found | {"required": True} if where == "path" else found
