"""`kubectl tmc`: what TMC decided, and why.

Each command is a module, imported when it is asked for: `parser(prog)` builds its line, and sets what runs.
Before: kubectl, by finding kubectl-tmc in PATH. After: the command's module.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from kcp.cli.plugin_command import execute, split

COMMANDS = {
    "why": ("kcp.cli.plugin_why", "which clusters run an object, how many replicas, how fresh, and why"),
    "preview": ("kcp.cli.plugin_preview", "what an edit, or the loss of a cluster, would move, and what would no longer fit"),
    "restored": ("kcp.cli.plugin_restored", "what waits because the control plane was restored from a backup"),
    "status": ("kcp.cli.plugin_status", "how every component is: server, store, controllers, clusters, syncers, placements"),
    "render": ("kcp.cli.plugin_render", "the very object that a cluster gets of one in the workspace"),
    "test-rule": ("kcp.cli.plugin_testrule", "what a StatusRule makes of objects, before it is applied"),
    "migrate": ("kcp.cli.plugin_migrate", "move a workload from one cluster to another: live, by snapshot, or halted and resumed"),
    "recover": ("kcp.cli.plugin_recover", "mend a cluster or an object: reconnect, authenticate, merge, place anew, sync from truth"),
    "why-not": ("kcp.cli.plugin_whynot", "why a cluster does not run an object"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of kubectl-tmc."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    flags, words = split(arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if words[0] not in COMMANDS:
        print(f'error: unknown command "{words[0]}"\n\n{_usage()}', file=sys.stderr)
        return 1
    made = import_module(COMMANDS[words[0]][0]).parser(f"kubectl tmc {words[0]}")
    options = made.parse_args(words[1:])
    return execute(options.run, options, flags)


def _usage() -> str:
    lines = "\n".join(f"  {name:12} {text}" for name, (_, text) in COMMANDS.items())
    return f"usage: kubectl tmc COMMAND …\n\ncommands:\n{lines}\n\n`kubectl tmc COMMAND --help` says more."


if __name__ == "__main__":
    main()
