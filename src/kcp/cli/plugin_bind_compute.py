"""`kubectl kcp bind compute`: bind the APIs of workloads, and place the namespaces of this workspace on another's clusters.

Before: `plugin_bind`. After: the API.
Source: kcp release-0.11 pkg/cliplugins/bind/plugin/bind_compute.go.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from kcp.aio.clock import Clock, SystemClock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterPath, base36_sha224
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, duration
from kcp.cli.plugin_lookup import conditions_text
from kcp.cli.plugin_session import PluginError, Session, opened
from kcp.cli.plugin_waiting import wait_until

PLACEMENTS = GVR("scheduling.kcp.io", "v1alpha1", "placements")
BINDINGS = GVR("apis.kcp.io", "v1alpha2", "apibindings")
DEFAULT_EXPORT = "root:compute:kubernetes"
_LONGEST_NAME = 253 - 1 - 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeOptions:
    location_workspace: str
    exports: tuple[str, ...] = (DEFAULT_EXPORT,)
    namespace_selector: str = ""
    location_selectors: tuple[str, ...] = ("",)
    name: str = ""
    timeout_s: float = 30.0

    @property
    def placement(self) -> str:
        """>>> ComputeOptions(location_workspace="root:clusters").placement
        'placement-o8678za6'
        """
        told = f"{self.namespace_selector}{','.join(self.location_selectors)}{self.location_workspace}"
        return self.name or f"placement-{base36_sha224(told)[:8]}"


def add(commands: argparse._SubParsersAction[PluginParser], shared: PluginParser) -> None:
    compute = commands.add_parser("compute", help="run workloads on another workspace's clusters", parents=[shared])
    compute.add_argument("location_workspace", metavar="WORKSPACE", help="absolute path of the workspace of the locations")
    compute.add_argument("--apiexports", action="append", metavar="PATH:EXPORT,…", help=f"APIs of workloads; {DEFAULT_EXPORT} if not given")
    compute.add_argument("--namespace-selector", default="", metavar="SELECTOR", help="which namespaces are placed; all if not given")
    compute.add_argument(
        "--location-selectors", action="append", metavar="SELECTOR", help="which locations are used; repeatable; all if not given"
    )
    compute.add_argument("--name", default="", help="name of the Placement")
    compute.add_argument("--timeout", type=duration, default=30.0, metavar="DURATION", help="longest wait; 30s if not given")
    compute.set_defaults(run=_bind)


async def _bind(options: argparse.Namespace, flags: ConnectionFlags) -> None:
    from kcp.cli.plugin_bind import words

    chosen = ComputeOptions(
        location_workspace=options.location_workspace.lstrip(":"),
        exports=words(options.apiexports or [DEFAULT_EXPORT]),
        namespace_selector=options.namespace_selector,
        location_selectors=tuple(options.location_selectors or [""]),
        name=options.name,
        timeout_s=options.timeout,
    )
    async with opened(flags) as session:
        await bind_compute(session, chosen, SystemClock())


async def bind_compute(session: Session, options: ComputeOptions, clock: Clock) -> None:
    from kcp.cli.kubectl_ws import label_selector

    if not ClusterPath(options.location_workspace).is_valid:
        raise PluginError(f'"{options.location_workspace}" is no path of a workspace, such as root:clusters')
    selectors = [label_selector(text, "--location-selectors") for text in options.location_selectors]
    spec = {
        "locationSelectors": selectors,
        "locationWorkspace": options.location_workspace,
        "locationResource": {"group": "workload.kcp.io", "version": "v1alpha1", "resource": "synctargets"},
        "namespaceSelector": label_selector(options.namespace_selector, "--namespace-selector"),
    }
    await _bind_exports(session, options, clock)
    await _place(session, options, spec, clock)


async def _bind_exports(session: Session, options: ComputeOptions, clock: Clock) -> None:
    """Bind the exports that are not bound yet, and wait until all are."""
    from kcp.cli.plugin_bind import is_bound, reference, wait_bound

    bindings = session.workspace.resource(BINDINGS)
    present = {_export_of(b): b for b in (await bindings.list()).items}
    wanted = [reference(export) for export in options.exports]
    for path, export in wanted:
        if (path, export) in present:
            continue
        name = f"{export[:_LONGEST_NAME]}-{base36_sha224(path)[:8]}"
        spec = {"reference": {"export": {"path": path, "name": export}}}
        try:
            made = await bindings.create(
                {"apiVersion": BINDINGS.api_version, "kind": "APIBinding", "metadata": {"name": name}, "spec": spec}
            )
        except AlreadyExists:
            made = await bindings.get(name)
        present[path, export] = made
        session.note(f'Binding APIExport "{path}:{export}".')
    for key in wanted:
        if not is_bound(present[key]):
            await wait_bound(session, present[key], clock, options.timeout_s)


def _export_of(binding: JSONObject) -> tuple[str, str]:
    export = meta.nested(binding, "spec", "reference", "export", default={})
    return str(export.get("path") or ""), str(export.get("name") or "")


async def _place(session: Session, options: ComputeOptions, spec: JSONObject, clock: Clock) -> None:
    placements, name = session.workspace.resource(PLACEMENTS), options.placement
    wanted: JSONObject = {"apiVersion": PLACEMENTS.api_version, "kind": "Placement", "metadata": {"name": name}, "spec": spec}
    try:
        placement = await placements.create(wanted)
        session.say(f"placement {name} created.")
    except AlreadyExists:
        placement = await placements.get(name)
        session.say(f"placement {name} already exists.")
    except NotFound:
        raise PluginError(
            f"workspace {session.path} serves no placements: the server runs without TMC (`kcp start --enable-tmc`),"
            " or the workspace's type does not bind scheduling.kcp.io"
        ) from None
    waited = await wait_until(placements, placement, _is_placed, clock, options.timeout_s)
    if not waited.is_done:
        raise PluginError(
            f'placement "{name}" is not ready after {options.timeout_s:g} s{conditions_text(waited.obj)}\n'
            f"`kubectl kcp diagnose placement {name}` says what to do."
        )
    session.note(f'Placement "{name}" is ready.')


def _is_placed(placement: JSONObject) -> bool:
    kinds: Sequence[str] = ("Scheduled", "Ready")
    return all(conditions.is_true(placement, kind) for kind in kinds)
