"""`EndpointFollower`: an operator's work at every endpoint of an APIExport, started and stopped as endpoints come and go.

An APIExportEndpointSlice lists one URL for each shard that has consumers of the export; behind a URL all of them are one cluster `*`.
Before: operators (examples/03-operator). After: an informer of the slices in the provider's workspace, `aio.supervisor`.
Source: github.com/kcp-dev/multicluster-provider apiexport/provider.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from kcp.aio.clock import Clock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer

log = logging.getLogger(__name__)

ENDPOINT_SLICES = GVR("apis.kcp.io", "v1alpha1", "apiexportendpointslices")


def endpoint_urls(endpoint_slice: Mapping[str, Any]) -> list[str]:
    """The URLs that a slice lists, each once and in order.

    >>> endpoint_urls({"status": {"endpoints": [{"url": "https://kcp/services/apiexport/33bab531/widgets"}]}})
    ['https://kcp/services/apiexport/33bab531/widgets']
    """
    return sorted({endpoint["url"] for endpoint in meta.nested(endpoint_slice, "status", "endpoints", default=()) if endpoint.get("url")})


def view_of(client: Client, url: str) -> Client:
    """All consumers behind an endpoint of the same server: read with this one, write with `.cluster(key.cluster)` of it."""
    return client.at(f"{urlsplit(url).path.rstrip('/')}/clusters/*")


class EndpointFollower:
    """Runs `serve(url)` for each endpoint of one slice, for as long as the endpoint is listed."""

    def __init__(self, slices: Informer, name: str, serve: Callable[[str], Coroutine[Any, Any, None]], *, clock: Clock) -> None:
        """Args: slices: of the provider's workspace. name: of the slice, by default the export's. serve: runs until it is cancelled."""
        self._slices, self._name, self._serve = slices, name, serve
        self._supervisor = Supervisor(f"endpoints of {name}")
        self._served: dict[str, asyncio.Task[None]] = {}
        self._controller: Controller[ObjectKey] = Controller(f"endpoints of {name}", self._reconcile, clock=clock, workers=1)
        self._controller.watch(slices, self._own)

    def _own(self, key: ObjectKey, old: Any, new: Any) -> Iterable[ObjectKey]:  # noqa: ARG002 - the form of a map function
        return (key,) if key.name == self._name else ()

    async def run(self) -> None:
        """Follow the slice until cancelled; the informer is run by whoever made it. Raises what a `serve` raised."""
        async with self._supervisor:
            self._supervisor.spawn(self._controller.run(), name=f"follow {self._name}")
            raise await self._supervisor.wait_failed()

    async def _reconcile(self, key: ObjectKey) -> Result:
        wanted = endpoint_urls(self._slices.get(key) or {})
        for url in [url for url in self._served if url not in wanted]:
            log.info("endpoint %s is gone", url)
            task = self._served.pop(url)
            task.cancel()
            await asyncio.wait([task])
        for url in wanted:
            if url not in self._served:
                log.info("serving endpoint %s", url)
                self._served[url] = self._supervisor.spawn(self._serve(url), name=f"endpoint {url}")
        return Result()

    def statistics(self) -> dict[str, int]:
        return {"endpoints": len(self._served), **self._controller.statistics()}
