"""Each parser with its corpus and some hundred mutations, the same ones every time. `make fuzz` goes on where this ends."""

from __future__ import annotations

import time

import pytest
from tests.fuzz.mutate import mutations
from tests.fuzz.parsers import PARSERS

COUNT = 600
MOST_CPU_S = 0.5
"""For inputs of at most 4 KiB."""


@pytest.mark.parametrize("name", PARSERS)
def test_no_input_does_more_than_be_refused(name: str) -> None:
    parser = PARSERS[name]
    for data in (*parser.corpus, *mutations(parser.corpus, parser.tokens, seed=36, count=COUNT)):
        started_s = time.process_time()
        try:
            parser(data)
        except Exception as fault:
            raise AssertionError(f"{type(fault).__name__}: {fault}\nfrom {data!r}") from fault
        spent_s = time.process_time() - started_s
        assert spent_s < MOST_CPU_S, f"{spent_s:.2f} s of processor time for {data!r}"


@pytest.mark.parametrize("name", PARSERS)
def test_the_corpus_is_understood(name: str) -> None:
    """Mutations of what is refused at its first byte would try nothing."""
    for data in PARSERS[name].corpus[:1]:
        PARSERS[name].run(data)
