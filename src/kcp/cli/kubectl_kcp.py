"""`kubectl kcp`: the commands of kcp that are not about moving around; `kubectl kcp workspace` is `kubectl ws`.

Before: kubectl, by finding kubectl-kcp in PATH. After: `kubectl_ws`.
Source: kcp staging cli/cmd/kubectl-kcp.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

_WORKSPACE = ("workspace", "workspaces", "ws")

_USAGE = """\
usage: kubectl kcp COMMAND …

commands:
  workspace, workspaces, ws    move through workspaces and make them; the same as `kubectl ws`

`kubectl kcp COMMAND --help` says more."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of kubectl-kcp."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_USAGE)
        return 0
    if arguments[0] in _WORKSPACE:
        from kcp.cli import kubectl_ws

        return kubectl_ws.run(arguments[1:], prog="kubectl kcp workspace")
    print(f'error: unknown command "{arguments[0]}"\n{_USAGE}', file=sys.stderr)
    return 1
