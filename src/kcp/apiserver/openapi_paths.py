"""The `paths` of OpenAPI documents: each URL of a resource with its operations, named as kube-apiserver names them.

Client generators make a method of each operationId; `kubectl` looks for `fieldValidation` and `dryRun` among the parameters of PATCH.
Before: `openapi`. After: `discovery.subresources_of`, `handlers.patch.supported_patches`.
Source: k8s.io/apiserver/pkg/endpoints/{installer.go,openapi/openapi.go}, apiextensions-apiserver/pkg/controller/openapi/builder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.discovery import subresources_of
from kcp.apiserver.handlers.patch import supported_patches
from kcp.registry.resource import Origin, Resource

PREFIX = "#/components/schemas/"
GVK_EXTENSION = "x-kubernetes-group-version-kind"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
SUBRESOURCE_COMPONENTS = {
    GVK("autoscaling", "v1", "Scale"): "io.k8s.api.autoscaling.v1.Scale",
    GVK("authentication.k8s.io", "v1", "TokenRequest"): "io.k8s.api.authentication.v1.TokenRequest",
    GVK("policy", "v1", "Eviction"): "io.k8s.api.policy.v1.Eviction",
    GVK("", "v1", "Binding"): "io.k8s.api.core.v1.Binding",
}
"""Kinds that subresources have of their own."""

_TEXT_TYPES = ("application/json", "application/yaml")
_PROTOBUF = "application/vnd.kubernetes.protobuf"
_STREAMS = ("application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
_PARAMETERS: dict[str, tuple[str, str]] = {
    "allowWatchBookmarks": ("boolean", "Ask for events of type BOOKMARK in a watch."),
    "continue": ("string", "The token of the last page of a list: where to go on."),
    "dryRun": ("string", "`All`: every check is made, nothing is stored."),
    "fieldManager": ("string", "The name of who makes the change, at most 128 printable characters; needed by apply."),
    "fieldSelector": ("string", "A selector on fields, to restrict the list of returned objects."),
    "fieldValidation": ("string", "What to do about unknown and duplicate fields: `Ignore`, `Warn` or `Strict`."),
    "force": ("boolean", "Let an apply take over fields that others own."),
    "gracePeriodSeconds": ("integer", "Seconds before the object goes; 0 at once."),
    "labelSelector": ("string", "A selector on labels, to restrict the list of returned objects."),
    "limit": ("integer", "The most items that one page of a list may have."),
    "name": ("string", "name of the {kind}"),
    "namespace": ("string", "object name and auth scope, such as for teams and projects"),
    "orphanDependents": ("boolean", "Deprecated: use propagationPolicy."),
    "pretty": ("string", "`true`: indent the answer."),
    "propagationPolicy": ("string", "What becomes of dependents: `Orphan`, `Background` or `Foreground`."),
    "resourceVersion": ("string", "Which version the answer may be made from."),
    "resourceVersionMatch": ("string", "How resourceVersion is meant: `Exact` or `NotOlderThan`."),
    "sendInitialEvents": ("boolean", "Begin a watch with the present state."),
    "timeoutSeconds": ("integer", "Ends a list or watch."),
    "watch": ("boolean", "Watch for changes to the described resources: the answer is a stream of events."),
}
_OF_LISTS = (
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch",
    "sendInitialEvents", "timeoutSeconds", "watch",
)  # fmt: skip
_OF_WRITES = ("dryRun", "fieldManager", "fieldValidation")
_OF_DELETES = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")

_OF_COLLECTION_DELETES = (*_OF_DELETES, *_OF_LISTS[1:-1])


@dataclass(frozen=True, slots=True)
class _Verb:
    """How one verb looks in a document."""

    method: str
    action: str
    prefix: str
    says: str
    parameters: tuple[str, ...] = ()
    codes: tuple[int, ...] = (200,)


_VERBS = {
    "list": _Verb("get", "list", "list", "list objects of kind {kind}", _OF_LISTS),
    "create": _Verb("post", "post", "create", "create {part}", _OF_WRITES, (200, 201, 202)),
    "deletecollection": _Verb("delete", "deletecollection", "delete", "delete collection of {kind}", _OF_COLLECTION_DELETES),
    "get": _Verb("get", "get", "read", "read {part}"),
    "update": _Verb("put", "put", "replace", "replace {part}", _OF_WRITES, (200, 201)),
    "patch": _Verb("patch", "patch", "patch", "partially update {part}", (*_OF_WRITES, "force"), (200, 201)),
    "delete": _Verb("delete", "delete", "delete", "delete a {kind}", _OF_DELETES, (200, 202)),
}  # fmt: skip
_TEXT_OF = {200: "OK", 201: "Created", 202: "Accepted"}


def api_path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def paths_of(resource: Resource, component: str, list_component: str) -> Iterator[tuple[str, JSONObject]]:
    """The collections, the object and the subresources of one resource.

    Args: component, list_component names of the schemas of the kind and of its list.
    """
    base = f"/{api_path(resource.gvr.group, resource.gvr.version)}"
    collection = f"{base}/namespaces/{{namespace}}/{resource.gvr.resource}" if resource.namespaced else f"{base}/{resource.gvr.resource}"
    writer = _Writer(resource, component, list_component)
    in_path = ["namespace"] if resource.namespaced else []
    if operations := writer.operations(("list", "create", "deletecollection")):
        yield collection, writer.item([*in_path], operations)
    if operations := writer.operations(("get", "update", "patch", "delete")):
        yield f"{collection}/{{name}}", writer.item(["name", *in_path], operations)
    for name, gvk, verbs in subresources_of(resource):
        yield f"{collection}/{{name}}/{name}", writer.item(["name", *in_path], writer.of_subresource(name, gvk, verbs))
    if resource.namespaced and "list" in resource.verbs:
        yield f"{base}/{resource.gvr.resource}", writer.item([], {"get": writer.operation("list", everywhere=True)})


class _Writer:
    """Operations of one resource."""

    def __init__(self, resource: Resource, component: str, list_component: str) -> None:
        self._resource = resource
        self._component = component
        self._list_component = list_component
        self._is_builtin = resource.origin is Origin.BUILTIN
        group = (resource.gvr.group or "core").removesuffix(".k8s.io")
        self._tag = f"{identifier(group)}_{identifier(resource.gvr.version)}"
        self._names = identifier(group, upper=True) + identifier(resource.gvr.version, upper=True)

    def item(self, in_path: Sequence[str], operations: JSONObject) -> JSONObject:
        shared = [_parameter(name, kind=self._resource.kind, where="path") for name in in_path]
        return {"parameters": [*shared, _parameter("pretty")], **operations}

    def operations(self, verbs: Sequence[str]) -> JSONObject:
        return {_VERBS[verb].method: self.operation(verb) for verb in verbs if verb in self._resource.verbs}

    def operation(self, verb: str, *, everywhere: bool = False) -> JSONObject:
        kind, word = self._resource.kind, _VERBS[verb]
        scope = "" if everywhere or not self._resource.namespaced else "Namespaced"
        middle = "Collection" if verb == "deletecollection" else ""
        name = f"{word.prefix}{self._names}{middle}{scope}{kind}" + ("ForAllNamespaces" if everywhere else "")
        part = f"a {kind}" if verb == "create" else f"the specified {kind}"
        deleted = self._component if self._resource.strategy.returns_deleted else META + "Status"
        answered = {"list": self._list_component, "delete": deleted, "deletecollection": META + "Status"}.get(verb, self._component)
        made = self._made(verb, name, word.says.format(kind=kind, part=part), answered, self._resource.gvk)
        return made | self._body(verb, self._component)

    def of_subresource(self, name: str, gvk: GVK, verbs: Sequence[str]) -> JSONObject:
        component = SUBRESOURCE_COMPONENTS.get(gvk, self._component)
        scope = "Namespaced" if self._resource.namespaced else ""
        suffix = f"{scope}{self._resource.kind}{identifier(name, upper=True)}"
        found = {}
        for verb in sorted(verbs):
            if (word := _VERBS.get(verb)) is not None:
                part = f"{name} of a {self._resource.kind}" if verb == "create" else f"{name} of the specified {self._resource.kind}"
                says = word.says.format(kind=self._resource.kind, part=part)
                made = self._made(verb, f"{word.prefix}{self._names}{suffix}", says, component, gvk)
                found[word.method] = made | self._body(verb, component)
        return found

    def _made(self, verb: str, name: str, says: str, answered: str, gvk: GVK) -> JSONObject:
        word = _VERBS[verb]
        types = (*_TEXT_TYPES, *((_PROTOBUF,) if self._is_builtin else ()), *(_STREAMS if verb == "list" and self._is_builtin else ()))
        return {
            "tags": [self._tag],
            "description": says,
            "operationId": name,
            **({"parameters": [_parameter(each) for each in word.parameters]} if word.parameters else {}),  # as Go leaves out empty lists
            "responses": response(types, answered, word.codes),
            "x-kubernetes-action": word.action,
            GVK_EXTENSION: {"group": gvk.group, "version": gvk.version, "kind": gvk.kind},
        }

    def _body(self, verb: str, component: str) -> JSONObject:
        if verb == "patch":
            return {"requestBody": {"content": _content(supported_patches(self._resource), META + "Patch"), "required": True}}
        if verb in ("create", "update"):
            types = (*_TEXT_TYPES, _PROTOBUF) if self._is_builtin else _TEXT_TYPES
            return {"requestBody": {"content": _content(types, component), "required": True}}
        if verb in ("delete", "deletecollection"):
            return {"requestBody": {"content": _content(_TEXT_TYPES, META + "DeleteOptions")}}
        return {}


def response(types: Sequence[str], component: str, codes: Sequence[int] = (200,)) -> JSONObject:
    """What an operation answers. Args: component: the name of a schema."""
    content = _content(types, component)
    return {**{str(code): {"description": _TEXT_OF[code], "content": content} for code in codes}, "401": {"description": "Unauthorized"}}


def _content(types: Sequence[str], component: str) -> JSONObject:
    return {each: {"schema": {"$ref": PREFIX + component}} for each in types}


def _parameter(name: str, *, kind: str = "", where: str = "query") -> JSONObject:
    type_, says = _PARAMETERS[name]
    found: JSONObject = {"name": name, "in": where, "description": says.format(kind=kind), "schema": {"type": type_, "uniqueItems": True}}
    return found | {"required": True} if where == "path" else found


def identifier(text: str, *, upper: bool = False) -> str:
    """A group, version or subresource as a part of an operation's name. Source: openapi.go, ToValidOperationID.

    >>> identifier("rbac.authorization"), identifier("rbac.authorization", upper=True)
    ('rbacAuthorization', 'RbacAuthorization')
    """
    first, *others = (part for part in re.split("[^A-Za-z0-9]+", text) if part)
    return (first[:1].upper() + first[1:] if upper else first) + "".join(part[:1].upper() + part[1:] for part in others)
