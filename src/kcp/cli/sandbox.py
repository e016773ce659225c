"""`kcp sandbox`: a control plane with TMC, simulated clusters and their syncers, in one process. A newcomer's fleet in one command.

Everything speaks HTTPS as it would between machines; only the processes are one. Before: the shell, `make demo`.
After: `cli.fleet`, `cli.walkthrough`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kcp.cli.flags import verbosity_flag
from kcp.cli.logs import LogOptions, setup_logging

if TYPE_CHECKING:
    from kcp.cli.fleet import SandboxOptions

EXAMPLE = "hello-world"


@click.command("sandbox", help="Run a whole fleet here: the control plane with TMC, simulated clusters and their syncers.")
@click.option("--once", default="", metavar="EXAMPLE", help="Run one example, show what happens, and end: hello-world.")
@click.option("--clusters", default=2, show_default=True, type=click.IntRange(1, 1000), help="How many simulated clusters.")
@click.option(
    "--root-directory", type=click.Path(path_type=Path), default=Path(".kcp"), show_default=True, help="Where everything is kept."
)
@click.option("--secure-port", default=0, type=int, help="Port of the control plane. [default: 6443, or a free one with --once]")
@verbosity_flag(default=1, help="Log level: 0 errors, 1 warnings, 2 progress, 4 debug.")
def sandbox_command(verbosity: int, **flags: object) -> None:
    setup_logging(LogOptions(verbosity=verbosity))
    if flags["once"] and flags["once"] != EXAMPLE:
        raise click.BadParameter(f"{flags['once']!r}: the examples are: {EXAMPLE}", param_hint="--once")
    from kcp.apiserver.listening import ListenError
    from kcp.apiserver.pki import PKIError
    from kcp.cli.fleet import SandboxOptions
    from kcp.cli.running import run_until_stopped
    from kcp.sim.cluster import SimError
    from kcp.storage.interface import StoreError
    from kcp.tmc.errors import TMCError

    options = SandboxOptions(**flags)  # type: ignore[arg-type]
    run_until_stopped(lambda: _run(options), expected=(ListenError, PKIError, SimError, StoreError, TMCError, OSError))


async def _run(options: SandboxOptions) -> None:
    from contextlib import AsyncExitStack

    from kcp.aio.clock import SystemClock
    from kcp.cli import walkthrough
    from kcp.cli.fleet import run_fleet
    from kcp.cli.running import files_of

    clock = SystemClock()
    started_s = clock.monotonic()
    async with AsyncExitStack() as stack:
        with files_of(f"--root-directory={options.root_directory}"):
            fleet = await stack.enter_async_context(run_fleet(options, clock, walkthrough.show_step))
        if options.once:
            await walkthrough.hello_world(fleet, clock, started_s)
        else:
            walkthrough.show_fleet(fleet)
            await fleet.wait_failed()
