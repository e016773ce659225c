"""Names that kcp 0.11's own syncer must agree with. Vectors: reference/kcp.md §4.1."""

from __future__ import annotations

import pytest

from kcp.apimachinery.keys import ClusterName
from kcp.tmc.model.names import NamespaceLocator, sync_target_key

LOCATOR = NamespaceLocator(
    ClusterName("2lpvmbh5xyj8ljfs"), "east", "0e5c1c3c-6f1b-4c8a-9a53-0d7a3c0b9a11", ClusterName("1abcdefghij23456"), "default"
)


def test_key_of_a_sync_target() -> None:
    assert sync_target_key(ClusterName("2lpvmbh5xyj8ljfs"), "east") == "1A98M1rPFH8lPZW1Bb0QZAzG5rpRf1tO0dyVDN"
    assert sync_target_key(ClusterName("root"), "us-west-1") == "7KZT6Wj3gT4HxVS6pMnIbk9MITS04SRrkuUgcu"


def test_name_of_a_downstream_namespace() -> None:
    assert LOCATOR.downstream_namespace == "kcp-2r3jppfx03ol"


def test_a_locator_survives_its_annotation() -> None:
    assert NamespaceLocator.from_json(LOCATOR.to_json()) == LOCATOR


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"syncTarget":{}}'])
def test_anything_else_is_not_a_locator(text: str) -> None:
    with pytest.raises(ValueError, match=r"locator|Expecting"):
        NamespaceLocator.from_json(text)
