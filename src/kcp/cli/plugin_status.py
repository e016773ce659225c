"""`kubectl tmc status`: how every component of the installation is, and since when; with --watch a table that stays up to date.

Reads `/healthz/tmc`. Exit code 0 if all is well, 2 if something is Degraded, Unhealthy or Unknown.
Before: `kubectl_tmc`. After: the server's health report.
"""

from __future__ import annotations

import argparse
import json
from datetime import timedelta
from typing import Any

from kcp.aio.clock import Clock, SystemClock
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.table import human_duration
from kcp.cli.plugin_claims import table
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, connection_parser
from kcp.cli.plugin_session import PluginError, Session, opened
from kcp.client.transport import TransportError

_HEADER = ("COMPONENT", "ID", "CLUSTER", "HEALTH", "SINCE", "MESSAGE")
_EVERY_S = 2.0
_UNWELL = 2
_ORDER = ("Unhealthy", "Degraded", "Unknown", "Healthy")
_EXAMPLES = """\
examples:
  kubectl tmc status            what is not well, and how many components are
  kubectl tmc status --all      every component
  kubectl tmc status --watch    again every two seconds, until Ctrl-C
  kubectl tmc status -o json    with all that was measured"""


def parser(prog: str) -> PluginParser:
    made = PluginParser(prog=prog, description="Say how every component is.", epilog=_EXAMPLES, parents=[connection_parser()])
    made.add_argument("--all", action="store_true", help="Show components that are well, too.")
    made.add_argument("--watch", action="store_true", help="Show it again every two seconds.")
    made.add_argument("-o", "--output", choices=("table", "json"), default="table", help="Form of the answer.")
    made.set_defaults(run=_run)
    return made


async def _run(options: argparse.Namespace, flags: ConnectionFlags) -> int:
    async with opened(flags) as session:
        if options.watch:
            return await _follow(session, SystemClock(), everything=options.all)
        report = await _read(session)
        session.say(json.dumps(report, indent=2) if options.output == "json" else text(report, everything=options.all))
        return 0 if report["status"] == "Healthy" else _UNWELL


async def _read(session: Session) -> dict[str, Any]:
    """Raises PluginError where the server has no such report."""
    server = session.workspace.cluster("")
    response = await server.transport.request(server.request("GET", "/healthz/tmc", query={"verbose": "true"}))
    if response.status in (200, 503) and b'"components"' in response.body:
        found: dict[str, Any] = json.loads(response.body)
        return found
    error = server.error_of(response)
    if isinstance(error, NotFound):
        raise PluginError("this server reports no health of TMC: it runs without --enable-tmc, or with --tmc-health-monitoring=false")
    if isinstance(error, Forbidden):
        raise PluginError(f"{error}; a ClusterRole in root that allows `list` on componenthealths.tmc.kcp.io would let you")
    raise error


async def _follow(session: Session, clock: Clock, *, everything: bool) -> int:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    shown = "…"
    with Live(Text(shown), console=Console(), auto_refresh=False) as live:
        while True:
            try:
                shown = told = text(await _read(session), everything=everything)
            except TransportError as error:  # it may only be starting anew
                told = f"{shown}\n\nno answer since then: {error}"
            live.update(Text(told), refresh=True)
            await clock.sleep(_EVERY_S)


def text(report: dict[str, Any], *, everything: bool) -> str:
    """The report as people read it: what is worst comes first."""
    components = sorted(report.get("components", []), key=lambda c: (_ORDER.index(c["status"]), c["componentType"], c["componentID"]))
    shown = [c for c in components if everything or c["status"] != "Healthy"]
    numbers = report["details"]
    found = ", ".join(f"{numbers[f'{state.lower()}Components']} {state}" for state in _ORDER if numbers[f"{state.lower()}Components"])
    line = f"TMC is {report['status']}: of {numbers['totalComponents']} components {found or 'none is known yet'}."
    if not shown:
        return line
    rows = [
        (
            c["componentType"],
            c["componentID"],
            c["cluster"],
            c["status"],
            human_duration(timedelta(seconds=c["sinceSeconds"])),
            c["message"] or _measured(c["details"]),
        )
        for c in shown
    ]
    return f"{line}\n\n{table([_HEADER, *rows])}"


def _measured(details: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in list(details.items())[:3])
