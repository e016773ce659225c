"""Back-pressure: closed while too much waits, open again once enough of it is done, and never for what stands behind."""

from __future__ import annotations

import asyncio

from kcp.controller.floodgate import Floodgate


class Waiting:
    """Two queues, and what is told."""

    def __init__(self, most: int, few: int) -> None:
        self.depths = [0, 0]
        self.told: list[int] = []
        self.gate = Floodgate(most, few, lambda: self.depths, self.told.append)

    def pass_until_closed(self) -> int:
        """Events that pass, each of which adds its key to both queues."""
        passed = 0
        while self.gate.may_pass():
            passed += 1
            self.depths = [depth + 1 for depth in self.depths]
        return passed


async def test_it_closes_when_too_much_waits_and_opens_when_enough_is_done() -> None:
    waiting = Waiting(most=10, few=4)
    assert waiting.pass_until_closed() == 6
    assert waiting.gate.is_closed
    assert waiting.told == [12]
    passing = asyncio.ensure_future(waiting.gate.wait())
    waiting.depths = [5, 0]
    waiting.gate.look()
    await asyncio.sleep(0)
    assert not passing.done()
    waiting.depths = [4, 0]
    waiting.gate.look()
    await passing
    assert waiting.told == [12, 0]
    assert waiting.gate.may_pass()


async def test_queues_are_not_counted_for_each_event() -> None:
    waiting = Waiting(most=1000, few=500)
    counted = 0

    def depths() -> list[int]:
        nonlocal counted
        counted += 1
        return waiting.depths

    waiting.gate.depths = depths
    assert waiting.pass_until_closed() == 501
    assert counted < 15


async def test_work_that_is_quick_enough_never_closes_it() -> None:
    waiting = Waiting(most=10, few=4)
    for _ in range(1000):
        assert waiting.gate.may_pass()
        waiting.gate.look()
    assert waiting.gate.closed == 0
