"""An operator for all consumers of an APIExport: gives every Widget the area of its sides in the status, in whichever workspace it is.

    python examples/03-operator/widgets.py --kubeconfig .kcp/admin.kubeconfig --workspace root:widgets-provider

One informer and one controller serve everybody who binds it: a thousand consumers cost
what their widgets cost. See README.md here, and docs/controllers.md for the pieces.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock, SystemClock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.client import kubeconfig
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.endpoints import ENDPOINT_SLICES, EndpointFollower, view_of
from kcp.controller.factory import InformerFactory, without_managed_fields
from kcp.controller.informer import Informer

WIDGETS = GVR("example.com", "v1", "widgets")


def with_area(widget: dict[str, Any]) -> dict[str, Any]:
    """The widget as it should be. Pure: the decision, and the part to test.

    >>> with_area({"spec": {"width": 2, "height": 3}})["status"]
    {'area': 6}
    """
    spec = widget.get("spec") or {}
    return {**widget, "status": {**(widget.get("status") or {}), "area": spec.get("width", 0) * spec.get("height", 0)}}


@dataclass(frozen=True)
class AreaReconciler:
    """observe → decide → commit, for one widget."""

    widgets: Informer
    for_cluster: Callable[[ClusterName], Client]

    async def reconcile(self, key: ObjectKey) -> Result:
        widget = self.widgets.get(key)
        if widget is not None:
            await commit(self.for_cluster(key.cluster).resource(WIDGETS), widget, with_area(widget))
        return Result()


def build(informers: InformerFactory, for_cluster: Callable[[ClusterName], Client], clock: Clock) -> Controller[ObjectKey]:
    widgets = informers.informer(WIDGETS)
    controller: Controller[ObjectKey] = Controller("area", AreaReconciler(widgets, for_cluster).reconcile, clock=clock, workers=8)
    controller.watch(widgets)
    return controller


async def operate(provider: Client, export: str, clock: Clock) -> None:
    """Serve every endpoint of the export until cancelled. Args: provider: client of the export's workspace."""

    async def serve(url: str) -> None:
        """One shard's consumers, all at once."""
        view = view_of(provider, url)
        informers = InformerFactory(view, clock=clock, transform=without_managed_fields)
        controller = build(informers, view.cluster, clock)
        async with Supervisor(url) as supervisor:
            informers.run_all(supervisor)
            supervisor.spawn(controller.run(), name="area")
            raise await supervisor.wait_failed()

    mine = InformerFactory(provider, clock=clock)
    slices = mine.informer(ENDPOINT_SLICES, field_selector=f"metadata.name={export}")
    async with Supervisor("widgets") as supervisor:
        mine.run_all(supervisor)
        supervisor.spawn(EndpointFollower(slices, export, serve, clock=clock).run(), name="endpoints")
        raise await supervisor.wait_failed()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kubeconfig", required=True, help="of the server")
    parser.add_argument("--workspace", default="", help="with the export; default: the one of the kubeconfig")
    parser.add_argument("--context", default="", help="of the kubeconfig; default: the current one")
    parser.add_argument("--export", default="widgets", help="name of the APIExport, and of its endpoint slice")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    clock = SystemClock()
    server = kubeconfig.connect(options.kubeconfig, options.context, clock=clock, user_agent="widgets", follow=True)
    provider = server.cluster(options.workspace) if options.workspace else server
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        with suppress(asyncio.CancelledError):
            await operate(provider, options.export, clock)
    finally:
        await server.close()


if __name__ == "__main__":
    asyncio.run(main())
