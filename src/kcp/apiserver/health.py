"""`/healthz`, `/livez`, `/readyz`: named checks, one by one or together, as load balancers and `kubectl get --raw` ask for them.

Before: the router; anyone may ask (`authz.union.AllowedPaths`). After: the checks that the composition roots add.
Source: k8s.io/apiserver/pkg/server/healthz/healthz.go.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias
from urllib.parse import parse_qsl

from kcp.apiserver.request import Request, Response, no_path
from kcp.storage.interface import StoreError

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


def log_check() -> str:
    """That logging holds up nobody: it happens in the event loop, so whoever reads this has been passed on by it."""
    return ""


PING, LOG = HealthCheck("ping", ping), HealthCheck("log", log_check)


def of_store(read: Callable[[], Awaitable[object]]) -> Iterable[HealthCheck]:
    """That what is stored can be read, under the names by which Kubernetes' checks of its store are known.

    Source: k8s.io/apiserver/pkg/server/options/etcd.go.
    """

    async def run() -> str:
        await read()
        return ""

    return HealthCheck("etcd", run), HealthCheck("etcd-readiness", run, ("readyz",))


class Steps:
    """What a server does once when it starts: each is a check that passes when it is done.

    Source: k8s.io/apiserver/pkg/server/hooks.go.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._open = dict.fromkeys(f"poststarthook/{name}" for name in names)
        self.checks = tuple(HealthCheck(name, partial(self._run, name)) for name in self._open)

    def done(self, *names: str) -> None:
        for name in names:
            del self._open[f"poststarthook/{name}"]

    def _run(self, name: str) -> str:
        return "not finished" if name in self._open else ""


class Health:
    """The checks of one server; `handle` answers the three paths and those below them."""

    def __init__(self, checks: Sequence[HealthCheck] = (), *, limit_s: float = 5.0) -> None:
        """`limit_s`: a check that takes longer has failed."""
        self._checks: list[HealthCheck] = [PING, LOG, *checks]
        self._limit_s = limit_s

    def add(self, *checks: HealthCheck) -> None:
        self._checks.extend(checks)

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
            lines.append(f"[-]{check.name} failed: reason withheld" if fault else f"[+]{check.name} ok")  # anyone may ask
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
            return no_path()
        fault = await self._run(check)
        return _text(500, [f"internal server error: {fault}"]) if fault else _text(200, ["ok"], end="")

    async def _run(self, check: HealthCheck) -> str:
        try:
            async with asyncio.timeout(self._limit_s):
                result = check.run()
                return await result if inspect.isawaitable(result) else result
        except TimeoutError:
            return f"no answer within {self._limit_s:g} s"
        except (StoreError, OSError) as error:
            return str(error) or type(error).__name__


def _unmatched(excluded: Iterable[str], checks: Iterable[HealthCheck]) -> list[str]:
    unknown = sorted(set(excluded) - {check.name for check in checks})
    quoted = ",".join(f'"{name}"' for name in unknown)
    return [f"warn: some health checks cannot be excluded: no matches for {quoted}"] if unknown else []


def _text(status: int, lines: Iterable[str], *, end: str = "\n") -> Response:
    headers = (("x-content-type-options", "nosniff"),)
    return Response(status, ("\n".join(lines) + end).encode(), "text/plain; charset=utf-8", headers)
