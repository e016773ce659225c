"""`kcp sim replay`: a fleet under virtual time, played from a seed or a scenario file, with invariants checked all along.

Included in `kcp sim`. Before: the shell. After: `replay.player`.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kcp.aio.durations import format_duration
from kcp.cli.flags import fail, verbosity_flag
from kcp.cli.logs import LogOptions, setup_logging
from kcp.cli.sim_apply import read_documents

if TYPE_CHECKING:
    from collections.abc import Callable

    from kcp.replay.player import Outcome
    from kcp.replay.scenario import Scenario

_HELP = """\
Play a fleet under virtual time: control plane, syncers and simulated clusters, broken in all ways at random, with users at work.

The same seed plays the same, to the last write. Checked at every step: nothing lost, nothing doubled, nothing deleted that nobody
deleted, foreign objects untouched; and whenever the fleet has come to rest: replicas add up, statuses are true, no orphans.
Ends with 1 if anything of that did not hold, after saying what, when, and how to play it again.
"""

_IN_ONE_FLEET = 50
"""Chapters: a fleet takes a second to start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Flags:
    seed: int
    seeds: int
    hours: float
    clusters: int
    faults_per_hour: float
    file: Path | None
    save: Path | None
    chapters: bool
    quiet: bool


@click.command("replay", help=_HELP)
@click.option("--seed", default=1, show_default=True, help="What to play; the first one with --seeds.")
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1), help="How many seeds, one after the other.")
@click.option("--hours", default=1.0, show_default=True, type=click.FloatRange(0.01, 24 * 365), help="Virtual hours of each.")
@click.option("--clusters", default=3, show_default=True, type=click.IntRange(1, 1000), help="Simulated clusters.")
@click.option("--faults-per-hour", default=12.0, show_default=True, type=click.FloatRange(0, 3600), help="Faults, and acts of users.")
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path),
    default=None,
    help="Play this scenario instead (see --save), and the Faults in the file.",
)
@click.option("--save", type=click.Path(path_type=Path), default=None, help="Write the scenario of --seed to this file, and end.")
@click.option("--chapters", is_flag=True, help="Play seeds as chapters of a minute or two, fifty in a row in one fleet.")
@click.option("-q", "--quiet", is_flag=True, help="Show one line for each seed only.")
@verbosity_flag(default=0, help="Log level of the programs played: 0 errors, 1 warnings, 2 progress.")
def replay_command(verbosity: int, **flags: object) -> None:
    setup_logging(LogOptions(verbosity=verbosity))
    if not verbosity:
        logging.disable(logging.ERROR)  # what programs say of the faults they meet is part of the play
    wanted = _Flags(**flags)  # type: ignore[arg-type]
    if wanted.save is not None:
        _save(_from_seed(wanted, wanted.seed), wanted.save)
        return
    seeds = range(wanted.seed, wanted.seed + wanted.seeds)
    if wanted.chapters:
        sys.exit(0 if _play_all_chapters(seeds, wanted) else 1)
    scenarios = [_from_file(wanted.file)] if wanted.file else (_from_seed(wanted, seed) for seed in seeds)
    is_right = [_play(scenario, wanted) for scenario in scenarios]
    if len(is_right) > 1:
        click.echo(f"{len(is_right)} played, {is_right.count(False)} with violations.")
    sys.exit(0 if all(is_right) else 1)


def _from_seed(flags: _Flags, seed: int) -> Scenario:
    from kcp.replay.scenario import from_seed

    return from_seed(seed, hours=flags.hours, clusters=flags.clusters, per_hour=flags.faults_per_hour)


def _from_file(path: Path) -> Scenario:
    from kcp.replay.faultfiles import scenario_of
    from kcp.replay.scenario import ScenarioError

    try:
        return scenario_of(read_documents(path))
    except ScenarioError as error:
        fail(f"--file={path}: {error}")


def _save(scenario: Scenario, path: Path) -> None:
    import yaml

    from kcp.replay.scenario import to_document

    try:
        path.write_text(yaml.safe_dump(to_document(scenario), sort_keys=False))
    except OSError as error:
        fail(f"--save={path}: {error}")
    click.echo(f"{len(scenario.steps)} steps written to {path}. Play them with: kcp sim replay -f {path}")


def _play_all_chapters(seeds: range, flags: _Flags) -> bool:
    """Whether everything held. What a fleet did not come to, because a chapter left it broken, is played in the next one."""
    played = broken = 0
    while played < len(seeds):
        some = seeds[played : played + _IN_ONE_FLEET]
        outcomes = _play_chapters(some, flags)
        played += len(outcomes)
        broken += bool(outcomes[-1].violations)
        if outcomes[-1].violations:
            found = "\n".join(f"  {violation}" for violation in outcomes[-1].violations)
            click.echo(f"seed {some[len(outcomes) - 1]}: {len(outcomes[-1].violations)} violations\n{found}")
            click.echo(f"Play it again with: kcp sim replay --chapters --seed {some[0]} --seeds {len(outcomes)}")
        else:
            click.echo(f"seeds {some[0]} to {some[-1]}: all invariants held, digest {outcomes[-1].digest}")
    click.echo(f"{played} chapters played, {broken} with violations.")
    return not broken


def _play_chapters(seeds: range, flags: _Flags) -> list[Outcome]:
    from kcp.aio import virtualloop
    from kcp.aio.clock import LoopClock
    from kcp.replay.player import play_chapters
    from kcp.replay.scenario import chapter_from_seed

    with tempfile.TemporaryDirectory(prefix="kcp-replay-") as directory:
        chapters = [chapter_from_seed(seed) for seed in seeds]
        return virtualloop.run(play_chapters(chapters, Path(directory), LoopClock(), report=_reporter(flags)))


def _reporter(flags: _Flags) -> Callable[[float, str], None]:
    def report(at_s: float, text: str) -> None:
        if not flags.quiet:
            click.echo(f"{format_duration(at_s):>12}  {text}")

    return report


def _play(scenario: Scenario, flags: _Flags) -> bool:
    """Whether everything held."""
    import time

    from kcp.aio import virtualloop
    from kcp.aio.clock import LoopClock
    from kcp.replay.player import play

    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kcp-replay-") as directory:
        outcome = virtualloop.run(play(scenario, Path(directory), LoopClock(), report=_reporter(flags)))
    click.echo(_summary(scenario, outcome, flags, time.monotonic() - started_s))
    return not outcome.violations


def _summary(scenario: Scenario, outcome: Outcome, flags: _Flags, took_s: float) -> str:
    what, length = f"scenario {flags.file}" if flags.file else f"seed {scenario.seed}", format_duration(scenario.duration_s)
    looked = f"{outcome.looks} looks, {outcome.calm_looks} of them at rest"
    line = f"{what}: {length} of {len(scenario.clusters)} clusters in {took_s:.1f} s, {looked}, digest {outcome.digest}: "
    if not outcome.violations:
        return line + "all invariants held"
    found = "\n".join(f"  {violation}" for violation in outcome.violations)
    return f"{line}{len(outcome.violations)} violations\n{found}\nPlay it again with: {_again(scenario, flags)}"


def _again(scenario: Scenario, flags: _Flags) -> str:
    if flags.file:
        return f"kcp sim replay -f {flags.file}"
    shape = f"--hours {flags.hours:g} --clusters {flags.clusters} --faults-per-hour {flags.faults_per_hour:g}"
    return f"kcp sim replay --seed {scenario.seed} {shape}"
