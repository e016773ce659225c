"""The control endpoint of a simulated cluster: reads and sets its fault, and serves the cluster's API past whatever fault it has.

It listens on a port of its own, so that it answers while the cluster is killed or paused, with the cluster's certificates, for members
of `system:masters` only.

    GET /sim/faults                          {"cluster":"east","fault":"none","latencySeconds":0,"skewSeconds":0}
    PUT /sim/faults {"fault":"slow","latencySeconds":0.5}
    PUT /sim/faults {"fault":"skew","skewSeconds":-600}

Setting a fault here removes the Faults that are objects. Every other path is the cluster's API, so that Faults can be read and deleted.
Before: `kcp sim kill|pause|partition|slow|fill|restore`. After: `cluster.SimCluster.set_fault`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from kcp.apimachinery.errors import BadRequest, Forbidden, MethodNotAllowed, NotFound
from kcp.apiserver.request import Handler, Request, Response
from kcp.client import kubeconfig
from kcp.client.endpoint import Endpoint
from kcp.client.http import HttpTransport
from kcp.client.rest import Client
from kcp.sim.faults import ASGIApp, Fault, FaultState
from kcp.sim.runstate import ClusterRecord

PATH = "/sim/faults"
KUBECONFIG_EXTENSION = "sim.kcp.io"
"""In the cluster entry of a kubeconfig that a simulated cluster writes; holds `controlURL`."""

ADMINISTRATORS = "system:masters"
MAX_LATENCY_S = 3600.0
MAX_SKEW_S = 365 * 24 * 3600.0


def handler(name: str, get: Callable[[], FaultState], set_fault: Callable[[FaultState], Awaitable[None]]) -> Handler:
    """Answers the requests of authenticated users."""

    async def answer(req: Request) -> Response:
        if ADMINISTRATORS not in req.user.groups:
            raise Forbidden(f'user "{req.user.name}" may not change the faults of simulated cluster "{name}": only its administrator may')
        if req.path != PATH:
            raise NotFound(f"this is the control endpoint of simulated cluster {name}: it serves {PATH} only")
        if req.method in ("PUT", "POST"):
            await set_fault(parse(await req.read_body()))
        elif req.method != "GET":
            raise MethodNotAllowed(f"{PATH} takes GET and PUT")
        state = get()
        return Response(body=orjson.dumps({"cluster": name, **_document(state)}))

    return answer


@dataclass(frozen=True, slots=True)
class Switchboard:
    """The switches and the cluster's API at one port."""

    switches: ASGIApp
    cluster: ASGIApp

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        app = self.switches if scope["path"] == PATH else self.cluster
        await app(scope, receive, send)


def parse(body: bytes) -> FaultState:
    """The wanted state. Raises: BadRequest."""
    try:
        wanted = orjson.loads(body)
        fault = Fault(wanted["fault"])
        latency_s, skew_s = float(wanted.get("latencySeconds") or 0.0), float(wanted.get("skewSeconds") or 0.0)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        choices = ", ".join(f.value for f in Fault)
        numbers = '"latencySeconds": a number, "skewSeconds": a number'
        raise BadRequest(f'the body must be {{"fault": one of {choices}, {numbers}}}: {error}') from error
    if fault is Fault.SLOW and not 0 < latency_s <= MAX_LATENCY_S:
        raise BadRequest(f"latencySeconds must be greater than 0 and at most {MAX_LATENCY_S:g}")
    if fault is Fault.SKEW and not 0 < abs(skew_s) <= MAX_SKEW_S:
        raise BadRequest(f"skewSeconds must not be 0, and between -{MAX_SKEW_S:g} and {MAX_SKEW_S:g}")
    return FaultState(fault, latency_s if fault is Fault.SLOW else 0.0, skew_s if fault is Fault.SKEW else 0.0)


def _document(state: FaultState) -> dict[str, object]:
    return {"fault": state.fault.value, "latencySeconds": state.latency_s, "skewSeconds": state.skew_s}


def endpoint(record: ClusterRecord) -> Endpoint:
    """Where the switches of a running cluster are, with its administrator's credentials. Raises: KubeConfigError."""
    return replace(kubeconfig.load(record.kubeconfig).endpoint, server=record.control_url)


def endpoint_of_file(path: Path) -> Endpoint:
    """The same from a kubeconfig that the cluster wrote: it names the control URL in an extension. Raises: KubeConfigError."""
    document = kubeconfig.read(path)
    entry = kubeconfig.resolve(document, source=path)
    cluster = kubeconfig.find(document, "clusters", entry.cluster) or {}
    url = next((e["extension"]["controlURL"] for e in cluster.get("extensions") or () if e.get("name") == KUBECONFIG_EXTENSION), "")
    if not url:
        raise kubeconfig.KubeConfigError(f"kubeconfig {path} is not that of a simulated cluster: it names no control URL")
    return replace(entry.endpoint, server=url)


async def change(endpoint: Endpoint, wanted: FaultState | None) -> FaultState:
    """Set the fault of a running cluster, or only read it with None. Returns the state then.

    Args: endpoint: of the control URL, with the credentials of the cluster's administrator.
    Raises: StatusError, TransportError.
    """
    async with Client(HttpTransport(endpoint), origin=endpoint.origin) as client:
        if wanted is None:
            response = await client.raw("GET", PATH)
        else:
            body = orjson.dumps(_document(wanted))
            response = await client.raw("PUT", PATH, headers={"content-type": "application/json"}, body=body)
    told = orjson.loads(response.body)
    return FaultState(Fault(told["fault"]), float(told["latencySeconds"]), float(told["skewSeconds"]))
