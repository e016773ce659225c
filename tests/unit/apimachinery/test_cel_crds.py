"""The rules of real CRDs: every one compiles, none is too expensive, and they tell good objects from bad ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kcp.apimachinery.cel.rulecheck import rule_faults
from kcp.apimachinery.cel.rules import all_rules, compile_rules, validate
from kcp.apimachinery.schema.structural import compile_schema
from kcp.apiserver.yamlbody import load

_CRDS = Path(__file__).parents[4] / "shared" / "data" / "crds"
needs_crds = pytest.mark.skipif(not _CRDS.is_dir(), reason=f"the CRDs of other projects are not in {_CRDS}")


def schemas(project: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((_CRDS / project).rglob("*.yaml")):
        for document in path.read_bytes().split(b"\n---\n"):
            if b"x-kubernetes-validations" not in document:
                continue
            crd, _ = load(document)
            for version in crd["spec"]["versions"]:
                yield f"{crd['metadata']['name']}/{version['name']}", version["schema"]["openAPIV3Schema"]


@needs_crds
@pytest.mark.parametrize("project", ["argo-cd", "cert-manager", "crossplane", "gateway-api", "prometheus-operator"])
def test_all_rules_of_a_project_compile_within_their_cost(project: str) -> None:
    for name, openapi in schemas(project):
        assert rule_faults(openapi, name) == []
        found = compile_rules(compile_schema(openapi))
        assert found is not None or "x-kubernetes-validations" not in str(openapi)
        assert [rule.error or rule.message_error for rule in (all_rules(found) if found else ()) if rule.error or rule.message_error] == []


def gateway_api(name: str) -> Callable[[dict[str, Any]], list[str]]:
    """What the rules of a kind say about an object, once it has its defaults."""
    schema = compile_schema(next(openapi for held, openapi in schemas("gateway-api") if held == name))
    rules = compile_rules(schema)
    assert rules is not None

    def faults(obj: dict[str, Any]) -> list[str]:
        schema.default(obj)
        return [str(cause) for cause in validate(rules, obj, None).causes]

    return faults


@needs_crds
def test_gateway_listeners_must_differ() -> None:
    judge = gateway_api("gateways.gateway.networking.k8s.io/v1")
    listener = {"name": "http", "port": 80, "protocol": "HTTP", "hostname": "a.example.com"}

    def faults(*listeners: dict[str, Any]) -> list[str]:
        held = [dict(listener) for listener in listeners]
        return judge({"metadata": {"name": "g"}, "spec": {"gatewayClassName": "c", "listeners": held}})

    assert faults(listener, {**listener, "name": "other", "port": 81}) == []
    assert faults(listener, listener) == [
        "spec.listeners: Invalid value: Listener name must be unique within the Gateway",
        "spec.listeners: Invalid value: Combination of port, protocol and hostname must be unique for each listener",
    ]
    assert faults({**listener, "protocol": "TCP"}) == [
        "spec.listeners: Invalid value: hostname must not be specified for protocols ['TCP', 'UDP']"
    ]


@needs_crds
def test_http_route_filters_fit_their_type() -> None:
    judge = gateway_api("httproutes.gateway.networking.k8s.io/v1")

    def faults(rule: dict[str, Any]) -> list[str]:
        return judge({"metadata": {"name": "r"}, "spec": {"parentRefs": [{"name": "g"}], "rules": [rule]}})

    assert faults({"matches": [{"path": {"type": "PathPrefix", "value": "/ok"}}]}) == []
    assert faults({"filters": [{"type": "RequestRedirect", "requestMirror": {"backendRef": {"name": "b", "port": 80}}}]}) != []
    assert any("must not contain '//'" in text for text in faults({"matches": [{"path": {"type": "PathPrefix", "value": "/a//b"}}]}))
