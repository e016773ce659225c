"""`kubectl kcp workload`: connect a physical cluster (`sync`), and take one out of use (`cordon`, `uncordon`, `drain`).

Before: `kubectl_kcp`. After: `plugin_manifest`, which says what the physical cluster is given; the API.
Source: kcp release-0.11 pkg/cliplugins/workload/plugin/{sync,workload}.go.
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
from pathlib import Path

from kcp.aio.clock import Clock, SystemClock, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_bind import BINDINGS, EXPORTS, reference, words
from kcp.cli.plugin_command import subcommands
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, connection_parser, duration
from kcp.cli.plugin_manifest import Manifest, render, syncer_roles
from kcp.cli.plugin_session import PluginError, Session, opened
from kcp.cli.plugin_waiting import wait_until
from kcp.tmc.model.exported import exported
from kcp.tmc.model.names import syncer_id

SYNC_TARGETS = GVR("workload.kcp.io", "v1alpha1", "synctargets")
SERVICE_ACCOUNTS, SECRETS = (GVR("", "v1", name) for name in ("serviceaccounts", "secrets"))
CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS = (GVR("rbac.authorization.k8s.io", "v1", name) for name in ("clusterroles", "clusterrolebindings"))
_TOKEN_SECRET = "kubernetes.io/service-account-token"
_TOKEN_PATIENCE_S = 20.0
_LONGEST_NAME = 254 - len("kcp-dns-") - 8 - 8 - 2

_EXAMPLES = """\
examples:
  kubectl kcp workload sync east --syncer-image ghcr.io/me/kcp:v1 -o east.yaml    make what the cluster "east" has to run
  KUBECONFIG=east kubectl apply -f east.yaml                                      and run it there
  kubectl kcp workload cordon east                                                place nothing more on it
  kubectl kcp workload drain east                                                 and move away what is there
"""


def parser(prog: str) -> PluginParser:
    shared = connection_parser()
    made = PluginParser(prog=prog, description="Connect physical clusters to this workspace.", epilog=_EXAMPLES, parents=[shared])
    commands = subcommands(made)
    _add_sync(commands.add_parser("sync", help="make a SyncTarget, and the manifest of its syncer", epilog=_EXAMPLES, parents=[shared]))
    for name, text, unschedulable, evict in (
        ("cordon", "place nothing more on a cluster", True, False),
        ("uncordon", "place on a cluster again", False, False),
        ("drain", "place nothing more on a cluster, and move away what is there", True, True),
    ):
        change = commands.add_parser(name, help=text, parents=[shared])
        change.add_argument("name", metavar="SYNCTARGET")
        change.set_defaults(run=_change, unschedulable=unschedulable, evict=evict)
    return made


def _add_sync(sync: PluginParser) -> None:
    sync.add_argument("name", metavar="SYNCTARGET")
    sync.add_argument("--syncer-image", default="", metavar="IMAGE", help="container image with `workload-syncer`; required")
    sync.add_argument("-o", "--output-file", default="", metavar="FILE", help="where the manifest goes; - for standard output; required")
    sync.add_argument("-n", "--namespace", default="", help="namespace of the syncer in the physical cluster")
    sync.add_argument("--resources", action="append", default=[], metavar="RESOURCE.GROUP,…", help="to sync beside the APIExports")
    sync.add_argument("--upsync-resources", action="append", default=[], metavar="RESOURCE.GROUP,…",
                      help="of the cluster, to be shown in workspaces: pods,persistentvolumes")  # fmt: skip
    sync.add_argument("--apiexports", action="append", metavar="PATH:EXPORT,…", help="APIs of the cluster; root:compute:kubernetes")
    sync.add_argument("--kcp-namespace", default="default", metavar="NAMESPACE", help="of the service account in kcp; default")
    sync.add_argument("--replicas", type=int, default=1, metavar="0|1", help="pods of the syncer; 1 if not given")
    sync.add_argument("--qps", type=float, default=20.0, help="requests a second that the syncer may send; 20 if not given")
    sync.add_argument("--burst", type=int, default=30, help="requests that it may send at once; 30 if not given")
    sync.add_argument("--feature-gates", default="", metavar="GATE=BOOL,…", help="passed on to the syncer")
    sync.add_argument("--api-import-poll-interval", type=duration, default=60.0, metavar="DURATION", help="time between looks for APIs; 1m")
    sync.add_argument("--downstream-namespace-clean-delay", type=duration, default=30.0, metavar="DURATION",
                      help="how long an unused namespace stays in the cluster; 30s if not given")  # fmt: skip
    sync.add_argument("--labels", action="append", default=[], metavar="KEY=VALUE,…", help="labels for Locations to select")
    sync.set_defaults(run=_sync)


async def _sync(options: argparse.Namespace, flags: ConnectionFlags) -> None:
    problems = _problems(options)
    if problems:
        raise PluginError("; ".join(problems))
    async with opened(flags) as session:
        await sync(session, options, SystemClock())


def _problems(options: argparse.Namespace) -> list[str]:
    found = [
        f"--{name} is required" for name in ("syncer-image", "output-file", "kcp-namespace") if not getattr(options, name.replace("-", "_"))
    ]
    if options.replicas not in (0, 1):
        found.append("only 0 and 1 are valid values for --replicas")
    if len(options.name) > _LONGEST_NAME:
        found.append(f"the maximum length of the sync-target-name is {_LONGEST_NAME}")
    if options.qps <= 0 or options.burst <= 0:
        found.append("--qps and --burst must be more than 0")
    found += [f'--labels: "{word}" is not key=value' for word in words(options.labels) if not word.partition("=")[2]]
    return found


async def sync(session: Session, options: argparse.Namespace, clock: Clock) -> None:
    """Make the SyncTarget and its account in kcp, and the manifest that runs its syncer elsewhere."""
    target = await _apply_target(session, options)
    account = syncer_id(options.name, meta.uid(target))
    token = await _account_token(session, options.kcp_namespace, account, target, clock)
    manifest = Manifest(
        target=options.name, uid=meta.uid(target), cluster=session.path, account=account, namespace=options.namespace or account,
        kcp_namespace=options.kcp_namespace, server=_server(session), ca_pem=session.endpoint.ca_pem, token=token,
        insecure=session.endpoint.insecure_skip_tls_verify, image=options.syncer_image, replicas=options.replicas,
        resources=words(options.resources), permitted=await _permitted(session, target, words(options.resources)), qps=options.qps,
        burst=options.burst, feature_gates=options.feature_gates, api_import_poll_interval_s=options.api_import_poll_interval,
        namespace_clean_delay_s=options.downstream_namespace_clean_delay, upsync_resources=words(options.upsync_resources),
    )  # fmt: skip
    text = render(manifest)
    if options.output_file == "-":
        sys.stdout.write(text)
        return
    _write(Path(options.output_file), text)
    session.note(
        f'\nWrote physical cluster manifest to {options.output_file} for namespace "{manifest.namespace}". Use\n\n'
        f'  KUBECONFIG=<pcluster-config> kubectl apply -f "{options.output_file}"\n\nto apply it. Use\n\n'
        f'  KUBECONFIG=<pcluster-config> kubectl get deployment -n "{manifest.namespace}" {account}\n\n'
        "to verify the syncer pod is running."
    )


def _write(path: Path, text: str) -> None:
    """Readable by the owner only: the manifest holds a token."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
    except OSError as error:
        raise PluginError(f"cannot write {path}: {error.strerror}") from error


def _server(session: Session) -> str:
    """The server without a workspace, with its port said: the syncer reads many workspaces, and proxies want the port."""
    from urllib.parse import urlsplit

    url = urlsplit(session.url.base)
    port = url.port or (443 if url.scheme == "https" else 80)
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{url.scheme}://{host}:{port}"


async def _apply_target(session: Session, options: argparse.Namespace) -> JSONObject:
    """The SyncTarget with the exports and labels asked for; made if it is not there."""
    targets = session.workspace.resource(SYNC_TARGETS)
    exports = [
        dict(zip(("path", "export"), reference(text), strict=True)) for text in words(options.apiexports or ["root:compute:kubernetes"])
    ]
    if options.resources:
        exports.append({"export": "kubernetes"})
    labels = dict(word.split("=", 1) for word in words(options.labels))
    wanted: JSONObject = {
        "apiVersion": SYNC_TARGETS.api_version, "kind": "SyncTarget", "metadata": {"name": options.name, "labels": labels},
        "spec": {"supportedAPIExports": exports},
    }  # fmt: skip
    try:
        held = await targets.get(options.name)
    except NotFound:
        session.note(f'Creating synctarget "{options.name}"')
        try:
            return await targets.create(wanted)
        except AlreadyExists:
            held = await targets.get(options.name)
        except NotFound:
            raise PluginError(
                f"workspace {session.path} serves no synctargets: the server runs without TMC (`kcp start --enable-tmc`),"
                " or the workspace's type does not bind workload.kcp.io"
            ) from None
    same = meta.nested(held, "spec", "supportedAPIExports") == exports and labels.items() <= meta.labels(held).items()
    if same:
        return held
    patch: JSONObject = {"metadata": {"labels": labels}, "spec": {"supportedAPIExports": exports}}
    return await targets.patch(options.name, patch)


async def _account_token(session: Session, namespace: str, name: str, target: JSONObject, clock: Clock) -> str:
    """The token of the syncer's service account in kcp; account, roles and token go when the SyncTarget goes."""
    owner = {"apiVersion": SYNC_TARGETS.api_version, "kind": "SyncTarget", "name": meta.name(target), "uid": meta.uid(target)}
    metadata: JSONObject = {"name": name, "ownerReferences": [owner]}
    workspace = session.workspace
    account: JSONObject = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**metadata, "namespace": namespace}}
    if await _ensure(session, SERVICE_ACCOUNTS, account, namespace):
        session.note(f'Creating service account "{name}"')
    role, binding = syncer_roles(metadata, meta.name(target), namespace)
    for gvr, obj in ((CLUSTER_ROLES, role), (CLUSTER_ROLE_BINDINGS, binding)):
        if await _ensure(session, gvr, obj, ""):
            session.note(f'Creating cluster role {"binding " if gvr is CLUSTER_ROLE_BINDINGS else ""}"{name}"')
        else:
            await workspace.resource(gvr).patch(name, {key: obj[key] for key in ("rules", "subjects") if key in obj})
    annotated = {**metadata, "name": f"{name}-token", "namespace": namespace, "annotations": {"kubernetes.io/service-account.name": name}}
    secret: JSONObject = {"apiVersion": "v1", "kind": "Secret", "type": _TOKEN_SECRET, "metadata": annotated}
    await _ensure(session, SECRETS, secret, namespace)
    held = await workspace.resource(SECRETS).get(f"{name}-token", namespace=namespace)
    waited = await wait_until(workspace.resource(SECRETS), held, _has_token, clock, _TOKEN_PATIENCE_S, namespace=namespace)
    if not waited.is_done:
        raise PluginError(f"timed out waiting for a token in Secret {namespace}/{name}-token of workspace {session.path}")
    return base64.b64decode(waited.obj["data"]["token"]).decode()


def _has_token(secret: JSONObject) -> bool:
    return bool(meta.nested(secret, "data", "token"))


async def _ensure(session: Session, gvr: GVR, obj: JSONObject, namespace: str) -> bool:
    """Make an object; False if it is there."""
    try:
        await session.workspace.resource(gvr).create(obj, namespace=namespace)
    except AlreadyExists:
        return False
    except NotFound:
        raise PluginError(
            f'namespace "{namespace}" not found in workspace {session.path}; make it, or give another with --kcp-namespace'
        ) from None
    return True


async def _permitted(session: Session, target: JSONObject, resources: tuple[str, ...]) -> frozenset[tuple[str, str]]:
    """Group and plural of what the syncer writes in the physical cluster: what the bound exports hold, and what every namespace has."""
    found = {("", "secrets"), ("", "configmaps"), ("", "serviceaccounts")}
    for word in resources:
        resource, _, group = word.partition(".")
        found.add(("" if group == "core" else group, resource))
    for entry in meta.nested(target, "status", "syncedResources", default=()):
        found.add((entry.get("group") or "", entry["resource"]))
    for path, name in dict.fromkeys((one.path or session.path, one.name) for one in exported(target.get("spec") or {})):
        found |= await _exported(session, path, name)
    return frozenset(found)


async def _exported(session: Session, path: str, name: str) -> set[tuple[str, str]]:
    """What an export holds; from a binding to it where the export itself may not be read."""

    try:
        export = await session.client.cluster(path).resource(EXPORTS).get(name)
        return {(r.get("group") or "", r["name"]) for r in meta.nested(export, "spec", "resources", default=())}
    except (Forbidden, NotFound):
        bindings = (await session.workspace.resource(BINDINGS).list()).items
    wanted = {"path": path, "name": name}
    bound = [b for b in bindings if meta.nested(b, "spec", "reference", "export") == wanted]
    return {(r.get("group") or "", r["resource"]) for b in bound for r in meta.nested(b, "status", "boundResources", default=())}


async def _change(options: argparse.Namespace, flags: ConnectionFlags) -> None:
    async with opened(flags) as session:
        await change_target(session, options.name, unschedulable=options.unschedulable, evict=options.evict, clock=SystemClock())


async def change_target(session: Session, name: str, *, unschedulable: bool, evict: bool, clock: Clock) -> None:
    """Cordon, uncordon or drain. Doing it twice says so and changes nothing."""
    targets = session.workspace.resource(SYNC_TARGETS)
    try:
        target = await targets.get(name)
    except NotFound:
        raise PluginError(f'synctarget "{name}" not found in {session.path}; `kubectl get synctargets` shows what is there') from None
    spec = target.get("spec") or {}
    done = "draining" if evict else "cordoned" if unschedulable else "uncordoned"
    is_same = bool(spec.get("unschedulable")) == unschedulable and (not evict or bool(spec.get("evictAfter")))
    if is_same and not (not unschedulable and spec.get("evictAfter")):
        session.say(f"{name} already {done}")
        return
    changed: JSONObject = {"unschedulable": unschedulable}
    if evict:
        changed["evictAfter"] = rfc3339(clock.now())
    elif not unschedulable:
        changed["evictAfter"] = None
    await targets.patch(name, {"spec": changed})
    session.say(f"{name} {done}")
