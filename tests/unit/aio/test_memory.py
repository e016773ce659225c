"""What is freed goes back to the system."""

import gc
import weakref
from pathlib import Path

import pytest

from kcp.aio.memory import give_back

_STATUS = Path("/proc/self/statm")
_PAGE_KIB = 4


def resident_kib() -> int:
    return int(_STATUS.read_text().split()[1]) * _PAGE_KIB


@pytest.mark.skipif(not _STATUS.exists(), reason="looks at Linux's account of this process")
def test_holes_between_what_is_kept_are_given_back() -> None:
    give_back()
    blocks = [bytes(9_000) for _ in range(4_000)]  # below malloc's threshold for mappings of their own
    full = resident_kib()
    kept = blocks[::40]
    del blocks
    if not give_back():
        pytest.skip("not a C library that can")
    assert resident_kib() < full - 20_000
    assert len(kept) == 100


def test_it_may_be_called_when_there_is_nothing_to_give() -> None:
    give_back()
    assert give_back() in (True, False)


def test_what_is_young_and_garbage_goes_first() -> None:
    class Knot:
        def __init__(self) -> None:
            self.itself = self

    gc.disable()
    try:
        gone = weakref.ref(Knot())
        give_back()
        assert gone() is None
    finally:
        gc.enable()
