"""`/healthz`, `/livez`, `/readyz`: named checks, one by one or together, as load balancers and `kubectl get --raw` ask for them.

Before: the router; anyone may ask (`authz.union.AllowedPaths`). After: the checks that the composition root adds.
Source: k8s.io/apiserver/pkg/server/healthz/healthz.go.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import parse_qsl

from kcp.apimachinery.errors import NotFound
from kcp.apiserver.request import ANONYMOUS, Request, Response

log = logging.getLogger(__name__)

PROBES = ("healthz", "livez", "readyz")

Run: TypeAlias = Callable[[], str | Awaitable[str]]
""""" if all is well, else what is wrong."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    name: str
    run: Run
    probes: tuple[str, ...] = PROBES
    """A check that fails while the server starts or waits for others belongs to readyz only: a failing livez gets it restarted."""


def ping() -> str:
    """That the event loop answers at all."""
    return ""


PING = HealthCheck("ping", ping)


class Health:
    """The checks of one server; `handle` answers the three paths and those below them."""

    def __init__(self, checks: Sequence[HealthCheck] = (), *, limit_s: float = 5.0) -> None:
        """`limit_s`: a check that takes longer has failed."""
        self._checks: list[HealthCheck] = [PING, *checks]
        self._limit_s = limit_s

    def add(self, check: HealthCheck) -> None:
        self._checks.append(check)

    async def handle(self, req: Request) -> Response:
        probe, _, wanted = req.info.path.strip("/").partition("/")
        checks = [check for check in self._checks if probe in check.probes]
        if wanted:
            return await self._one(probe, wanted, checks)
        excluded = frozenset(value for key, value in parse_qsl(req.query_string) if key == "exclude")
        lines: list[str] = []
        failed: list[str] = []
        for check in checks:
            if check.name in excluded:
                lines.append(f"[+]{check.name} excluded: ok")
                continue
            fault = await self._run(check)
            if fault:
                failed.append(check.name)
                log.info("%s check %s failed: %s", probe, check.name, fault)
            shown = "reason withheld" if req.user is ANONYMOUS else fault
            lines.append(f"[-]{check.name} failed: {shown}" if fault else f"[+]{check.name} ok")
        lines += _unmatched(excluded, checks)
        if failed:
            return _text(500, [*lines, f"{probe} check failed"])
        return _text(200, [*lines, f"{probe} check passed"]) if "verbose" in req.query else _text(200, ["ok"], end="")

    async def is_ready(self) -> bool:
        """Whether every readyz check passes now."""
        return not any([await self._run(check) for check in self._checks if "readyz" in check.probes])

    async def _one(self, probe: str, wanted: str, checks: Iterable[HealthCheck]) -> Response:
        check = next((check for check in checks if check.name == wanted), None)
        if check is None:
            raise NotFound(f'{probe} has no check "{wanted}": it has {", ".join(c.name for c in checks)}')
        fault = await self._run(check)
        return _text(500, [f"internal server error: {fault}"]) if fault else _text(200, ["ok"], end="")

    async def _run(self, check: HealthCheck) -> str:
        try:
            async with asyncio.timeout(self._limit_s):
                result = check.run()
                return await result if inspect.isawaitable(result) else result
        except TimeoutError:
            return f"no answer within {self._limit_s:g} s"


def _unmatched(excluded: Iterable[str], checks: Iterable[HealthCheck]) -> list[str]:
    unknown = sorted(set(excluded) - {check.name for check in checks})
    quoted = ",".join(f'"{name}"' for name in unknown)
    return [f"warn: some health checks cannot be excluded: no matches for {quoted}"] if unknown else []


def _text(status: int, lines: Iterable[str], *, end: str = "\n") -> Response:
    headers = (("x-content-type-options", "nosniff"), ("cache-control", "no-cache, no-store, must-revalidate"))
    return Response(status, ("\n".join(lines) + end).encode(), "text/plain; charset=utf-8", headers)
