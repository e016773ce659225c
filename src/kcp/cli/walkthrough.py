"""What a sandbox shows: its progress, the hello-world example as it happens, and what to try next."""

from __future__ import annotations

import asyncio
import json
import shlex
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcp.aio.clock import Clock, parse_rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.tmc.model.kinds import PLACEMENTS, SYNC_TARGETS, SYNCED
from kcp.tmc.model.names import KEY_LABEL, OBSERVED_ANNOTATION, STATUS_ANNOTATION, synced_keys
from kcp.tmc.placement.shares import share_of

if TYPE_CHECKING:
    from kcp.cli.fleet import Fleet

DEPLOYMENTS = GVR("apps", "v1", "deployments")
_PATIENCE_S = 30.0


def show_step(text: str) -> None:
    from rich.console import Console

    Console(highlight=False).print(f"[green]✓[/green] {text}")


def show_fleet(fleet: Fleet) -> None:
    """Where everything is, for a sandbox that stays up."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print("\nThe sandbox runs until Ctrl-C and keeps its data. In another terminal:")
    for line in _next_commands(fleet):
        console.print(f"  {line}")


def _next_commands(fleet: Fleet) -> list[str]:
    first = next(iter(fleet.clusters))
    state = fleet.root_directory / "sim"
    elsewhere = "" if state == Path(".kcp/sim") else f" --state-dir {shlex.quote(str(state))}"
    return [
        f"export KUBECONFIG={shlex.quote(str(fleet.server.options.admin_kubeconfig))}",
        "kubectl ws use root:hello-world",
        "kubectl apply -f examples/01-hello-world/",
        "kubectl get synctargets,placements,deployments",
        "kubectl scale deployment hello-world --replicas=6",
        f"kubectl --kubeconfig {shlex.quote(str(fleet.kubeconfig_of(first)))} get deployments,pods -A",
        f"kcp sim kill {first}{elsewhere}    # and see: kubectl get synctargets; back with: kcp sim restore {first}{elsewhere}",
    ]


def example_objects(directory: Path) -> list[JSONObject]:
    """The objects of an example's files, in order of their names."""
    import yaml

    found: list[JSONObject] = []
    for file in sorted(directory.glob("*.yaml")):
        found += [obj for obj in yaml.safe_load_all(file.read_text()) if obj]
    return found


def find_example(name: str) -> Path:
    """The example's folder: in the checkout one stands in, or beside this source tree. Raises FileNotFoundError."""
    for root in (Path.cwd(), Path(__file__).parents[3]):
        for candidate in sorted((root / "examples").glob(f"*-{name}")):
            return candidate
    raise FileNotFoundError(f"examples/NN-{name} not found: run this from a checkout of the repository")


async def hello_world(fleet: Fleet, clock: Clock, started_s: float) -> None:
    """Apply the example, wait until all clusters report, and show the outcome."""
    directory = find_example("hello-world")
    objects = example_objects(directory)
    resources = {r.gvk: r.gvr for r in await fleet.workspace.discover()}
    await _wait_ready_targets(fleet, clock)
    show_step(f"SyncTargets {', '.join(fleet.clusters)} are ready")
    applied_s = clock.monotonic()
    for obj in sorted(objects, key=lambda o: o["kind"] != "Placement"):
        await fleet.workspace.resource(resources[meta.gvk(obj)]).apply(obj, field_manager="kcp-sandbox", force=True)
        show_step(f"applied {obj['kind']} {meta.name(obj)}")
    deployment = await _follow(fleet.workspace, "hello-world", clock)
    took_s = clock.monotonic() - applied_s
    show_step(f"hello-world runs on {len(fleet.clusters)} clusters and reports back, {took_s:.2f} s after it was applied")
    await _show_table(fleet, deployment, clock)
    _show_ending(fleet, clock.monotonic() - started_s)


async def _wait_ready_targets(fleet: Fleet, clock: Clock) -> None:
    targets = fleet.workspace.resource(SYNC_TARGETS)
    found = await targets.list()
    ready = {meta.name(o) for o in found.items if conditions.is_true(o, "Ready")}
    async with asyncio.timeout(_PATIENCE_S):
        if ready >= set(fleet.clusters):
            return
        async for event in targets.watch(resource_version=found.resource_version):
            if event.type in ("ADDED", "MODIFIED") and conditions.is_true(event.object, "Ready"):
                ready.add(meta.name(event.object))
            if ready >= set(fleet.clusters):
                return


async def _follow(workspace: Client, name: str, clock: Clock) -> JSONObject:
    """Show the Deployment's status as it changes, until all replicas are ready and every cluster has reported."""
    resource = workspace.resource(DEPLOYMENTS)
    shown = ""
    async with asyncio.timeout(_PATIENCE_S):
        found = await resource.list(namespace="default", field_selector=f"metadata.name={name}")
        events = resource.watch(namespace="default", field_selector=f"metadata.name={name}", resource_version=found.resource_version)
        current = found.items[0]
        while not _is_done(current):
            current = await _next_object(events)
            status = current.get("status") or {}
            synced = conditions.get(current, SYNCED) or {}
            line = (
                f"status: {status.get('readyReplicas', 0)}/{current['spec'].get('replicas', 1)} ready; {synced.get('message', 'placing')}"
            )
            if line != shown:
                shown = line
                show_step(line)
    return current


async def _next_object(events: Any) -> JSONObject:
    while True:
        event = await anext(events)
        if event.type in ("ADDED", "MODIFIED"):
            obj: JSONObject = event.object
            return obj


def _is_done(deployment: JSONObject) -> bool:
    ready = meta.nested(deployment, "status", "readyReplicas", default=0)
    return ready == meta.nested(deployment, "spec", "replicas", default=1) and conditions.is_true(deployment, SYNCED)


async def _show_table(fleet: Fleet, deployment: JSONObject, clock: Clock) -> None:
    """One row per object and cluster: replicas asked for, ready, and how old the observation is."""
    from rich.console import Console
    from rich.table import Table

    targets = {meta.labels(t).get(KEY_LABEL, ""): t for t in (await fleet.workspace.resource(SYNC_TARGETS).list()).items}
    table = Table(title="hello-world", title_justify="left", header_style="bold")
    for column, justify in (
        ("OBJECT", "left"),
        ("CLUSTER", "left"),
        ("REPLICAS", "right"),
        ("READY", "right"),
        ("OBSERVED (S AGO)", "right"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for row in _rows(deployment, targets, clock.now()):
        table.add_row(*row)
    for gvr, name in ((GVR("", "v1", "services"), "hello-world"), (GVR("", "v1", "configmaps"), "hello-config")):
        obj = await _get(fleet.workspace, gvr, name)
        for key in sorted(synced_keys(obj), key=lambda k: meta.name(targets[k])):
            table.add_row(f"{obj['kind']} {name}", meta.name(targets[key]), "", "", "")
    placement = await _get(fleet.workspace, PLACEMENTS, "hello-world", namespace="")
    console = Console(highlight=False, width=110)
    console.print(table)
    message = (conditions.get(placement, "Scheduled") or {}).get("message", "")
    console.print(f"Placement hello-world: {message}")


async def _get(workspace: Client, gvr: GVR, name: str, *, namespace: str = "default") -> JSONObject:
    try:
        return await workspace.resource(gvr).get(name, namespace=namespace)
    except StatusError as error:
        raise RuntimeError(f"{gvr} {name} vanished while it was shown: {error}") from error


def _rows(deployment: JSONObject, targets: dict[str, JSONObject], now: datetime) -> list[tuple[str, ...]]:
    """Cells of the Deployment's rows, by cluster name; the observation is as old as the last word of its syncer."""
    annotations = meta.annotations(deployment)
    rows: list[tuple[str, ...]] = []
    for key in sorted(synced_keys(deployment), key=lambda k: meta.name(targets[k])):
        status = json.loads(annotations.get(STATUS_ANNOTATION + key, "{}"))
        heard = [annotations.get(OBSERVED_ANNOTATION + key), meta.nested(targets[key], "status", "lastSyncerHeartbeatTime")]
        ages = [(now - parse_rfc3339(text)).total_seconds() for text in heard if text]
        observed = f"{max(min(ages), 0.0):.1f}" if ages else "never"
        replicas, ready = str(share_of(deployment, key)), str(status.get("readyReplicas", 0))
        rows.append((f"Deployment {meta.name(deployment)}", meta.name(targets[key]), replicas, ready, observed))
    return rows


def _show_ending(fleet: Fleet, took_s: float) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\nDone in {took_s:.1f} s. To go on, start the same fleet and keep it:")
    console.print("  . .venv/bin/activate && kcp sandbox")
    console.print("and in another terminal:")
    for line in [". .venv/bin/activate", *_next_commands(fleet)]:
        console.print(f"  {line}")
