"""`workload-syncer`: serves one physical cluster. See `kcp.tmc.syncer`.

Every flag is also an environment variable (`--workers`: SYNCER_WORKERS) and, most of them, a field of the --config file.
Flags and their defaults: tmc reference §5.1; the five required ones stand in the building guide's §4.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kcp.aio.sizes import parse_size
from kcp.cli.flags import Duration, bool_flag, verbosity_flag
from kcp.cli.gatenames import KNOWN
from kcp.cli.logs import LogOptions, setup_logging
from kcp.cli.syncer_file import EVERYWHERE, ConfigFileError, read

_PORTS = range(65536)


def _read_config(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        try:
            ctx.default_map = {**(ctx.default_map or {}), **read(value)}
        except ConfigFileError as error:
            raise click.UsageError(str(error)) from error


def _host_and_port(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """`host:port`, or a port alone for all addresses, or "" and 0 for none."""
    host, _, port = value.rpartition(":")
    if value in ("", "0"):
        return ""
    if not port.isdigit() or int(port) not in _PORTS:
        raise click.BadParameter(f"{value!r} is not host:port")
    return f"{host or EVERYWHERE}:{port}"


def _words(_ctx: click.Context, _param: click.Parameter, value: str | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word.strip() for text in ((value,) if isinstance(value, str) else value) for word in text.split(",") if word.strip())


def _labels(ctx: click.Context, param: click.Parameter, value: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in _words(ctx, param, value)]
    if wrong := [name for name, sign, _ in pairs if not name or not sign]:
        raise click.BadParameter(f"{', '.join(wrong)}: not key=value")
    return {name: text for name, _, text in pairs}


def _tunnel_gate(_ctx: click.Context, _param: click.Parameter, value: str) -> bool:
    """Manifests made for kcp 0.11 name its gates; those of Kubernetes change nothing, and unknown ones do not pass unnoticed."""
    is_on = True
    for gate in filter(None, value.split(",")):
        name, _, wanted = gate.partition("=")
        if name not in KNOWN:
            raise click.BadParameter(f"unrecognized feature gate: {name}")
        if wanted.lower() not in ("true", "false"):
            raise click.BadParameter(f"invalid value of {name}: {wanted!r}: true or false")
        if name == "KCPSyncerTunnel":
            is_on = wanted.lower() == "true"
        else:
            click.echo(f"warning: without effect, because nothing here depends on it: feature gate {name}", err=True)
    return is_on


def _at_home(_ctx: click.Context, _param: click.Parameter, value: Path | None) -> Path | None:
    """Shells leave the `~` of `--flag=~/path` as it is."""
    return value.expanduser() if value is not None else None


def _size(_ctx: click.Context, _param: click.Parameter, value: str) -> int:
    try:
        return parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _log_options(flags: dict[str, Any]) -> LogOptions:
    """Takes what is the log's out of the flags."""
    file, outputs = flags.pop("log_file"), flags.pop("log_outputs")
    if flags.pop("alsologtostderr"):
        outputs = (*outputs, "stderr")
    rotation = {name: flags.pop(f"log_file_{name}") for name in ("max_age", "max_backups", "max_size")}
    return LogOptions(
        verbosity=flags.pop("verbosity"), format=flags.pop("log_format"), outputs=outputs, file=file, max_bytes=rotation["max_size"],
        max_age_days=rotation["max_age"], max_backups=rotation["max_backups"],
    )  # fmt: skip


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "auto_envvar_prefix": "SYNCER"},
    help="Sync workloads between a kcp workspace and one physical cluster (TMC): spec down, status up.",
)
@click.option("--config", type=click.Path(path_type=Path), is_eager=True, expose_value=False, callback=_read_config,
              help="YAML file with these settings; flags and environment variables win.")  # fmt: skip
@click.option("--sync-target-name", required=True, envvar="SYNC_TARGET_NAME", help="Name of the SyncTarget this syncer serves.")
@click.option("--sync-target-uid", default="", envvar="SYNC_TARGET_UID",
              help="Its metadata.uid; with another SyncTarget's the syncer does not start.  [default: whichever it has]")  # fmt: skip
@click.option("--workspace-cluster", "--from-cluster", required=True, envvar="WORKSPACE_CLUSTER",
              help="Workspace of the SyncTarget, such as root:default.")  # fmt: skip
@click.option("--kcp-kubeconfig", "--from-kubeconfig", required=True, envvar="KCP_KUBECONFIG", type=click.Path(path_type=Path),
              callback=_at_home, help="Kubeconfig of the kcp server.")  # fmt: skip
@click.option("--kcp-endpoint", default="", envvar="KCP_ENDPOINT", help="Address of the kcp server, in place of the kubeconfig's.")
@click.option("--cluster-kubeconfig", "--to-kubeconfig", type=click.Path(path_type=Path), envvar="CLUSTER_KUBECONFIG",
              callback=_at_home,
              help="Kubeconfig of the physical cluster.  [default: the service account of the Pod that this runs in]")  # fmt: skip
@click.option("--kcp-context", default="", help='Context of --kcp-kubeconfig. [default: "base" if it has one, else the current one]')
@click.option("--cluster-context", default="", help="Context of --cluster-kubeconfig. [default: the current one]")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 1000), help="Workers per resource and direction.")
@click.option(
    "--max-concurrent-syncs", default=0, type=click.IntRange(0), help="Objects in work at once, over all resources.  [default: no limit]"
)
@click.option("--sync-backlog-limit", default=1000, show_default=True, type=click.IntRange(1),
              help="Objects that may wait before the syncer reports itself overloaded.")  # fmt: skip
@click.option("--circuit-breaker-threshold", default=5, show_default=True, type=click.IntRange(0, 50),
              help="Failures in a row after which writes to the cluster are not sent for a while; 0 for never.")  # fmt: skip
@click.option("--circuit-breaker-timeout", type=Duration(), default="1m", show_default=True,
              help="Time after which one of them is tried again.")  # fmt: skip
@click.option("--resync-period", type=Duration(), default="30s", show_default=True,
              help="Time in which every object is looked at once more; 0 for never.")  # fmt: skip
@click.option("--heartbeat-period", type=Duration(), default="20s", show_default=True, help="Time between heartbeats.")
@click.option("--api-import-poll-interval", type=Duration(), default="30s", show_default=True, help="Time between looks for new APIs.")
@click.option("--downstream-namespace-clean-delay", type=Duration(), default="30s", show_default=True,
              help="Time between looks at a downstream namespace that should go.")  # fmt: skip
@bool_flag("--leader-elect", default=True, help="Of several syncers for one SyncTarget, let one serve and the others stand by.")
@click.option(
    "--lease-duration",
    type=Duration(),
    default="0",
    help="Time without renewal after which another may take over.  [default: 3 heartbeats, at least 15s]",
)
@click.option("--transformations", default="kcp-system/syncer-transformations", show_default=True,
              help="NAMESPACE/NAME of a ConfigMap in the SyncTarget's workspace with transformations; empty for none.")  # fmt: skip
@click.option("--resources", multiple=True, callback=_words, help="RESOURCE.GROUP to warn about while it cannot be synced; repeatable.")
@click.option("--upsync-resources", multiple=True, callback=_words,
              help="RESOURCE.GROUP of the cluster to show in workspaces: pods, persistentvolumes, …; repeatable.")  # fmt: skip
@click.option(
    "--sync-namespaces", default="", callback=_words, help="Workspace namespaces to sync: names or patterns, comma list.  [default: all]"
)
@click.option("--exclude-namespaces", default="", callback=_words, help="Workspace namespaces to leave out: names or patterns, comma list.")
@click.option("--require-labels", default="", callback=_labels, help="Labels that an object must bear to be synced: key=value, comma list.")
@click.option("--qps", default=0.0, type=click.FloatRange(0, clamp=True),
              help="Requests a second to each API server; 0 or less for no limit.  [default: no limit]")  # fmt: skip
@click.option("--burst", default=30, show_default=True, type=click.IntRange(1), help="Requests at once to each API server, with --qps.")
@click.option("--feature-gates", "tunnel", default="", callback=_tunnel_gate,
              help="KCPSyncerTunnel=false: open no tunnel for logs, exec and port-forward.  [default: KCPSyncerTunnel=true]")  # fmt: skip
@click.option("--metrics-bind-address", default="", envvar="SYNCER_METRICS_PORT", callback=_host_and_port,
              help="host:port of Prometheus metrics; a port alone for all addresses.  [default: none]")  # fmt: skip
@click.option("--metrics-path", default="/metrics", show_default=True, help="Path of the metrics.")
@click.option("--health-bind-address", default="", envvar="SYNCER_HEALTH_PORT", callback=_host_and_port,
              help="host:port of /healthz, /readyz and --health-path; a port alone for all addresses.  [default: none]")  # fmt: skip
@click.option("--health-path", default="/health", show_default=True, help="Path of the health report in JSON.")
@bool_flag("--tracing", default=False, help="Go on with the control plane's traces, and send them by OTLP.")
@click.option("--tracing-endpoint", default="", help="Who receives them. [default: localhost:4317, or http://localhost:4318/v1/traces]")
@click.option("--tracing-protocol", default="grpc", show_default=True, type=click.Choice(["grpc", "http"]), help="OTLP over gRPC or HTTP.")
@click.option("--tracing-service-name", default="workload-syncer", show_default=True, help="Under this name they are found.")
@click.option("--log-format", default="text", show_default=True, type=click.Choice(["text", "json"]), help="Form of the log.")
@click.option("--log-file", type=click.Path(path_type=Path), help="File for the log.  [default: standard error]")
@click.option("--log-output", "log_outputs", default="", callback=_words,
              help="Where the log goes: stdout, stderr, file:PATH, comma list.  [default: stderr, or --log-file alone]")  # fmt: skip
@click.option(
    "--log-file-max-size", default="100MB", show_default=True, callback=_size, help="Of a log file before it is rotated; 0: never."
)
@click.option("--log-file-max-age", default=30, show_default=True, type=click.IntRange(0), help="Days that rotated log files are kept.")
@click.option(
    "--log-file-max-backups", default=10, show_default=True, type=click.IntRange(0), help="Rotated log files that are kept; 0: all."
)
@bool_flag("--alsologtostderr", default=False, help="With --log-file: log to standard error as well.")
@verbosity_flag(default=2, envvar="SYNCER_LOG_LEVEL", help="Log level: 1 basic, 2 sync operations, 4 debug.")
def main(**flags: Any) -> None:
    from kcp.cli.flags import fail

    log = _log_options(flags)
    if faults := list(log.problems()):
        fail("\n  ".join(faults))
    try:
        setup_logging(log)
    except OSError as error:
        fail(f"cannot write the log to {error.filename}: {error.strerror}")
    from kcp.apiserver.listening import ListenError
    from kcp.cli.running import run_until_stopped
    from kcp.cli.syncer_running import SyncerOptions, serve
    from kcp.client.kubeconfig import KubeConfigError
    from kcp.tmc.errors import TMCError
    from kcp.tracing.config import TracingOptions

    tracing = TracingOptions(
        enabled=flags.pop("tracing"), endpoint=flags.pop("tracing_endpoint"), protocol=flags.pop("tracing_protocol"),
        service_name=flags.pop("tracing_service_name"),
    )  # fmt: skip
    if faults := list(tracing.problems()):
        fail("\n  ".join(faults))
    run_until_stopped(lambda: serve(SyncerOptions(**flags), tracing), expected=(KubeConfigError, ListenError, TMCError, OSError))
