"""kubectl's JSONPath: fields, escapes, indexes, slices, filters, unions, descent, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery import jsonpath

OBJ: dict[str, Any] = {
    "metadata": {"labels": {"a.b/c": "dotted"}, "name": "web"},
    "spec": {"replicas": 3, "paused": False, "ports": [{"name": "http", "port": 80}, {"name": "tls", "port": 443}]},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Synced", "status": "False"}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.replicas", [3]),
        ("{.spec.replicas}", [3]),
        ("spec.replicas", [3]),
        ("$.spec.replicas", [3]),
        (".spec.absent", []),
        (".spec.replicas.deeper", []),
        (r".metadata.labels.a\.b/c", ["dotted"]),
        (".metadata.labels['a.b/c']", ["dotted"]),
        (".spec.ports[0].name", ["http"]),
        (".spec.ports[-1].port", [443]),
        (".spec.ports[5].port", []),
        (".spec.ports[*].port", [80, 443]),
        (".spec.ports[0:1].port", [80]),
        (".spec.ports[0,1].port", [80, 443]),
        (".spec['replicas','paused']", [3, False]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type != 'Ready')].status", ["False"]),
        (".spec.ports[?(@.port>100)].name", ["tls"]),
        (".spec.ports[?(@.name)].port", [80, 443]),
        ("..port", [80, 443]),
        (".metadata.labels.*", ["dotted"]),
    ],
)
def test_path_finds(path: str, found: list[Any]) -> None:
    assert jsonpath.compile(path)(OBJ) == found


@pytest.mark.parametrize("path", [".spec.ports[", ".spec.ports[x]", ".spec.ports[?(@.port ~ 1)]", ".spec ports", ".spec.ports[-:2]"])
def test_malformed_path_is_refused(path: str) -> None:
    with pytest.raises(jsonpath.JSONPathError):
        jsonpath.compile(path)


def test_a_filter_does_not_compare_text_with_numbers() -> None:
    assert jsonpath.compile(".spec.ports[?(@.name>3)]")(OBJ) == []


def test_only_plain_paths_have_simple_fields() -> None:
    assert jsonpath.simple_fields(r".metadata.labels.a\.b/c") == ("metadata", "labels", "a.b/c")
    assert jsonpath.simple_fields(".spec.ports[0]") is None
