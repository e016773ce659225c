"""OpenAPI v2 (Swagger) made of v3: for clients from before v3, such as Helm's validation, and client-go where v3 does not know a kind.

What v2 has no words for is left out rather than said wrongly.
Before: `openapi`. Source: apiextensions-apiserver/pkg/controller/openapi/v2/conversion.go; kube-openapi pkg/openapiconv.
"""

from __future__ import annotations

from typing import Any

from kcp.apimachinery.meta import JSONObject

_COMPONENTS, _DEFINITIONS = "#/components/schemas/", "#/definitions/"
_UNSAYABLE = frozenset(("oneOf", "anyOf", "not", "nullable", "default", "x-kubernetes-validations"))
_SHAPE = ("type", "properties", "items", "additionalProperties", "required")
_INT_OR_STRING = "x-kubernetes-int-or-string"
_KEEPS_ALL = "x-kubernetes-preserve-unknown-fields"


def to_v2(document: JSONObject) -> JSONObject:
    """A whole document; parts of the argument are shared."""
    definitions = {name: _root(schema) for name, schema in document["components"]["schemas"].items()}
    paths = {path: _item(item) for path, item in document["paths"].items()}
    return {"swagger": "2.0", "info": document["info"], "paths": paths, "definitions": definitions}


# --- schemas ---


def _root(schema: JSONObject) -> JSONObject:
    """A kind itself is an object, even where everything in it is kept."""
    made: JSONObject = _schema(schema)
    if schema.get(_KEEPS_ALL) and "x-kubernetes-group-version-kind" in schema:
        made = {key: value for key, value in made.items() if key != _KEEPS_ALL} | {"type": "object"}
    return made


def _schema(node: Any) -> Any:
    if isinstance(node, list):
        return [_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "int-or-string":
        return {**_without(node, (*_SHAPE, "oneOf", _INT_OR_STRING)), "type": "string"}
    if node.get(_INT_OR_STRING):
        return {key: node[key] for key in ("description", _INT_OR_STRING) if key in node}
    if node.get("nullable") or node.get(_KEEPS_ALL):
        node = _without(node, _SHAPE)
    if set(node) <= {"description", "oneOf"} and "oneOf" in node:  # a Quantity
        return _without(node, ("oneOf",)) | {"type": "string"}
    made: JSONObject = {}
    for key, value in node.items():
        if key == "$ref":
            made[key] = _reference(value)
        elif key == "allOf" and len(value) == 1 and "$ref" in value[0]:
            made["$ref"] = _reference(value[0]["$ref"])
        elif key == "properties":
            made[key] = {name: _schema(inner) for name, inner in value.items()}
        elif key not in _UNSAYABLE and key != "allOf":
            made[key] = _schema(value) if key in ("items", "additionalProperties") else value
    return made


def _without(node: JSONObject, parts: tuple[str, ...]) -> JSONObject:
    return {key: value for key, value in node.items() if key not in parts}


def _reference(text: str) -> str:
    return _DEFINITIONS + text.removeprefix(_COMPONENTS)


# --- paths ---


def _item(item: JSONObject) -> JSONObject:
    return {key: _parameters(value) if key == "parameters" else _operation(value) for key, value in item.items()}


def _parameters(parameters: list[JSONObject]) -> list[JSONObject]:
    return [_without(parameter, ("schema",)) | parameter["schema"] for parameter in parameters]


def _operation(operation: JSONObject) -> JSONObject:
    body = operation.get("requestBody")
    parameters = _parameters(operation.get("parameters") or [])
    consumes = ["application/json", "application/yaml"]
    if body is not None:
        consumes = list(body["content"])
        sent = {"name": "body", "in": "body", "schema": _schema(body["content"][consumes[0]]["schema"])}
        parameters = [sent | ({"required": True} if body.get("required") else {}), *parameters]
    found: JSONObject = next((r["content"] for r in operation["responses"].values() if r.get("content")), {})
    return {
        **_without(operation, ("requestBody", "parameters", "responses")),
        "consumes": consumes,
        "produces": list(found),
        "schemes": ["https"],
        **({"parameters": parameters} if parameters else {}),
        "responses": {code: _response(response) for code, response in operation["responses"].items()},
    }


def _response(response: JSONObject) -> JSONObject:
    content = response.get("content")
    made = {"description": response["description"]}
    return made | {"schema": _schema(next(iter(content.values()))["schema"])} if content else made
