"""`kubectl create workspace NAME`: kubectl finds plugins below `create` by this program's name.

Before: kubectl. After: `plugin_workspace.create`, as `kubectl ws create`.
Source: kcp staging cli/cmd/kubectl-create-workspace.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from kcp.cli.kubectl_ws import add_creation, create_options
from kcp.cli.plugin_command import execute, split
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, connection_parser

_EXAMPLES = """\
examples:
  kubectl create workspace web                      make a workspace below the current one
  kubectl create workspace web --type root:team     of another type
  kubectl create workspace web --enter              and enter it when it is ready
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of kubectl-create-workspace."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    flags, words = split(arguments)
    return execute(_create, parser().parse_args(words), flags)


def parser() -> PluginParser:
    description = "Make a kcp workspace and wait until it is ready."
    made = PluginParser(prog="kubectl create workspace", description=description, epilog=_EXAMPLES, parents=[connection_parser()])
    add_creation(made)
    return made


async def _create(options: argparse.Namespace, flags: ConnectionFlags) -> None:
    from kcp.aio.clock import SystemClock
    from kcp.cli import plugin_workspace
    from kcp.cli.plugin_session import opened

    chosen = create_options(options)
    async with opened(flags) as session:
        await plugin_workspace.create(session, chosen, SystemClock())


if __name__ == "__main__":
    main()
