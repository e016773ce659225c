"""Bytes near others: flipped, cut, doubled, joined, with words of their language put in. Everything follows from the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import orjson
from tests.fuzz.generate import Maker

_LONGEST = 4096
_BYTES = (b"\x00", b"\xff", b"\n", b" ", b'"', b"\\", b"\xc3\xa9", b"\xed\xa0\x80", b"9" * 30, b"(" * 50, b"[" * 50, b"{" * 50, b"a" * 300)


def mutations(corpus: Sequence[bytes], tokens: Sequence[bytes], seed: int, count: int) -> Iterator[bytes]:
    """`count` inputs, each some steps away from one of the corpus or from one made before."""
    maker = Maker(seed)
    chance = maker.random
    pool = list(corpus)
    for _ in range(count):
        made = chance.choice(corpus if chance.random() < 0.6 else pool)
        if (changed := _damaged(made, maker)) is not None and chance.random() < 0.7:
            yield changed
            continue
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            made = _step(made, pool, tokens, chance)[:_LONGEST]
        if chance.random() < 0.1:
            pool.append(made)
            del pool[len(corpus) + 200 :]
        yield made


def _damaged(data: bytes, maker: Maker) -> bytes | None:
    """JSON with other parts here and there, which steps over bytes seldom leave as JSON; None for what is none."""
    try:
        value = orjson.loads(data)
    except ValueError:
        return None
    for _ in range(maker.random.choice((1, 1, 2, 4))):
        value = maker.damaged(value)
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)


def _step(data: bytes, pool: Sequence[bytes], tokens: Sequence[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    end = min(len(data), at + chance.choice((1, 1, 2, 4, 16)))
    match chance.randrange(7):
        case 0:
            return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        case 1:
            return data[:at] + data[end:]
        case 2:
            return data[:at] + data[at:end] * chance.choice((2, 3, 50)) + data[end:]
        case 3:
            other = chance.choice(pool)
            return data[:at] + other[chance.randrange(len(other) + 1) :]
        case 4:
            return data[:at] + chance.choice(_BYTES) + data[at:]
        case 5 if tokens:
            return data[:at] + chance.choice(tokens) + data[end:]
    return data[:at] + (chance.choice(tokens) if tokens else b"") + data[at:]
