"""Bearer credentials that change while a client runs: token files and exec plugins.

Before: `http.HttpTransport`, for every request. Source: k8s.io/client-go/transport/token_source.go, plugin/pkg/client/auth/exec/exec.go.
"""

from __future__ import annotations

import asyncio
import base64
import os
from datetime import timedelta
from pathlib import Path

import orjson

from kcp.aio.clock import Clock, parse_rfc3339
from kcp.client.endpoint import Endpoint, ExecPlugin
from kcp.client.transport import TransportError

_REREAD_S = 60.0
_RENEW_BEFORE = timedelta(seconds=30)
_PLUGIN_TIMEOUT_S = 60.0


class Credentials:
    """The Authorization header of an endpoint, kept fresh."""

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._fixed = _fixed(endpoint)
        self._held = ""
        self._valid_until_s = 0.0
        self._lock = asyncio.Lock()

    async def authorization(self) -> str:
        """Value of the header, "" for none. Raises TransportError when it cannot be had."""
        if self._fixed is not None:
            return self._fixed
        if self._clock.monotonic() >= self._valid_until_s or not self._held:
            async with self._lock:
                if self._clock.monotonic() >= self._valid_until_s or not self._held:
                    await self._renew()
        return self._held

    def refused(self) -> None:
        """The server answered 401: do not use what is held again."""
        self._held = ""

    async def _renew(self) -> None:
        if self._endpoint.exec_plugin is not None:
            token, valid_s = await self._run_plugin(self._endpoint.exec_plugin)
        else:
            token, valid_s = self._read_file(), _REREAD_S
        self._held = f"Bearer {token}"
        self._valid_until_s = self._clock.monotonic() + valid_s

    def _read_file(self) -> str:
        path = self._endpoint.token_file
        try:
            token = Path(path).read_text().strip()
        except OSError as error:
            raise TransportError(f"cannot read the token file {path} of {self._endpoint.origin}: {error.strerror}") from error
        if not token:
            raise TransportError(f"the token file {path} of {self._endpoint.origin} is empty")
        return token

    async def _run_plugin(self, plugin: ExecPlugin) -> tuple[str, float]:
        """Token and seconds that it is good for."""
        info = orjson.dumps({"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": {"interactive": False}}).decode()
        try:
            process = await asyncio.create_subprocess_exec(
                plugin.command, *plugin.args, env={**os.environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": info},
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            hint = f" {plugin.install_hint}" if plugin.install_hint else ""
            raise TransportError(f"cannot run {plugin.command}, which {self._endpoint.origin} names: {error.strerror}.{hint}") from error
        try:
            async with asyncio.timeout(_PLUGIN_TIMEOUT_S):
                out, err = await process.communicate()
        except TimeoutError:
            raise TransportError(
                f"{plugin.command}, which {self._endpoint.origin} names, did not end within {_PLUGIN_TIMEOUT_S:g} s"
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            told = err.decode(errors="replace").strip()[-1000:]
            raise TransportError(f"{plugin.command}, which {self._endpoint.origin} names, failed ({process.returncode}): {told}")
        return self._plugin_token(plugin, out)

    def _plugin_token(self, plugin: ExecPlugin, out: bytes) -> tuple[str, float]:
        try:
            status = orjson.loads(out)["status"]
            token = status["token"]
            expires = status.get("expirationTimestamp")
            valid_s = (parse_rfc3339(expires) - _RENEW_BEFORE - self._clock.now()).total_seconds() if expires else float("inf")
        except (ValueError, KeyError, TypeError) as error:
            raise TransportError(
                f"{plugin.command}, which {self._endpoint.origin} names, printed no ExecCredential with a token"
            ) from error
        return token, valid_s


def _fixed(endpoint: Endpoint) -> str | None:
    """The header where it never changes; None where it has to be fetched."""
    if endpoint.token_file or endpoint.exec_plugin is not None:
        return None
    if endpoint.token:
        return f"Bearer {endpoint.token}"
    if endpoint.username:
        pair = f"{endpoint.username}:{endpoint.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()
    return ""
