"""URLs and methods as verbs on resources."""

from __future__ import annotations

import pytest

from kcp.apiserver.requestinfo import parse


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/namespaces/a/pods", {}, ("list", "", "v1", "pods", "a", "", "")),
        ("GET", "/api/v1/namespaces/a/pods/", {}, ("list", "", "v1", "pods", "a", "", "")),
        ("GET", "/api/v1/pods", {"watch": "1"}, ("watch", "", "v1", "pods", "", "", "")),
        ("GET", "/api/v1/pods", {"watch": "false"}, ("list", "", "v1", "pods", "", "", "")),
        ("GET", "/api/v1/watch/namespaces/a/pods/p", {}, ("watch", "", "v1", "pods", "a", "p", "")),
        ("HEAD", "/api/v1/namespaces/a/pods/p", {}, ("get", "", "v1", "pods", "a", "p", "")),
        ("GET", "/api/v1/namespaces/a/pods/p/log", {"watch": "1"}, ("get", "", "v1", "pods", "a", "p", "log")),
        ("POST", "/api/v1/namespaces/a/pods/p/binding", {}, ("create", "", "v1", "pods", "a", "p", "binding")),
        ("GET", "/api/v1/namespaces", {}, ("list", "", "v1", "namespaces", "", "", "")),
        ("GET", "/api/v1/namespaces/a", {}, ("get", "", "v1", "namespaces", "a", "a", "")),
        ("PUT", "/api/v1/namespaces/a/finalize", {}, ("update", "", "v1", "namespaces", "a", "a", "finalize")),
        ("PATCH", "/api/v1/namespaces/a/status", {}, ("patch", "", "v1", "namespaces", "a", "a", "status")),
        ("DELETE", "/apis/apps/v1/namespaces/a/deployments", {}, ("deletecollection", "apps", "v1", "deployments", "a", "", "")),
        ("DELETE", "/apis/apps/v1/namespaces/a/deployments/d", {}, ("delete", "apps", "v1", "deployments", "a", "d", "")),
        ("GET", "/apis/apps/v1/deployments", {"fieldSelector": "metadata.name=x"}, ("list", "apps", "v1", "deployments", "", "x", "")),
        ("GET", "/apis/g/v1/widgets:abc", {}, ("list", "g", "v1", "widgets:abc", "", "", "")),
    ],
)
def test_resource_paths(method: str, path: str, query: dict[str, str], expected: tuple[str, ...]) -> None:
    info = parse(method, path, query)
    assert info.is_resource
    assert (info.verb, info.group, info.version, info.resource, info.namespace, info.name, info.subresource) == expected


@pytest.mark.parametrize("path", ["/", "/api", "/api/", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/apis/apps/v1/", "/healthz/x"])
def test_other_paths_are_no_resources(path: str) -> None:
    info = parse("GET", path, {})
    assert (info.is_resource, info.verb, info.path) == (False, "get", path)


@pytest.mark.parametrize(
    ("path", "cluster", "rest"),
    [
        ("/clusters/root:a/api/v1/pods", "root:a", "/api/v1/pods"),
        ("/clusters/*/apis/apps/v1/deployments", "*", "/apis/apps/v1/deployments"),
        ("/clusters/root", "root", "/"),
        ("/clusters/root/version", "root", "/version"),
        ("/clusters/a/clusters/b/api/v1/pods", "a", "/clusters/b/api/v1/pods"),
        ("/clusters", "", "/clusters"),
    ],
)
def test_the_cluster_is_taken_off_the_path(path: str, cluster: str, rest: str) -> None:
    info = parse("GET", path, {})
    assert (info.cluster_path, info.path) == (cluster, rest)
