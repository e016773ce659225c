"""`kcp sim apply -f`: Faults, and those of a Scenario, created in the simulated clusters that run here.

Included in `sim_group`. Before: the shell. After: the clusters' control URLs, which answer whatever fault a cluster has.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from kcp.apimachinery.meta import JSONObject
from kcp.cli.flags import fail


@click.command("apply", help="Break simulated clusters as a file of Faults, or a Scenario, says. Delete the Faults to mend them.")
@click.option(
    "-f", "--file", type=click.Path(path_type=Path), required=True, help="YAML of Faults, or of a Scenario; of its steps only faults count."
)
@click.option(
    "--state-dir", type=click.Path(path_type=Path), default=Path(".kcp/sim"), show_default=True,
    help="Where running simulated clusters leave their addresses.",
)  # fmt: skip
def apply_command(file: Path, state_dir: Path) -> None:
    from kcp.apimachinery.errors import StatusError
    from kcp.client.kubeconfig import KubeConfigError
    from kcp.client.transport import TransportError
    from kcp.replay.faultfiles import faults_of
    from kcp.replay.scenario import ScenarioError
    from kcp.sim import runstate

    try:
        faults = list(faults_of(read_documents(file)))
        records = {cluster: runstate.find(cluster, state_dir) for cluster in {fault["spec"]["cluster"] for fault in faults}}
        for fault in faults:
            asyncio.run(_create(fault, records[fault["spec"]["cluster"]]))
            click.echo(_told(fault))
    except ScenarioError as error:
        fail(f"--file={file}: {error}")
    except (runstate.UnknownCluster, KubeConfigError, StatusError, TransportError) as error:
        fail(str(error))


def read_documents(path: Path) -> list[Any]:
    """The YAML documents of a file; ends the program where it cannot be read."""
    import yaml

    try:
        return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]
    except (OSError, yaml.YAMLError) as error:
        fail(f"--file={path}: {error}")


async def _create(fault: JSONObject, record: Any) -> None:
    """In place of one of the same name, so that its times count from now."""
    from kcp.apimachinery.errors import NotFound
    from kcp.client.http import HttpTransport
    from kcp.client.rest import Client
    from kcp.sim import control
    from kcp.sim.faultobjects import FAULTS

    endpoint = control.endpoint(record)
    async with Client(HttpTransport(endpoint), origin=endpoint.origin) as client:
        resource = client.resource(FAULTS)
        try:
            await resource.delete(fault["metadata"]["name"])
        except NotFound:
            pass  # the usual case
        await resource.create(fault)


def _told(fault: JSONObject) -> str:
    spec = fault["spec"]
    after = f" after {spec['after']}" if spec.get("after") else ""
    lasts = f" for {spec['duration']}" if spec.get("duration") else ""
    return f"Fault {fault['metadata']['name']} created in {spec['cluster']}: {spec['type']}{after}{lasts}."
