"""Running one command of a plugin: flags that stand anywhere, one place for errors, exit codes.

Before: `kubectl_ws`, `kubectl_kcp`, `kubectl_create_workspace`. After: the command's own module.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, connection_parser, of_options

Run: TypeAlias = Callable[[argparse.Namespace, ConnectionFlags], Awaitable[int | None]]
"""A command; None means exit code 0."""
INTERRUPTED = 130


def split(arguments: Sequence[str]) -> tuple[ConnectionFlags, list[str]]:
    """kubectl's flags, which may stand anywhere, and everything else. What follows `--` is left alone."""
    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    options, rest = connection_parser().parse_known_args(words[:end])
    return of_options(options), rest + words[end:]


def execute(run: Run, options: argparse.Namespace, flags: ConnectionFlags) -> int:
    """Returns the exit code."""
    from kcp.apimachinery.errors import StatusError
    from kcp.cli.plugin_contexts import ContextProblem
    from kcp.cli.plugin_paths import PathProblem
    from kcp.cli.plugin_session import PluginError
    from kcp.client.kubeconfig import KubeConfigError
    from kcp.client.transport import TransportError

    try:
        return asyncio.run(_awaited(run, options, flags)) or 0
    except (PluginError, ContextProblem, PathProblem, KubeConfigError, TransportError, StatusError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, PluginError) else 1
    except BrokenPipeError:
        sys.stderr.close()  # `… | head`: there is nobody left to tell
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


async def _awaited(run: Run, options: argparse.Namespace, flags: ConnectionFlags) -> int | None:
    return await run(options, flags)


def subcommands(parser: PluginParser, title: str = "COMMAND") -> argparse._SubParsersAction[PluginParser]:
    commands: argparse._SubParsersAction[PluginParser] = parser.add_subparsers(
        dest="command", metavar=title, required=True, prog=parser.prog
    )
    return commands
