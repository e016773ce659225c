"""Sets of indexes as a Job's status and policies write them."""

from __future__ import annotations

import pytest

from kcp.sim.workloads.jobrules import from_text


@pytest.mark.parametrize(
    ("text", "found"),
    [("0-2,5,9", {0, 1, 2, 5}), ("", set()), ("²,1", {1}), ("9" * 5000, set()), ("x-2,-1,3-", {3}), ("0-" + "9" * 10, set(range(8)))],
)
def test_indexes_that_are_none_are_left_out(text: str, found: set[int]) -> None:
    """A status is anybody's to write."""
    assert from_text(text, completions=8) == found
