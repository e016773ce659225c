"""Many writers of one object: those who wait are written together, each is answered for its own change, and nobody for another's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from kcp.apimachinery.errors import BadRequest, Forbidden
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import Item, Mutate, UserInfo, WriteOptions, Written
from kcp.virtual.together import Together

OPTIONS = WriteOptions(UserInfo("syncer"), field_manager="syncer")


@dataclass
class Stored:
    """One object, whose writes take a turn of the loop."""

    value: JSONObject = field(default_factory=dict)
    writes: int = 0
    refuses: Callable[[JSONObject], bool] = lambda _: False

    async def update(self, mutate: Mutate, options: WriteOptions) -> Written:
        assert options.user.name
        wanted = mutate(dict(self.value))
        changed = wanted if isinstance(wanted, dict) else await wanted
        await asyncio.sleep(0)
        if self.refuses(changed):
            raise Forbidden("not so")
        self.value, self.writes = changed, self.writes + 1
        return Written(Item(ObjectKey(ClusterName("c"), "", "o"), self.writes, b"{}", {}), created=False)


def put(name: str) -> Mutate:
    def mutate(live: JSONObject | None) -> JSONObject:
        return {**(live or {}), name: True}

    return mutate


def unfit(_live: JSONObject | None) -> JSONObject:
    raise BadRequest("it does not fit")


async def at_once(together: Together, stored: Stored, *changes: tuple[Mutate, WriteOptions]) -> list[Written | BaseException]:
    async with asyncio.timeout(5):
        return await asyncio.gather(*(together.write("o", m, o, stored.update) for m, o in changes), return_exceptions=True)


async def test_who_waits_is_in_the_next_write_and_everybody_is_answered() -> None:
    together, stored = Together(), Stored()
    users = [replace(OPTIONS, user=UserInfo(f"syncer-{number}")) for number in range(20)]
    answers = await at_once(together, stored, *((put(str(number)), user) for number, user in enumerate(users)))
    assert all(isinstance(answer, Written) for answer in answers)
    assert stored.value.keys() == {str(number) for number in range(20)}
    assert stored.writes == 2, "the first begins at once, the others wait for it"
    assert len(together) == 0


async def test_one_write_has_room_for_some_only() -> None:
    together, stored = Together(), Stored()
    await at_once(together, stored, *((put(str(number)), OPTIONS) for number in range(100)))
    assert len(stored.value) == 100
    assert stored.writes == 5


async def test_who_writes_in_another_way_writes_alone() -> None:
    together, stored = Together(), Stored()
    dry = replace(OPTIONS, dry_run=True)
    guarded = replace(OPTIONS, resource_version="7")
    await at_once(together, stored, (put("a"), dry), (put("b"), dry), (put("c"), guarded), (put("d"), OPTIONS), (put("e"), OPTIONS))
    assert stored.writes == 4


async def test_a_change_that_does_not_fit_fails_alone() -> None:
    together, stored = Together(), Stored()
    answers = await at_once(together, stored, (unfit, OPTIONS), (put("a"), OPTIONS), (unfit, OPTIONS))
    assert [type(answer) for answer in answers] == [BadRequest, Written, BadRequest]
    assert (stored.value, stored.writes) == ({"a": True}, 1)


async def test_what_is_refused_together_is_tried_one_by_one() -> None:
    together, stored = Together(), Stored(refuses=lambda wanted: "bad" in wanted)
    answers = await at_once(together, stored, (put("a"), OPTIONS), (put("bad"), OPTIONS), (put("b"), OPTIONS))
    assert [type(answer) for answer in answers] == [Written, Forbidden, Written]
    assert stored.value == {"a": True, "b": True}


async def test_who_goes_away_takes_nobody_along() -> None:
    together, stored = Together(), Stored()
    is_writing, may_go_on = asyncio.Event(), asyncio.Event()

    async def slow(live: JSONObject | None) -> JSONObject:
        is_writing.set()
        await may_go_on.wait()
        return {**(live or {}), "slow": True}

    first = asyncio.ensure_future(together.write("o", slow, OPTIONS, stored.update))
    others = [asyncio.ensure_future(together.write("o", put(name), OPTIONS, stored.update)) for name in "ab"]
    await is_writing.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    may_go_on.set()
    async with asyncio.timeout(5):
        await asyncio.gather(*others)
    assert stored.value == {"a": True, "b": True}
    assert len(together) == 0


async def test_another_object_does_not_wait() -> None:
    together, stored, other = Together(), Stored(), Stored()
    is_free = asyncio.Event()

    async def slow(live: JSONObject | None) -> JSONObject:
        await is_free.wait()
        return {**(live or {}), "slow": True}

    waiting = asyncio.ensure_future(together.write("o", slow, OPTIONS, stored.update))
    async with asyncio.timeout(5):
        await together.write("p", put("a"), OPTIONS, other.update)
        is_free.set()
        await waiting
    assert (len(other.value), len(stored.value)) == (1, 1)
