"""Pauses stay short, and cyclic garbage goes all the same."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from functools import partial

import pytest

from kcp.aio.collector import Collector, paused


class Knot:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def _installed() -> Iterator[None]:
    collector = Collector(thorough_every=3)
    collector.install()
    yield
    collector.remove()


@pytest.mark.usefixtures("_installed")
def test_survivors_of_a_full_collection_are_not_looked_at_again() -> None:
    kept = [Knot() for _ in range(1000)]
    gc.collect()
    assert gc.get_freeze_count() > len(kept)
    assert not any(isinstance(obj, Knot) for obj in gc.get_objects())


def test_what_hardly_grows_is_looked_at_again_more_rarely() -> None:
    collector = Collector(thorough_every=1, at_least_every=4)
    collector.install()
    try:
        knot = Knot()
        gc.collect()
        gone = weakref.ref(knot)
        del knot
        for _ in range(2):
            gc.collect()
        assert gone() is not None
        gc.collect()
        assert gone() is None
    finally:
        collector.remove()


@pytest.mark.usefixtures("_installed")
def test_new_cycles_are_collected() -> None:
    gone = weakref.ref(Knot())
    gc.collect()
    assert gone() is None


@pytest.mark.usefixtures("_installed")
def test_a_cycle_that_was_set_aside_goes_once_much_was_set_aside_that_nothing_explains() -> None:
    gone = weakref.ref(set_aside())
    grown = [Knot() for _ in range(sys.getallocatedblocks() // 4)]
    gc.collect()
    gc.collect()
    assert gone() is None
    assert grown


@pytest.mark.usefixtures("_installed")
def test_growth_by_what_the_program_holds_is_no_reason_to_look_at_everything() -> None:
    collector, grown = Collector.installed(), list[Knot]()
    assert collector is not None
    collector.weigh(lambda: len(grown))
    gone = weakref.ref(set_aside())
    grown.extend(Knot() for _ in range(sys.getallocatedblocks() // 4))
    for _ in range(5):
        gc.collect()
    assert gone() is not None


@pytest.mark.usefixtures("_installed")
def test_what_was_set_aside_is_never_counted_which_takes_longer_the_more_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    monkeypatch.setattr(gc, "get_freeze_count", partial(counted.append, 0))
    for _ in range(5):
        gc.collect()
    assert not counted


def set_aside() -> Knot:
    """Garbage as soon as it is let go."""
    knot = Knot()
    gc.collect()
    return knot


@pytest.mark.usefixtures("_installed")
def test_what_came_at_once_during_a_pause_is_set_aside_unseen() -> None:
    seen: list[int] = []

    def look(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            seen.append(len(gc.get_objects()))

    gc.callbacks.append(look)
    try:
        with paused():
            decoded = [Knot() for _ in range(30_000)]
        more = [Knot() for _ in range(20)]
    finally:
        gc.callbacks.remove(look)
    assert seen
    assert seen[0] < len(decoded)
    assert more


def test_nothing_is_collected_during_a_pause_and_everything_after() -> None:
    with paused():
        assert not gc.isenabled()
        with paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_pause_ends_with_an_error_too() -> None:
    with pytest.raises(ValueError, match="wrong"), paused():
        raise ValueError("wrong")
    assert gc.isenabled()
