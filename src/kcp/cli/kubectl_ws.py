"""`kubectl ws`, `kubectl workspaces`: moving through workspaces and making them.

Modules are imported late and no HTTP library is: the command has to feel like `cd`.
Before: kubectl, by finding kubectl-ws in PATH. After: `plugin_workspace`, `plugin_tree`.
Source: kcp staging cli/pkg/workspace/cmd/cmd.go.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kcp.cli.plugin_session import Session
    from kcp.cli.plugin_workspace import CreateOptions

COMMANDS = ("use", "current", "create", "create-context", "tree", "delete")

_USAGE = """\
kubectl ws [PATH | . | .. | - | ~ | :]
       kubectl ws use PATH
       kubectl ws current [--short]
       kubectl ws create NAME [--type [PATH:]TYPE] [--enter] [--ignore-existing] [--location-selector KEY=VALUE] [--create-context CONTEXT]
       kubectl ws create-context [CONTEXT] [--overwrite]
       kubectl ws tree [--full]
       kubectl ws delete NAME [--wait=false]"""

_EXAMPLES = """\
examples:
  kubectl ws .                     print the current workspace
  kubectl ws :root:org:team        enter a workspace by its path
  kubectl ws team                  enter a child of the current workspace
  kubectl ws ..                    go up; ..:other goes to a sibling
  kubectl ws -                     go back to where you were
  kubectl ws create web --enter    make a workspace and enter it
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of kubectl-ws and kubectl-workspaces."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str], *, prog: str = "kubectl ws") -> int:
    """Returns the exit code."""
    options = _parse(list(arguments), prog)
    from kcp.apimachinery.errors import StatusError
    from kcp.cli.plugin_contexts import ContextProblem
    from kcp.cli.plugin_paths import PathProblem
    from kcp.cli.plugin_session import PluginError
    from kcp.client.kubeconfig import KubeConfigError
    from kcp.client.transport import TransportError

    try:
        asyncio.run(_execute(options))
    except (PluginError, ContextProblem, PathProblem, KubeConfigError, TransportError, StatusError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parse(arguments: list[str], prog: str) -> argparse.Namespace:
    """A first word that is no command is a workspace to enter."""
    shared = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    shared.add_argument("--kubeconfig", default="", metavar="FILE", help="kubeconfig to use and to change")
    shared.add_argument("--context", default="", metavar="NAME", help="context to start from")
    head, rest = shared.parse_known_args(arguments)
    if not any(word in COMMANDS or word in ("-h", "--help") for word in rest[:1]):
        rest = ["use", *rest]
    parser = argparse.ArgumentParser(
        prog=prog, usage=_USAGE, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, parents=[shared],
        description="Move through kcp workspaces, as `cd` does through directories.",
    )  # fmt: skip
    _add_commands(parser.add_subparsers(dest="command", metavar="COMMAND"), shared)
    options = parser.parse_args(rest)
    options.kubeconfig, options.context = head.kubeconfig or options.kubeconfig, head.context or options.context
    return options


def _add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    use = commands.add_parser("use", help="enter a workspace", parents=[shared])
    use.add_argument("path", nargs="?", default="", help="a path, or . .. - ~ :")
    use.add_argument("--short", action="store_true", help="print only the path")
    current = commands.add_parser("current", help="print the current workspace", parents=[shared])
    current.add_argument("--short", action="store_true", help="print only the path, for shell prompts")
    create = commands.add_parser("create", help="make a workspace", parents=[shared])
    create.add_argument("name", metavar="NAME")
    create.add_argument("--type", default="", metavar="[PATH:]TYPE", help="workspace type; the default depends on the parent")
    create.add_argument("--enter", action="store_true", help="enter it when it is ready")
    create.add_argument("--ignore-existing", action="store_true", help="no error if it exists with this type")
    create.add_argument("--location-selector", default="", metavar="KEY=VALUE,…", help="labels of the shard to put it on")
    create.add_argument("--create-context", default="", metavar="CONTEXT", help="also make a kubeconfig context for it")
    context = commands.add_parser("create-context", help="make a kubeconfig context for the current workspace", parents=[shared])
    context.add_argument("name", nargs="?", default="", metavar="CONTEXT")
    context.add_argument("--overwrite", action="store_true", help="change the context if it exists")
    tree = commands.add_parser("tree", help="draw the workspaces below the current one", parents=[shared])
    tree.add_argument("-f", "--full", action="store_true", help="show whole paths")
    delete = commands.add_parser("delete", help="delete a workspace with everything in it", parents=[shared])
    delete.add_argument("name", metavar="NAME")
    delete.add_argument("--wait", default="true", choices=("true", "false"), nargs="?", const="true", help="wait until it is gone")


async def _execute(options: argparse.Namespace) -> None:
    from kcp.cli.plugin_session import open_session

    session = open_session(options.kubeconfig, options.context, os.environ)
    try:
        await _dispatch(session, options)
    finally:
        await session.client.close()


async def _dispatch(session: Session, options: argparse.Namespace) -> None:
    from kcp.aio.clock import SystemClock
    from kcp.cli import plugin_workspace as workspace

    match options.command:
        case "use":
            await workspace.use(session, options.path, short=options.short)
        case "current":
            workspace.show_current(session, short=options.short)
        case "create":
            await workspace.create(session, _create_options(options), SystemClock())
        case "create-context":
            workspace.create_context(session, options.name, overwrite=options.overwrite)
        case "delete":
            await workspace.delete(session, options.name, SystemClock(), wait=options.wait != "false")
        case "tree":
            from kcp.cli.plugin_tree import show_tree

            await show_tree(session, full=options.full)


def _create_options(options: argparse.Namespace) -> CreateOptions:
    from kcp.cli.plugin_session import PluginError
    from kcp.cli.plugin_workspace import CreateOptions

    pairs = [item.partition("=") for item in options.location_selector.split(",") if item]
    if not all(key and found for key, found, _ in pairs):
        raise PluginError(f'--location-selector "{options.location_selector}" is not of the form key=value,key=value')
    return CreateOptions(
        name=options.name,
        type=options.type,
        enter=options.enter,
        ignore_existing=options.ignore_existing,
        location_selector={key: value for key, _, value in pairs},
        create_context=options.create_context,
    )


if __name__ == "__main__":
    main()
