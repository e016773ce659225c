"""`kubectl ws`, `kubectl workspaces`: moving through workspaces and making them.

Modules are imported late and no HTTP library is: the command has to feel like `cd`.
Before: kubectl, by finding kubectl-ws in PATH. After: `plugin_workspace`, `plugin_tree`.
Source: kcp staging cli/pkg/workspace/cmd/cmd.go.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kcp.cli.plugin_command import execute, split, subcommands
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, Switch, connection_parser, duration

if TYPE_CHECKING:
    from kcp.cli.plugin_session import Session
    from kcp.cli.plugin_workspace import CreateOptions

COMMANDS = ("use", "cd", "current", "create", "create-context", "tree", "delete")

_USAGE = """\
kubectl ws [PATH | . | .. | - | ~ | :] [-i]
       kubectl ws use PATH
       kubectl ws current [--short]
       kubectl ws create NAME [--type [PATH:]TYPE] [--enter] [--ignore-existing] [--location-selector KEY=VALUE] [--create-context CONTEXT]
       kubectl ws create-context [CONTEXT] [--overwrite] [--keep-current]
       kubectl ws tree [--full] [--wide] [-i]
       kubectl ws delete NAME [--wait=false]"""

_EXAMPLES = """\
examples:
  kubectl ws .                     print the current workspace
  kubectl ws :root:org:team        enter a workspace by its path
  kubectl ws team                  enter a child of the current workspace
  kubectl ws ..                    go up; ..:other goes to a sibling
  kubectl ws -                     go back to where you were
  kubectl ws :admin                shards and policies of the whole installation
  kubectl ws create web --enter    make a workspace and enter it
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of kubectl-ws and kubectl-workspaces."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str], *, prog: str = "kubectl ws") -> int:
    """Returns the exit code."""
    flags, words = split(arguments)
    return execute(_execute, parser(prog).parse_args(with_command(words)), flags)


def with_command(words: list[str]) -> list[str]:
    """The line with its command: a first word that is none is a workspace to enter, `-i` alone is the tree to choose from."""
    if words[:1] in (["-i"], ["--interactive"]):
        return ["tree", *words]
    if any(word in COMMANDS or word in ("-h", "--help") for word in words[:1]):
        return words
    return ["use", *words]


def parser(prog: str) -> PluginParser:
    shared = connection_parser()
    made = PluginParser(
        prog=prog, usage=_USAGE.replace("kubectl ws", prog), epilog=_EXAMPLES, parents=[shared],
        description="Move through kcp workspaces, as `cd` does through directories.",
    )  # fmt: skip
    commands = subcommands(made)
    use = commands.add_parser("use", aliases=["cd"], help="enter a workspace", parents=[shared])
    use.add_argument("path", nargs="?", default="", metavar="WORKSPACE", help="a path, or . .. - ~ :")
    use.add_argument("--short", action=Switch, help="print only the path")
    current = commands.add_parser("current", help="print the current workspace", parents=[shared])
    current.add_argument("--short", action=Switch, help="print only the path, for shell prompts")
    add_creation(commands.add_parser("create", help="make a workspace", parents=[shared]))
    context = commands.add_parser("create-context", help="make a kubeconfig context for the current workspace", parents=[shared])
    context.add_argument("name", nargs="?", default="", metavar="CONTEXT")
    context.add_argument("--overwrite", action=Switch, help="change the context if it exists")
    context.add_argument("--keep-current", action=Switch, help="do not switch to it")
    tree = commands.add_parser("tree", help="draw the workspaces below the current one", parents=[shared])
    tree.add_argument("-f", "--full", action=Switch, help="show whole paths")
    tree.add_argument("--wide", action=Switch, help="show type, phase and logical cluster, too")
    tree.add_argument("-i", "--interactive", action=Switch, help="choose a workspace with the arrow keys and enter it")
    delete = commands.add_parser("delete", help="delete a workspace with everything in it", parents=[shared])
    delete.add_argument("name", metavar="CHILD")
    delete.add_argument("--wait", action=Switch, default=True, help="wait until it is gone; --wait=false does not")
    delete.add_argument("--timeout", type=duration, default=60.0, metavar="DURATION", help="longest wait; 1m if not given")
    return made


def add_creation(create: PluginParser) -> None:
    """Flags of `kubectl ws create` and of `kubectl create workspace`."""
    create.add_argument("name", metavar="NAME")
    create.add_argument("--type", default="", metavar="[PATH:]TYPE", help="workspace type; the default depends on the parent")
    create.add_argument("--enter", action=Switch, help="enter it when it is ready")
    create.add_argument("--ignore-existing", action=Switch, help="no error if it exists with this type")
    create.add_argument("--location-selector", default="", metavar="SELECTOR", help="labels of the shard to put it on: a=b,c in (d, e),!f")
    create.add_argument("--create-context", default="", metavar="CONTEXT", help="also make a kubeconfig context for it")
    create.add_argument("--timeout", type=duration, default=60.0, metavar="DURATION", help="longest wait; 1m if not given")


async def _execute(options: argparse.Namespace, flags: ConnectionFlags) -> None:
    from kcp.cli.plugin_session import opened

    async with opened(flags) as session:
        await _dispatch(session, options)


async def _dispatch(session: Session, options: argparse.Namespace) -> None:
    from kcp.aio.clock import SystemClock
    from kcp.cli import plugin_workspace as workspace

    match options.command:
        case "use" | "cd":
            await workspace.use(session, options.path, short=options.short)
        case "current":
            workspace.show_current(session, short=options.short)
        case "create":
            await workspace.create(session, create_options(options), SystemClock())
        case "create-context":
            workspace.create_context(session, options.name, overwrite=options.overwrite, keep_current=options.keep_current)
        case "delete":
            await workspace.delete(session, options.name, SystemClock(), wait=options.wait, timeout_s=options.timeout)
        case "tree":
            await _tree(session, options)


async def _tree(session: Session, options: argparse.Namespace) -> None:
    if options.interactive:
        from kcp.cli.plugin_chooser import choose
        from kcp.cli.plugin_workspace import use

        chosen = await choose(session)
        if chosen:
            await use(session, f":{chosen}")
        return
    from kcp.cli.plugin_tree import show_tree

    await show_tree(session, full=options.full, wide=options.wide)


def create_options(options: argparse.Namespace) -> CreateOptions:
    from kcp.cli.plugin_workspace import CreateOptions

    return CreateOptions(
        name=options.name,
        type=options.type,
        enter=options.enter,
        ignore_existing=options.ignore_existing,
        location_selector=label_selector(options.location_selector, "--location-selector"),
        create_context=options.create_context,
        timeout_s=options.timeout,
    )


_SET = re.compile(r"\s*([^\s!=,()]+)\s+(in|notin)\s*\(([^()]*)\)\s*")


def label_selector(text: str, flag: str) -> dict[str, object]:
    """A metav1.LabelSelector from the text form that kubectl takes with -l. Raises PluginError.

    Source: k8s.io/apimachinery/pkg/apis/meta/v1/helpers.go ParseToLabelSelector.

    >>> label_selector("region=eu,tier in (a, b),!old", "-l")["matchLabels"]
    {'region': 'eu'}
    """
    from kcp.cli.plugin_session import PluginError

    labels: dict[str, str] = {}
    expressions: list[dict[str, object]] = []
    for part in re.split(r",(?![^(]*\))", text) if text.strip() else ():
        item = part.strip()
        key, operator, value = re.match(r"([^=!]*)(!=|==?|)(.*)", item).groups()  # type: ignore[union-attr]
        if found := _SET.fullmatch(item):
            values = [word.strip() for word in found[3].split(",")]
            expressions.append({"key": found[1], "operator": "In" if found[2] == "in" else "NotIn", "values": values})
        elif operator in ("=", "==") and key.strip():
            labels[key.strip()] = value.strip()
        elif operator == "!=" and key.strip():
            expressions.append({"key": key.strip(), "operator": "NotIn", "values": [value.strip()]})
        elif item.startswith("!") and len(item) > 1 and " " not in item:
            expressions.append({"key": item[1:], "operator": "DoesNotExist"})
        elif item and " " not in item:
            expressions.append({"key": item, "operator": "Exists"})
        else:
            raise PluginError(f'{flag} "{text}" is not a label selector, such as key=value,key2 in (a, b),!key3')
    return {**({"matchLabels": labels} if labels else {}), **({"matchExpressions": expressions} if expressions else {})}


if __name__ == "__main__":
    main()
