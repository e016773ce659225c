"""`kcp`: the control plane (`start`), a whole fleet in one command (`sandbox`), and simulated clusters (`sim`)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kcp import __version__
from kcp.aio.clock import SystemClock
from kcp.cli.accessflags import access_flags, authentication_options, authorization_options
from kcp.cli.auditflags import audit_config, audit_flags
from kcp.cli.certs import certs_group
from kcp.cli.configview import config_group
from kcp.cli.flags import Duration, bool_flag, fail, verbosity_flag
from kcp.cli.logs import setup_logging
from kcp.cli.ops import ops_group
from kcp.cli.reloading import Configured, Reloading, Repeatable, repeated
from kcp.cli.sandbox import sandbox_command
from kcp.cli.settingsflags import Given, files_of_settings, log_options, settings_flags, take_settings
from kcp.cli.sim import sim_group
from kcp.cli.snapshot import snapshot_group, storage_group
from kcp.cli.startflags import gates, say_what_is_ignored, shard_options, start_flags
from kcp.cli.storageflags import encryption_options, etcd_config, leadership_options, storage_flags, upkeep_options

if TYPE_CHECKING:
    from kcp.server.options import Options

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}


@click.group(context_settings=_CONTEXT, help="kcp with TMC (Transparent Multi-Cluster): one control plane over many Kubernetes clusters.")
@click.version_option(__version__, prog_name="kcp")
def main() -> None:
    """The subcommands do the work."""


@main.command("start", cls=Repeatable, help="Start the kcp server, with TMC if --enable-tmc is given. Runs until Ctrl-C.")
@click.option("--root-directory", type=click.Path(path_type=Path), default=Path(".kcp"), show_default=True,
              help="Data, certificates and kubeconfigs; owned by one running server.")  # fmt: skip
@click.option("--bind-address", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--secure-port", default=6443, show_default=True, type=int, help="Port to listen on; 0 takes a free one.")
@click.option("--external-hostname", default="", help="Name or address under which clients reach the server. [default: the bind address]")
@click.option("--kubeconfig-path", type=click.Path(path_type=Path), default=None,
              help="Administrator's kubeconfig to write. [default: ROOT_DIRECTORY/admin.kubeconfig]")  # fmt: skip
@click.option("--token-auth-file", type=click.Path(path_type=Path), default=None, help='CSV file of token,user,uid,"group1,group2".')
@bool_flag("--in-memory", default=False, help="Keep objects in memory only.")
@click.option("--admission-control-config-file", "admission_config_file", type=click.Path(path_type=Path), default=None,
              help="An AdmissionConfiguration with a validating webhook for all workspaces.")  # fmt: skip
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
@settings_flags
@click.option("--tracing-config-file", type=click.Path(path_type=Path), default=None,
              help="TracingConfiguration of Kubernetes: turns traces on, says where they go and how many are recorded.")  # fmt: skip
@storage_flags
@start_flags
@access_flags
@audit_flags
@verbosity_flag(default=2, envvar="KCP_LOG_LEVEL", help="Log level: 0 errors, 1 warnings, 2 progress, 4 debug.")
@click.pass_context
def start_command(ctx: click.Context, /, **flags: Any) -> None:
    say_what_is_ignored(flags)
    told = _configured(ctx, flags)
    if told.faults:
        fail("\n  ".join(told.faults))
    try:
        setup_logging(told.log)
    except OSError as error:
        fail(f"the log cannot be written to {error.filename}: {error.strerror}")
    for field in told.without_effect:
        click.echo(f"warning: without effect: {field}", err=True)

    def read_again() -> Configured[Options]:
        again = repeated(ctx)
        return _configured(again, {name: value for name, value in again.params.items() if name in flags_of_old})

    flags_of_old = frozenset(flags)
    run_kcp(told.options, Reloading(told, read_again, files_of_settings(ctx), SystemClock()))


def _configured(ctx: click.Context, flags: dict[str, Any]) -> Configured[Options]:
    """What flags, variables and files say together."""
    flags = dict(flags)
    given = take_settings(ctx, flags)
    options = _options(flags, given)
    log = log_options(given, options.verbosity)
    faults = [*given.faults, *log.problems(), *options.problems()]
    return Configured(options, log, given.values, faults, given.without_effect)


def _options(flags: dict[str, Any], given: Given) -> Options:
    """What the flags mean."""
    from kcp.server.options import MountOptions, Options, TMCOptions
    from kcp.server.startoptions import ServingCertificate
    from kcp.tracing.config import TracingOptions

    if flags.pop("experimental_bind_free_port") and flags["secure_port"] != 0:
        fail("--secure-port=0 required if --experimental-bind-free-port is set")
    files = {name: flags.pop(f"mount_proxy_{name}") for name in ("client_cert_file", "client_key_file", "server_ca_file")}
    opened = gates(str(flags.pop("feature_gates")))
    mounts = MountOptions(enabled=opened["WorkspaceMounts"], **files)
    serving = ServingCertificate(
        certificate=flags.pop("tls_cert_file"), key=flags.pop("tls_private_key_file"), names=flags.pop("tls_names"),
        min_version=flags.pop("tls_min_version"), ciphers=flags.pop("tls_cipher_suites"),
    )  # fmt: skip
    shard, batteries = shard_options(flags), flags.pop("batteries_included")
    home = {"home_workspaces": flags.pop("enable_home_workspaces"), "home_creator_groups": _list_of(flags.pop("home_creator_groups"))}
    authentication = authentication_options(flags, workspace_issuers=opened["WorkspaceAuthentication"])
    who: dict[str, Any] = {"authentication": authentication, "authorization": authorization_options(flags)}
    return Options(
        tmc=TMCOptions(**given.of("tmc")), tracing=TracingOptions(**given.of("tracing"), config_file=flags.pop("tracing_config_file")),
        mounts=mounts, cache_apis=opened["CacheAPIs"],
        export_urls=opened["EnableDeprecatedAPIExportVirtualWorkspacesUrls"],
        shard=shard, serving=serving, batteries=batteries, audit=audit_config(flags), etcd=etcd_config(flags),
        leadership=leadership_options(flags), encryption=encryption_options(flags), upkeep=upkeep_options(flags), **who, **home, **flags,
    )  # fmt: skip


def _list_of(text: object) -> tuple[str, ...]:
    return tuple(part for part in str(text).split(",") if part)


def run_kcp(options: Options, reloading: Reloading[Options]) -> None:
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
    run_until_stopped(lambda: _serve(options, reloading), expected=expected)


async def _serve(options: Options, reloading: Reloading[Options]) -> None:
    from contextlib import AsyncExitStack

    from kcp.aio.collector import Collector
    from kcp.aio.supervisor import Supervisor
    from kcp.cli.running import files_of
    from kcp.server.compose import run_server

    clock = SystemClock()
    started_s = clock.monotonic()
    async with AsyncExitStack() as stack:
        with files_of(f"--root-directory={options.root_directory}"):
            server = await stack.enter_async_context(run_server(options, clock=clock))
        if (collector := Collector.installed()) is not None:
            collector.weigh(server.foundation.cache.held)
        kubeconfig = options.admin_kubeconfig
        click.echo(f"kcp is ready at {server.url} after {clock.monotonic() - started_s:.2f} s. In another terminal:")
        click.echo(f"  export KUBECONFIG={kubeconfig}")
        click.echo("  kubectl ws tree")
        following = await stack.enter_async_context(Supervisor("configuration"))
        following.spawn(reloading.run(server.reload), name="configuration")
        try:
            await server.wait_failed()
        except asyncio.CancelledError:
            await server.drain()
            raise


main.add_command(certs_group)
main.add_command(sim_group)
main.add_command(snapshot_group)
main.add_command(storage_group)
main.add_command(sandbox_command)
main.add_command(config_group)
main.add_command(ops_group)

if __name__ == "__main__":
    main()
