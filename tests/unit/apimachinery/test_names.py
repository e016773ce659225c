"""Names, label keys and values, ports: what is legal and which words say what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kcp.apimachinery import names


@pytest.mark.parametrize(
    ("rule", "legal", "illegal"),
    [
        (names.dns1123_subdomain, ["a", "web-1.example.com", "1a"], ["", "Web", "-a", "a-", "a..b", "a_b", "a" * 254]),
        (names.dns1123_label, ["a", "web-1"], ["", "a.b", "A", "a" * 64]),
        (names.dns1035_label, ["a", "web-1"], ["1a", "a.b", "a-"]),
        (names.qualified_name, ["app", "example.com/app", "A_b.c-D"], ["", "/app", "example.com/", "a/b/c", "a b", "Example.com/app"]),
        (names.label_value, ["", "a", "A_b.c-9"], ["-a", "a b", "a" * 64]),
        (names.path_segment, ["system:masters", "a b"], [".", "..", "a/b", "50%"]),
        (names.env_name, ["PATH", "my.env-name", "_x", "1A", "a b"], ["a=b", "ä", "a\n"]),
        (names.config_map_key, ["key", ".hidden", "a_b-c.d"], ["", ".", "..", "..a", "a/b"]),
        (names.port_name, ["http", "a-1"], ["", "http-port-too-long", "80", "a--b", "-a", "HTTP"]),
    ],
)
def test_rule_tells_legal_names_from_others(rule: Callable[[str], list[str]], legal: list[str], illegal: list[str]) -> None:
    assert [name for name in legal if rule(name)] == []
    assert [name for name in illegal if not rule(name)] == []


def test_the_texts_are_upstreams() -> None:
    assert names.dns1123_subdomain("A") == [
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
        "alphanumeric character (e.g. 'example.com', regex used for validation is "
        r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    ]
    assert names.port_name("80") == ["must contain at least one letter (a-z)"]
