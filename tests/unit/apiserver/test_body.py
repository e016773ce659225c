"""What a body says of itself, compared with where it was sent."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.errors import Invalid
from kcp.apimachinery.gvk import GVK
from kcp.apiserver.body import _check_custom_kind


@pytest.mark.parametrize("metadata", ["text", None, 1, [], {}, {"name": None}, {"name": "a"}])
def test_a_custom_object_of_another_kind_is_invalid_whatever_its_metadata_are(metadata: Any) -> None:
    obj = {"apiVersion": "x.io/v1", "kind": "Other", "metadata": metadata}
    with pytest.raises(Invalid, match="must be Thing") as refused:
        _check_custom_kind(obj, GVK("x.io", "v1", "Thing"))
    assert refused.value.name == ("a" if metadata == {"name": "a"} else "")
