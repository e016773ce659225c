"""`kcp`: the control plane (`start`), a whole fleet in one command (`sandbox`), and simulated clusters (`sim`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kcp import __version__
from kcp.cli.accessflags import access_flags, authentication_options, authorization_options
from kcp.cli.auditflags import audit_config, audit_flags
from kcp.cli.flags import Duration, bool_flag, fail, setup_logging
from kcp.cli.sandbox import sandbox_command
from kcp.cli.sim import sim_group
from kcp.cli.snapshot import snapshot_group, storage_group
from kcp.cli.startflags import gates, say_what_is_ignored, shard_options, start_flags
from kcp.cli.storageflags import encryption_options, etcd_config, leadership_options, storage_flags

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}


@click.group(context_settings=_CONTEXT, help="kcp with TMC (Transparent Multi-Cluster): one control plane over many Kubernetes clusters.")
@click.version_option(__version__, prog_name="kcp")
def main() -> None:
    """The subcommands do the work."""


@main.command("start", help="Start the kcp server, with TMC if --enable-tmc is given. Runs until Ctrl-C.")
@click.option("--root-directory", type=click.Path(path_type=Path), default=Path(".kcp"), show_default=True,
              help="Data, certificates and kubeconfigs; owned by one running server.")  # fmt: skip
@click.option("--bind-address", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--secure-port", default=6443, show_default=True, type=int, help="Port to listen on; 0 takes a free one.")
@click.option("--external-hostname", default="", help="Name or address under which clients reach the server. [default: the bind address]")
@click.option("--kubeconfig-path", type=click.Path(path_type=Path), default=None,
              help="Administrator's kubeconfig to write. [default: ROOT_DIRECTORY/admin.kubeconfig]")  # fmt: skip
@click.option("--token-auth-file", type=click.Path(path_type=Path), default=None, help='CSV file of token,user,uid,"group1,group2".')
@bool_flag("--in-memory", default=False, help="Keep objects in memory only.")
@click.option("--logical-cluster-total-object-limit", "object_limit", default=0, show_default=True, type=int,
              help="Most objects of one workspace, unless annotation core.kcp.io/max-total-objects of its LogicalCluster says "
              "another limit. 0 for no limit.")  # fmt: skip
@click.option("--conversion-cel-transformation-timeout", "conversion_timeout_s", type=Duration(), default="1s", show_default=True,
              help="How long the CEL transformations of an APIConversion may take for one object.")  # fmt: skip
@bool_flag("--enable-home-workspaces", default=True, help="Give every user who asks for workspace `~` a home workspace of their own.")
@click.option("--home-workspaces-home-creator-groups", "home_creator_groups", default="system:authenticated", show_default=True,
              help="Groups, separated by commas, whose members get one.")  # fmt: skip
@click.option("--feature-gates", default="", metavar="GATE=true,…",
              help="CacheAPIs: providers may let consumers read objects of theirs, by ClusterCachedResources. WorkspaceAuthentication: "
              "workspaces may trust issuers of their own. WorkspaceMounts: they may be mounts of servers elsewhere. These are false "
              "by default; EnableDeprecatedAPIExportVirtualWorkspacesUrls is true: APIExports list URLs in their status.")  # fmt: skip
@click.option("--mount-proxy-client-cert-file", type=click.Path(path_type=Path), default=None,
              help="Certificate that is shown to servers behind mounts, so that they believe who asks.")  # fmt: skip
@click.option("--mount-proxy-client-key-file", type=click.Path(path_type=Path), default=None, help="Its key.")
@click.option("--mount-proxy-server-ca-file", type=click.Path(path_type=Path), default=None,
              help="Authorities of servers behind mounts, beside the system's.")  # fmt: skip
@bool_flag("--enable-tmc", default=False, envvar="KCP_TMC_ENABLED", help="Transparent Multi-Cluster: placement, syncers, aggregation.")
@bool_flag("--tmc-error-handling", default=True, envvar="KCP_TMC_ERROR_HANDLING",
           help="TMC: show clusters' errors, typed and with hints, on the objects they concern.")  # fmt: skip
@bool_flag("--tmc-health-monitoring", default=True, envvar="KCP_TMC_HEALTH_MONITORING",
           help="TMC: a late heartbeat makes a SyncTarget NotReady.")  # fmt: skip
@bool_flag("--tmc-metrics", default=True, envvar="KCP_TMC_METRICS", help="TMC: tmc_* metrics at /metrics.")
@bool_flag("--tmc-recovery", default=True, envvar="KCP_TMC_RECOVERY",
           help="TMC: place the work of a cluster that stays NotReady elsewhere.")  # fmt: skip
@click.option(
    "--tmc-eviction-grace", type=Duration(), default="5m", show_default=True, help="TMC: how long a cluster may be NotReady first."
)
@click.option("--tmc-health-check-interval", "tmc_health_interval_s", type=Duration(), default="5s", show_default=True,
              help="TMC: time between two looks at every component.")  # fmt: skip
@click.option("--tmc-health-timeout", "tmc_health_timeout_s", type=Duration(), default="10s", show_default=True,
              help="TMC: a component that does not answer for so long is Unhealthy.")  # fmt: skip
@click.option("--tmc-health-degraded-threshold", "tmc_health_degraded_s", type=Duration(), default="2m", show_default=True,
              help="TMC: a controller whose work stands still for so long is Degraded.")  # fmt: skip
@click.option("--tmc-health-unhealthy-threshold", "tmc_health_unhealthy_s", type=Duration(), default="5m", show_default=True,
              help="TMC: and Unhealthy.")  # fmt: skip
@bool_flag("--tmc-push", default=True, help="TMC: sync to clusters whose SyncTarget names a Secret with a kubeconfig.")
@bool_flag("--tmc-bind-compute", default=True, help="TMC: new workspaces bind root:compute:kubernetes, so that Deployments work at once.")
@click.option("--sync-target-heartbeat-threshold", type=Duration(), default="1m", show_default=True,
              help="TMC: time without a heartbeat after which a SyncTarget is NotReady.")  # fmt: skip
@storage_flags
@start_flags
@access_flags
@audit_flags
@click.option("--v", "verbosity", default=2, show_default=True, help="Log level: 0 errors, 1 warnings, 2 progress, 4 debug.")
def start_command(**flags: Any) -> None:
    from kcp.server.options import MountOptions, Options, TMCOptions
    from kcp.server.startoptions import ServingCertificate

    say_what_is_ignored(flags)
    if flags.pop("experimental_bind_free_port") and flags["secure_port"] != 0:
        fail("--secure-port=0 required if --experimental-bind-free-port is set")
    tmc = TMCOptions(
        enabled=flags.pop("enable_tmc"),
        eviction_grace_s=flags.pop("tmc_eviction_grace"),
        heartbeat_threshold_s=flags.pop("sync_target_heartbeat_threshold"),
        **{
            name: flags.pop(f"tmc_{name}")
            for name in (
                "health_interval_s",
                "health_timeout_s",
                "health_degraded_s",
                "health_unhealthy_s",
                "error_handling",
                "health_monitoring",
                "metrics",
                "recovery",
                "bind_compute",
                "push",
            )
        },
    )
    files = {name: flags.pop(f"mount_proxy_{name}") for name in ("client_cert_file", "client_key_file", "server_ca_file")}
    opened = gates(str(flags.pop("feature_gates")))
    mounts = MountOptions(enabled=opened["WorkspaceMounts"], **files)
    serving = ServingCertificate(
        certificate=flags.pop("tls_cert_file"), key=flags.pop("tls_private_key_file"), names=flags.pop("tls_names")
    )
    shard, batteries, form = shard_options(flags), flags.pop("batteries_included"), str(flags.pop("logging_format"))
    home = {"home_workspaces": flags.pop("enable_home_workspaces"), "home_creator_groups": _list_of(flags.pop("home_creator_groups"))}
    authentication = authentication_options(flags, workspace_issuers=opened["WorkspaceAuthentication"])
    who: dict[str, Any] = {"authentication": authentication, "authorization": authorization_options(flags)}
    options = Options(
        tmc=tmc, mounts=mounts, cache_apis=opened["CacheAPIs"], export_urls=opened["EnableDeprecatedAPIExportVirtualWorkspacesUrls"],
        shard=shard, serving=serving, batteries=batteries, audit=audit_config(flags), etcd=etcd_config(flags),
        leadership=leadership_options(flags), encryption=encryption_options(flags), **who, **home, **flags,
    )  # fmt: skip
    setup_logging(options.verbosity, form=form)
    if problems := options.problems():
        fail("\n  ".join(problems))
    run_kcp(options)


def _list_of(text: object) -> tuple[str, ...]:
    return tuple(part for part in str(text).split(",") if part)


def run_kcp(options: object) -> None:
    """Serve until stopped. Errors a user can mend are printed, not thrown."""
    from kcp.apiserver.audit.policy import AuditError
    from kcp.apiserver.authn.jwt.config import ConfigurationError
    from kcp.apiserver.authn.tokens import TokenFileError
    from kcp.apiserver.listening import ListenError
    from kcp.apiserver.pki import PKIError
    from kcp.apiserver.serving import ServingError
    from kcp.cli.running import run_until_stopped
    from kcp.client.kubeconfig import KubeConfigError
    from kcp.server.leading import LeadershipLostError
    from kcp.storage.encryption.config import EncryptionConfigError
    from kcp.storage.interface import StoreError

    configured = (AuditError, ConfigurationError, EncryptionConfigError, KubeConfigError, TokenFileError)
    expected = (*configured, LeadershipLostError, ListenError, PKIError, ServingError, StoreError, OSError)
    run_until_stopped(lambda: _serve(options), expected=expected)


async def _serve(options: object) -> None:
    from contextlib import AsyncExitStack

    from kcp.aio.clock import SystemClock
    from kcp.cli.running import files_of
    from kcp.server.compose import run_server
    from kcp.server.options import Options

    assert isinstance(options, Options)
    clock = SystemClock()
    started_s = clock.monotonic()
    async with AsyncExitStack() as stack:
        with files_of(f"--root-directory={options.root_directory}"):
            server = await stack.enter_async_context(run_server(options, clock=clock))
        kubeconfig = options.admin_kubeconfig
        click.echo(f"kcp is ready at {server.url} after {clock.monotonic() - started_s:.2f} s. In another terminal:")
        click.echo(f"  export KUBECONFIG={kubeconfig}")
        click.echo("  kubectl ws tree")
        await server.wait_failed()


main.add_command(sim_group)
main.add_command(snapshot_group)
main.add_command(storage_group)
main.add_command(sandbox_command)

if __name__ == "__main__":
    main()
