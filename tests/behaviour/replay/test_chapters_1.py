"""Chapters from seeds, part 1: faults alone and in pairs, one after another in one fleet, leave nothing lost, doubled, untrue or run twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.behaviour.replay.chapters import hold

IN_ONE_FLEET = 15


@pytest.mark.parametrize("first", [0])
def test_chapters_leave_nothing_broken(first: int, tmp_path: Path) -> None:
    hold(range(first, first + IN_ONE_FLEET), tmp_path)


@pytest.mark.e2e
@pytest.mark.parametrize("first", range(100, 160, IN_ONE_FLEET))
def test_nor_do_many_more(first: int, tmp_path: Path) -> None:
    hold(range(first, first + IN_ONE_FLEET), tmp_path)
