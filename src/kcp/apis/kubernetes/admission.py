"""Defaults and rules of what configures admission: policies, their bindings, webhooks.

CEL is imported when there is an expression to check.
Before: `rules`. After: `apimachinery.cel.admission`.
Source: k8s.io/kubernetes/pkg/apis/admissionregistration/{v1/defaults.go,validation/validation.go}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at
from kcp.apis.kubernetes.pod_defaults import child, fill, objects

if TYPE_CHECKING:
    from kcp.apimachinery.cel.admission import Kind

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_ACTIONS = ("Audit", "Deny", "Warn")
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*", re.ASCII)
_LONGEST_TIMEOUT_S = 30


# --- defaults ---


def _match(holder: JSONObject, field: str) -> None:
    if (match := child(holder, field)) is not None:
        fill(match, matchPolicy="Equivalent", namespaceSelector={}, objectSelector={})
        for rule in (*objects(match, "resourceRules"), *objects(match, "excludeResourceRules")):
            fill(rule, scope="*")


def policy(obj: JSONObject) -> None:
    if (spec := child(obj, "spec")) is not None:
        fill(spec, failurePolicy="Fail")
        _match(spec, "matchConstraints")


def binding(obj: JSONObject) -> None:
    if (spec := child(obj, "spec")) is not None:
        _match(spec, "matchResources")


def _webhook(webhook: JSONObject) -> None:
    fill(webhook, failurePolicy="Fail", matchPolicy="Equivalent", namespaceSelector={}, objectSelector={}, timeoutSeconds=10)
    for rule in objects(webhook, "rules"):
        fill(rule, scope="*")
    if reference := child(webhook, "clientConfig", "service"):
        fill(reference, port=443)


def validating_webhooks(obj: JSONObject) -> None:
    for webhook in objects(obj, "webhooks"):
        _webhook(webhook)


def mutating_webhooks(obj: JSONObject) -> None:
    for webhook in objects(obj, "webhooks"):
        _webhook(webhook)
        fill(webhook, reinvocationPolicy="Never")


# --- policies ---


def validating_policy(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    return [*_policy(spec, makes_objects=False), *_validations(spec), *_audit_annotations(spec)]


def mutating_policy(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    causes = [*_policy(spec, makes_objects=True), *checks.one_of(spec, "spec", "reinvocationPolicy", ("IfNeeded", "Never"))]
    if not spec.get("reinvocationPolicy"):
        causes.append(Cause.required("spec.reinvocationPolicy"))
    return [*causes, *_mutations(spec)]


def _policy(spec: Mapping[str, Any], *, makes_objects: bool) -> Iterator[Cause]:
    yield from checks.one_of(spec, "spec", "failurePolicy", ("Fail", "Ignore"))
    if spec.get("paramKind") is not None:
        yield from checks.required(obj_at(spec, "paramKind"), "spec.paramKind", "apiVersion", "kind")
    if spec.get("matchConstraints") is None:
        yield Cause.required("spec.matchConstraints")
    else:
        yield from _match_faults(obj_at(spec, "matchConstraints"), "spec.matchConstraints", needs_rules=True)
    kind = _kind(spec, makes_objects=makes_objects)
    yield from _conditions(spec, "spec", kind)
    yield from _variables(spec, kind)


def _kind(spec: Mapping[str, Any], *, makes_objects: bool) -> Kind:
    from kcp.apimachinery.cel.admission import Kind

    return Kind(has_params=bool(spec.get("paramKind")), makes_objects=makes_objects)


def _match_faults(match: Mapping[str, Any], at: str, *, needs_rules: bool) -> Iterator[Cause]:
    yield from checks.one_of(match, at, "matchPolicy", ("Equivalent", "Exact"))
    for field in ("namespaceSelector", "objectSelector"):
        if match.get(field) is not None:
            yield from checks.selector(match[field], f"{at}.{field}")
    if needs_rules and not list_at(match, "resourceRules"):
        yield Cause.required(f"{at}.resourceRules")
    for field in ("resourceRules", "excludeResourceRules"):
        for path, rule in numbered(match, field, f"{at}.{field}"):
            yield from _rule(rule, path)


def _rule(rule: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for field in ("operations", "apiGroups", "apiVersions", "resources"):
        held = list_at(rule, field)
        if not held:
            yield Cause.required(f"{at}.{field}")
        elif "*" in held and len(held) > 1 and field != "resources":
            noun = {"apiGroups": "group", "apiVersions": "version", "operations": "operation"}[field]
            yield Cause.invalid(f"{at}.{field}", held, f"if '*' is present, must not specify other {_plural(noun)}")
    for index, operation in enumerate(list_at(rule, "operations")):
        if operation not in _OPERATIONS:
            yield Cause.not_supported(f"{at}.operations[{index}]", operation, _OPERATIONS)
    for index, version in enumerate(list_at(rule, "apiVersions")):
        if version == "":
            yield Cause.required(f"{at}.apiVersions[{index}]")
    yield from checks.one_of(rule, at, "scope", ("*", "Cluster", "Namespaced"))


def _plural(noun: str) -> str:
    return {"group": "API groups", "version": "API versions"}.get(noun, "operations")


def _conditions(holder: Mapping[str, Any], at: str, kind: Kind) -> Iterator[Cause]:
    seen: set[str] = set()
    for path, condition in numbered(holder, "matchConditions", f"{at}.matchConditions"):
        name = str(condition.get("name") or "")
        if not name:
            yield Cause.required(f"{path}.name")
        else:
            yield from checks.named(name, f"{path}.name", names.qualified_name)
        if name in seen:
            yield Cause.duplicate(f"{path}.name", name)
        seen.add(name)
        yield from _expression(condition.get("expression"), f"{path}.expression", kind, (), ("bool",), missing="")


def _variables(spec: Mapping[str, Any], kind: Kind) -> Iterator[Cause]:
    known: list[tuple[str, str]] = []
    for path, variable in numbered(spec, "variables", "spec.variables"):
        name, text = str(variable.get("name") or ""), variable.get("expression")
        if not name.strip():
            yield Cause.required(f"{path}.name", "name is not specified")
        elif not _IDENTIFIER.fullmatch(name):
            yield Cause.invalid(f"{path}.name", name, "name is not a valid CEL identifier")
        if name in {held for held, _ in known}:
            yield Cause.duplicate(f"{path}.name", name)
        yield from _expression(text, f"{path}.expression", kind, known, ())
        known.append((name, str(text or "")))


def _known_variables(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    held = (v for v in list_at(spec, "variables") if isinstance(v, Mapping))
    return [(str(v.get("name") or ""), str(v.get("expression") or "")) for v in held]


def _expression(
    text: Any,
    at: str,
    kind: Kind,
    variables: Sequence[tuple[str, str]],
    result: Sequence[str],
    *,
    missing: str = "expression is not specified",
) -> Iterator[Cause]:
    if not isinstance(text, str) or not text.strip():
        yield Cause.required(at, missing) if missing else Cause.required(at)
        return
    from kcp.apimachinery.cel.admission import compile_in

    compiled = compile_in(kind, variables, text, result)
    if compiled.program is None:
        yield Cause.invalid(at, text, compiled.error)


def _validations(spec: Mapping[str, Any]) -> Iterator[Cause]:
    if not list_at(spec, "validations") and not list_at(spec, "auditAnnotations"):
        yield Cause.required("spec.validations", "validations or auditAnnotations must contain at least one item")
    kind, variables = _kind(spec, makes_objects=False), _known_variables(spec)
    for path, validation in numbered(spec, "validations", "spec.validations"):
        text, message = validation.get("expression"), str(validation.get("message") or "")
        yield from _expression(text, f"{path}.expression", kind, variables, ("bool",))
        if message and not message.strip():
            yield Cause.invalid(f"{path}.message", message, "message must be non-empty if specified")
        elif _has_breaks(message.strip()):
            yield Cause.invalid(f"{path}.message", message, "message must not contain line breaks")
        elif isinstance(text, str) and _has_breaks(text.strip()) and not message:
            yield Cause.required(f"{path}.message", "message must be specified if expression contains line breaks")
        if validation.get("messageExpression"):
            without = _kind_of_messages(kind)
            yield from _expression(validation["messageExpression"], f"{path}.messageExpression", without, variables, ("string",))
        yield from checks.one_of(validation, path, "reason", _REASONS)


def _kind_of_messages(kind: Kind) -> Kind:
    from kcp.apimachinery.cel.admission import Kind

    return Kind(has_params=kind.has_params, has_authorizer=False)


def _audit_annotations(spec: Mapping[str, Any]) -> Iterator[Cause]:
    kind, variables = _kind(spec, makes_objects=False), _known_variables(spec)
    for path, annotation in numbered(spec, "auditAnnotations", "spec.auditAnnotations"):
        if not annotation.get("key"):
            yield Cause.required(f"{path}.key")
        yield from _expression(annotation.get("valueExpression"), f"{path}.valueExpression", kind, variables, ("string", "null"))


def _has_breaks(text: str) -> bool:
    return "\n" in text or "\r" in text


def _mutations(spec: Mapping[str, Any]) -> Iterator[Cause]:
    if not list_at(spec, "mutations"):
        yield Cause.required("spec.mutations", "mutations must contain at least one item")
    kind, variables = _kind(spec, makes_objects=True), _known_variables(spec)
    for path, mutation in numbered(spec, "mutations", "spec.mutations"):
        match mutation.get("patchType"):
            case "ApplyConfiguration":
                held, field, result = obj_at(mutation, "applyConfiguration"), f"{path}.applyConfiguration", ("object",)
            case "JSONPatch":
                held, field, result = obj_at(mutation, "jsonPatch"), f"{path}.jsonPatch", ("list",)
            case None | "":
                yield Cause.required(f"{path}.patchType")
                continue
            case other:
                yield Cause.not_supported(f"{path}.patchType", other, ("ApplyConfiguration", "JSONPatch"))
                continue
        yield from _expression(held.get("expression"), f"{field}.expression", kind, variables, result)


# --- bindings ---


def validating_binding(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    actions = list_at(spec, "validationActions")
    causes = list(_binding(spec))
    if not actions:
        causes.append(Cause.required("spec.validationActions", "at least one validation action is required"))
    for index, action in enumerate(actions):
        if action not in _ACTIONS:
            causes.append(Cause.not_supported(f"spec.validationActions[{index}]", action, _ACTIONS))
        elif action in actions[:index]:
            causes.append(Cause.duplicate(f"spec.validationActions[{index}]", action))
    if "Deny" in actions and "Warn" in actions:
        detail = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers "
            "serves no purpose)"
        )
        causes.append(Cause.invalid("spec.validationActions", actions, detail))
    return causes


def mutating_binding(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    return list(_binding(obj_at(new, "spec")))


def _binding(spec: Mapping[str, Any]) -> Iterator[Cause]:
    if not spec.get("policyName"):
        yield Cause.required("spec.policyName")
    else:
        yield from checks.named(spec["policyName"], "spec.policyName", names.dns1123_subdomain)
    if spec.get("matchResources") is not None:
        yield from _match_faults(obj_at(spec, "matchResources"), "spec.matchResources", needs_rules=False)
    if spec.get("paramRef") is None:
        return
    ref = obj_at(spec, "paramRef")
    name, selector = ref.get("name"), ref.get("selector")
    if name and selector is not None:
        yield Cause.forbidden("spec.paramRef.name", "name and selector are mutually exclusive")
    elif not name and selector is None:
        yield Cause.required("spec.paramRef", "one of name or selector must be specified")
    if not ref.get("parameterNotFoundAction"):
        yield Cause.required("spec.paramRef.parameterNotFoundAction")
    yield from checks.one_of(ref, "spec.paramRef", "parameterNotFoundAction", ("Allow", "Deny"))


# --- webhooks ---


def validating_configuration(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    return list(_webhooks(new, is_mutating=False))


def mutating_configuration(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    return list(_webhooks(new, is_mutating=True))


def _webhooks(obj: JSONObject, *, is_mutating: bool) -> Iterator[Cause]:
    seen: set[str] = set()
    for path, webhook in numbered(obj, "webhooks", "webhooks"):
        name = str(webhook.get("name") or "")
        if name.count(".") < 2:
            yield Cause.invalid(f"{path}.name", name, "should be a domain with at least three segments separated by dots")
        else:
            yield from checks.named(name, f"{path}.name", names.dns1123_subdomain)
        if name in seen:
            yield Cause.duplicate(f"{path}.name", name)
        seen.add(name)
        yield from _webhook_faults(webhook, path)
        if is_mutating:
            yield from checks.one_of(webhook, path, "reinvocationPolicy", ("IfNeeded", "Never"))


def _webhook_faults(webhook: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for path, rule in numbered(webhook, "rules", f"{at}.rules"):
        yield from _rule(rule, path)
    yield from checks.one_of(webhook, at, "failurePolicy", ("Fail", "Ignore"))
    yield from checks.one_of(webhook, at, "matchPolicy", ("Equivalent", "Exact"))
    if not webhook.get("sideEffects"):
        yield Cause.required(f"{at}.sideEffects", "must specify one of None, NoneOnDryRun")
    yield from checks.one_of(webhook, at, "sideEffects", ("None", "NoneOnDryRun"))
    timeout = webhook.get("timeoutSeconds")
    if checks.is_int(timeout) and not 1 <= timeout <= _LONGEST_TIMEOUT_S:
        yield Cause.invalid(f"{at}.timeoutSeconds", timeout, "the timeout value must be between 1 and 30 seconds")
    versions = list_at(webhook, "admissionReviewVersions")
    if not versions:
        yield Cause.required(f"{at}.admissionReviewVersions", "must specify one of v1, v1beta1")
    elif "v1" not in versions:
        yield Cause.invalid(f"{at}.admissionReviewVersions", versions, "must include at least one of v1, v1beta1")
    for field in ("namespaceSelector", "objectSelector"):
        if webhook.get(field) is not None:
            yield from checks.selector(webhook[field], f"{at}.{field}")
    yield from client_config(obj_at(webhook, "clientConfig"), f"{at}.clientConfig")
    if list_at(webhook, "matchConditions"):
        from kcp.apimachinery.cel.admission import Kind

        yield from _conditions(webhook, at, Kind())


def client_config(client: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """Where a webhook is. Source: k8s.io/apiserver/pkg/util/webhook/validation.go."""
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        yield Cause.required(at, "exactly one of url or service is required")
    elif url is not None:
        yield from _url(str(url), f"{at}.url")
    else:
        yield from _service(obj_at(client, "service"), f"{at}.service")


def _service(service: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for part in ("name", "namespace"):
        if not service.get(part):
            yield Cause.required(f"{at}.{part}", f"service {part} is required")
    port = service.get("port")
    if checks.is_int(port) and not 1 <= port <= 65535:
        yield Cause.invalid(f"{at}.port", port, "port is not valid: must be between 1 and 65535, inclusive")
    path = service.get("path")
    if isinstance(path, str):
        yield from _service_path(path, f"{at}.path")


def _service_path(path: str, at: str) -> Iterator[Cause]:
    if not path.startswith("/"):
        yield Cause.invalid(at, path, "must start with a '/'")
    if "?" in path or "#" in path or path in ("", "/"):
        return
    for index, step in enumerate(path.strip("/").split("/") if path.endswith("/") else path.removeprefix("/").split("/")):
        if not step:
            yield Cause.invalid(at, path, f"segment[{index}] may not be empty")
        else:
            yield from (Cause.invalid(at, path, f"segment[{index}]: {fault}") for fault in names.dns1123_subdomain(step))


def _url(url: str, at: str) -> Iterator[Cause]:
    form = "; desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        yield Cause.required(at, f"url must be a valid URL: {error}{form}")
        return
    if parts.scheme != "https":
        yield Cause.invalid(at, parts.scheme, f"'https' is the only allowed URL scheme{form}")
    if not parts.hostname:
        yield Cause.invalid(at, parts.netloc, f"host must be specified{form}")
    if parts.username is not None:
        yield Cause.invalid(at, parts.username, "user information is not permitted in the URL")
    if parts.fragment:
        yield Cause.invalid(at, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        yield Cause.invalid(at, parts.query, "query parameters are not permitted in the URL")
