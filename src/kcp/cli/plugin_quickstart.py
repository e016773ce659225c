"""`kubectl kcp quickstart`: a demo in one command, and its removal.

Before: `kubectl_kcp`. After: `plugin_scenarios`, which knows what is made.
Source: kcp staging cli/pkg/quickstart/{cmd,plugin}.
"""

from __future__ import annotations

import argparse
import re
import sys

from kcp.aio.clock import Clock, SystemClock
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, Switch, connection_parser, duration
from kcp.cli.plugin_scenarios import SCENARIOS, Demo, Quickstart, remove
from kcp.cli.plugin_session import PluginError, Session, opened

_LONGEST_LABEL = 63

_EXAMPLES = """\
scenarios:
  api-provider   a workspace that offers an API (cowboys), and one that is bound to it
  workspaces     an organization with a tree of workspaces of random shape, for looking around and for measuring

examples:
  kubectl kcp quickstart --with-samples --enter
  kubectl kcp quickstart --scenario workspaces --tree-count 50 --tree-depth 4
  kubectl kcp quickstart --cleanup"""


def parser(prog: str) -> PluginParser:
    made = PluginParser(
        prog=prog, description="Make a demo of workspaces, an API and a binding to it.", epilog=_EXAMPLES, parents=[connection_parser()]
    )
    made.add_argument("--scenario", default="api-provider", choices=tuple(SCENARIOS), metavar="SCENARIO", help="api-provider or workspaces")
    made.add_argument("--name-prefix", default="quickstart", metavar="PREFIX", help="what the workspaces' names begin with; quickstart")
    made.add_argument("--cleanup", action=Switch, help="delete what an earlier run has made")
    made.add_argument("--enter", action=Switch, help="enter the consumer's workspace, or the organization, when done")
    made.add_argument("--with-samples", action=Switch, help="also create objects of the API")
    made.add_argument("--timeout", type=duration, default=600.0, metavar="DURATION", help="longest time for all of it; 10m")
    made.add_argument("--tree-depth", type=int, default=3, metavar="N", help="scenario workspaces: deepest level below the organization; 3")
    made.add_argument("--tree-count", type=int, default=10, metavar="N", help="scenario workspaces: how many; 10")
    made.add_argument("--tree-seed", type=int, default=0, metavar="N", help="scenario workspaces: same seed, same tree; 0 for any")
    made.set_defaults(run=_run)
    return made


async def _run(options: argparse.Namespace, flags: ConnectionFlags) -> None:
    _check(options)
    async with opened(flags) as session:
        await quickstart(session, options, SystemClock())


def _check(options: argparse.Namespace) -> None:
    prefix = options.name_prefix
    if not prefix:
        raise PluginError("--name-prefix must not be empty")
    longest = f"{prefix}-ws-{options.tree_count}" if options.scenario == "workspaces" else f"{prefix}-provider"
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", prefix) or len(longest) > _LONGEST_LABEL:
        raise PluginError(f'--name-prefix "{prefix}" makes no valid names of workspaces: small letters, digits and -, not too long')
    if options.tree_depth < 1:
        raise PluginError(f"--tree-depth must be >= 1, got {options.tree_depth}")
    if options.tree_count < 0:
        raise PluginError(f"--tree-count must be >= 0, got {options.tree_count}")


async def quickstart(session: Session, options: argparse.Namespace, clock: Clock) -> None:
    from random import SystemRandom

    seed = options.tree_seed or SystemRandom().randrange(1, sys.maxsize)
    demo = Demo(session, options.name_prefix, clock, clock.monotonic() + options.timeout)
    if options.cleanup:
        await remove(demo)
        return
    scenario: Quickstart = SCENARIOS[options.scenario](options.tree_depth, options.tree_count, seed)
    steps = [*scenario.steps(options.name_prefix), *(scenario.samples() if options.with_samples else ())]
    for number, (title, step) in enumerate(steps, 1):
        session.say(f"[{number}/{len(steps)}] {title}")
        await step(demo)
    session.say(scenario.summary(demo, with_samples=options.with_samples))
    if options.enter:
        from kcp.cli.plugin_workspace import use

        await use(session, f":{scenario.entrance(demo)}")
