"""Sorted keys and the key index, against plain sets and dicts."""

from __future__ import annotations

import random

import pytest

from kcp.storage.interface import Compacted, FutureRevision
from kcp.storage.keyindex import KeyIndex, SortedKeys, prefix_end


@pytest.mark.parametrize(("prefix", "end"), [(b"a/", b"a0"), (b"a\xff", b"b"), (b"\xff\xff", None), (b"", None)])
def test_the_end_of_a_prefix_is_the_first_key_behind_it(prefix: bytes, end: bytes | None) -> None:
    assert prefix_end(prefix) == end


@pytest.mark.parametrize("seed", range(3))
def test_sorted_keys_agree_with_a_set(seed: int) -> None:
    chance = random.Random(seed)
    model = {b"%s/%05d" % (chance.choice([b"a", b"b", b"c"]), chance.randrange(99_999)) for _ in range(3_000)}
    keys = SortedKeys(model)
    for _ in range(6_000):
        key = b"%s/%05d" % (chance.choice([b"a", b"b", b"c"]), chance.randrange(99_999))
        if chance.random() < 0.5:
            keys.discard(key)
            model.discard(key)
        elif key not in model:
            keys.add(key)
            model.add(key)
    assert list(keys) == sorted(model)
    assert len(keys) == len(model)
    for _ in range(100):
        prefix, limit = chance.choice([b"", b"a/", b"b/", b"b/1", b"x", b"c/99"]), chance.choice([0, 1, 7, 5_000])
        after = chance.choice([b"", *chance.sample(sorted(model), 3), b"b/5", b"z"])
        expected = sorted(key for key in model if key.startswith(prefix) and key > after)
        assert keys.scan(prefix, after, limit) == (expected[:limit] if limit else expected)
        assert keys.count(prefix, after) == len(expected)


def test_an_emptied_set_of_keys_takes_keys_again() -> None:
    keys = SortedKeys([b"a"])
    keys.discard(b"a")
    keys.discard(b"a")
    assert (keys.scan(b""), keys.count(b""), len(keys)) == ([], 0, 0)
    keys.add(b"b")
    assert keys.scan(b"") == [b"b"]


@pytest.mark.parametrize("seed", range(4))
def test_the_index_knows_every_kept_revision_and_drops_what_nobody_can_see(seed: int) -> None:
    chance = random.Random(seed)
    index = KeyIndex()
    states: dict[int, dict[bytes, int]] = {1: {}}
    rows: dict[int, tuple[int, bytes, int, bool]] = {}
    for revision in range(2, 600):
        state = dict(states[revision - 1])
        key = b"k/%02d" % chance.randrange(20)
        is_delete = key in state and chance.random() < 0.4
        rows[revision] = (revision, key, index.created(key) or revision, is_delete)
        index.apply(key, revision, is_delete=is_delete)
        if is_delete:
            del state[key]
        else:
            state[key] = revision
        states[revision] = state
        if chance.random() < 0.02:
            for dropped in index.compact(chance.randrange(index.compacted, revision + 1)):
                del rows[dropped]
        at = chance.randrange(max(index.compacted, 1), revision + 1)
        after, limit = b"k/%02d" % chance.randrange(20), chance.choice([0, 1, 4])
        expected = sorted((k, r) for k, r in states[at].items() if k > after)
        found = index.scan(b"k/", after, limit, at)
        assert found.keys == (expected[:limit] if limit else expected)
        assert found.remaining == (max(len(expected) - limit, 0) if limit else 0)
    reloaded = KeyIndex.load([rows[r] for r in sorted(rows)], index.compacted)
    for at in range(index.compacted, 600):
        assert reloaded.scan(b"", b"", 0, at).keys == index.scan(b"", b"", 0, at).keys == sorted(states[at].items())
    assert {k: reloaded.created(k) for k in states[599]} == {k: index.created(k) for k in states[599]}
    live = set(states[599].values())
    index.compact(599)
    assert {r for r, row in rows.items() if r > index.compacted or r in live} >= live


def test_scans_outside_the_kept_history_are_refused() -> None:
    index = KeyIndex()
    for revision in range(2, 8):
        index.apply(b"a", revision, is_delete=False)
    index.compact(5)
    with pytest.raises(Compacted):
        index.scan(b"", b"", 0, 4)
    with pytest.raises(FutureRevision):
        index.scan(b"", b"", 0, 8)
    assert index.scan(b"", b"", 0, 5).keys == [(b"a", 5)]


def test_a_log_with_a_missing_revision_cannot_be_loaded() -> None:
    with pytest.raises(ValueError, match="revision 3 is missing from the log, the next one is 4"):
        KeyIndex.load([(2, b"a", 2, False), (4, b"b", 4, False)], 0)
