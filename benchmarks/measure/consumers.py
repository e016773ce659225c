"""The example operator as a process of its own: how soon it has served a widget, whichever consumer has it, and what that costs.

Before: `workspaces.py`. After: `examples/03-operator`, the server through its API.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import market
from measure.plain import watching
from measure.processes import ControlPlane, Program
from measure.tree import Place

_EXAMPLE = Path(__file__).parents[2] / "examples/03-operator/widgets.py"
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Served:
    delays: list[float]
    """Seconds from the request for a widget to the operator's status of it, seen by a watch of all consumers."""
    operator_cpu_s: float
    operator_kib: int


def operate(server: ControlPlane, token: str, consumers: Sequence[Place], per_s: float) -> Served:
    """Make one widget in each consumer, at a steady rate, while the operator runs."""
    kubeconfig = str(server.root / "admin.kubeconfig")
    flags = ["--kubeconfig", kubeconfig, "--context", "shard-base", "--workspace", market.PROVIDER]
    operator = Program.start("operator", ["python", str(_EXAMPLE), *flags], cwd=server.root)
    try:
        _wait_serving(operator)
        used_s = operator.cpu_s()
        delays = asyncio.run(_serve(server, token, consumers, per_s))
        return Served(delays, operator.cpu_s() - used_s, operator.rss_kib())
    finally:
        operator.stop()


def _wait_serving(operator: Program) -> None:
    until_s = time.perf_counter() + _PATIENCE_S
    while b"serving endpoint" not in operator.log.read_bytes():
        operator.check()
        if time.perf_counter() > until_s:
            raise SystemExit(f"the operator finds no endpoint:\n{operator.log.read_text()[-3000:]}")
        time.sleep(0.05)


async def _serve(server: ControlPlane, token: str, consumers: Sequence[Place], per_s: float) -> list[float]:
    client = server.client(token)
    path = f"{market.view_url(client, 'widgets')}/apis/example.com/v1/widgets"
    revision = client.json("GET", f"{path}?limit=1")["metadata"]["resourceVersion"]
    begun: dict[str, float] = {}
    taken: dict[str, float] = {}

    def make() -> None:
        maker, started = server.client(token), time.perf_counter()
        for number, place in enumerate(consumers):
            time.sleep(max(0.0, started + number / per_s - time.perf_counter()))  # the rate is what is asked for
            name = f"served-{number}"
            begun[name] = time.perf_counter()
            maker.json("POST", f"/clusters/{':'.join(place)}{market.WIDGETS}", market.widget(name))

    async with watching(server.url, token, f"{path}?watch=1&resourceVersion={revision}") as lines:
        making = threading.Thread(target=make)
        making.start()
        while len(taken) < len(consumers):
            async with asyncio.timeout(_PATIENCE_S):
                found = json.loads(await anext(lines))["object"]
            name = found["metadata"]["name"]
            if name in begun and "area" in found.get("status", {}):
                taken.setdefault(name, time.perf_counter() - begun[name])
        making.join()
    return list(taken.values())
