"""`kubectl kcp`: the commands of kcp; `kubectl kcp workspace` is `kubectl ws`.

Each command is a module, imported when it is asked for: `parser(prog)` builds its line, and sets what runs.
Before: kubectl, by finding kubectl-kcp in PATH. After: the command's module.
Source: kcp staging cli/cmd/kubectl-kcp.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from kcp.cli.plugin_command import execute, split
from kcp.cli.plugin_flags import PluginParser

WORKSPACE = ("workspace", "workspaces", "ws")
COMMANDS = {
    "bind": ("kcp.cli.plugin_bind", "bind an APIExport, or compute, into the current workspace"),
    "claims": ("kcp.cli.plugin_claims", "see, accept and reject permission claims of bound APIs"),
    "completion": ("kcp.cli.plugin_completion", "print a completion script for bash, zsh or fish"),
    "crd": ("kcp.cli.plugin_crd", "turn CustomResourceDefinitions into APIResourceSchemas"),
    "diagnose": ("kcp.cli.plugin_diagnose", "say why an object is not ready, and what to do"),
    "quickstart": ("kcp.cli.plugin_quickstart", "make a demo of workspaces, an API and a binding to it"),
    "workload": ("kcp.cli.plugin_workload", "connect physical clusters: sync, cordon, uncordon, drain"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of kubectl-kcp."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    flags, words = split(arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if words[0] in WORKSPACE:
        from kcp.cli import kubectl_ws

        place = list(arguments).index(words[0])
        return kubectl_ws.run([*arguments[:place], *arguments[place + 1 :]], prog=f"kubectl kcp {words[0]}")
    if words[0] not in COMMANDS:
        print(f'error: unknown command "{words[0]}"\n\n{_usage()}', file=sys.stderr)
        return 1
    options = parser(words[0]).parse_args(words[1:])
    return execute(options.run, options, flags)


def parser(command: str) -> PluginParser:
    """The line of one command."""
    made: PluginParser = import_module(COMMANDS[command][0]).parser(f"kubectl kcp {command}")
    return made


def _usage() -> str:
    told = [(", ".join(WORKSPACE), "move through workspaces and make them; the same as `kubectl ws`")]
    told += [(name, text) for name, (_, text) in COMMANDS.items()]
    lines = "\n".join(f"  {name:28} {text}" for name, text in told)
    return f"usage: kubectl kcp COMMAND …\n\ncommands:\n{lines}\n\n`kubectl kcp COMMAND --help` says more."


if __name__ == "__main__":
    main()
