"""Plays chapters in one fleet; the files beside it share them, so that two workers share the time."""

from __future__ import annotations

import logging
from pathlib import Path

from kcp.aio import virtualloop
from kcp.aio.clock import LoopClock
from kcp.replay.player import play_chapters
from kcp.replay.scenario import chapter_from_seed


def hold(seeds: range, directory: Path) -> None:
    """All invariants, in the chapters of these seeds."""
    logging.disable(logging.ERROR)  # programs complain of the faults they meet, and rightly
    try:
        outcomes = virtualloop.run(play_chapters([chapter_from_seed(seed) for seed in seeds], directory, LoopClock()))
    finally:
        logging.disable(logging.NOTSET)
    broken = {seed: [str(v) for v in outcome.violations] for seed, outcome in zip(seeds, outcomes, strict=False) if outcome.violations}
    assert broken == {}, f"play it again with: kcp sim replay --chapters --seed {seeds[0]} --seeds {len(outcomes)}"
    assert len(outcomes) == len(seeds)
