"""What `kcp start` can be told, parsed once; nobody else reads flags or the environment.

Flags win over environment variables, which win over the `--config` file, which wins over the defaults. `problems` names every fault at
once. docs/settings.md lists each field.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from kcp.apiserver.audit.config import AuditConfig
from kcp.server.accessoptions import AuthenticationOptions, AuthorizationOptions
from kcp.server.leadershipoptions import LeadershipOptions
from kcp.server.startoptions import DEFAULT_BATTERIES, ServingCertificate, ShardOptions, battery_problems, chosen
from kcp.server.tmcoptions import TMCOptions
from kcp.storage.etcd.config import EtcdConfig
from kcp.tracing.config import TracingOptions

__all__ = ["MountOptions", "Options", "TMCOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MountOptions:
    """Workspaces that are served elsewhere."""

    enabled: bool = False
    """--feature-gates=WorkspaceMounts=true: this server sends requests to URLs that its users name."""
    client_cert_file: Path | None = None
    """--mount-proxy-client-cert-file: what this server shows there to be trusted with the names of users."""
    client_key_file: Path | None = None
    """--mount-proxy-client-key-file."""
    server_ca_file: Path | None = None
    """--mount-proxy-server-ca-file: who may sign certificates there, beside the system's authorities."""

    def problems(self, made_at_start: Path) -> list[str]:
        """Args: made_at_start: a file that need not be there before."""
        files = {
            "client-cert": self.client_cert_file, "client-key": self.client_key_file, "server-ca": self.server_ca_file,
        }  # fmt: skip
        found = [
            f"--mount-proxy-{name}-file={file}: no such file"
            for name, file in files.items()
            if file is not None and not file.is_file() and file.absolute() != made_at_start.absolute()
        ]
        if (self.client_cert_file is None) is not (self.client_key_file is None):
            found.append("--mount-proxy-client-cert-file and --mount-proxy-client-key-file: give both or none")
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class EncryptionOptions:
    """Of what is stored."""

    config_file: Path | None = None
    """--encryption-provider-config: EncryptionConfiguration of apiserver.config.k8s.io/v1. None: everything is stored as it is."""
    reload: bool = False
    """--encryption-provider-config-automatic-reload: a file that changes is in force within seconds. kube-apiserver's default."""

    def problems(self) -> list[str]:
        if self.config_file is None:
            return ["--encryption-provider-config-automatic-reload: needs --encryption-provider-config"] if self.reload else []
        return [] if self.config_file.is_file() else [f"--encryption-provider-config={self.config_file}: no such file"]


@dataclass(frozen=True, kw_only=True, slots=True)
class UpkeepOptions:
    """Of what is stored: how long history is kept, and when its room is given back."""

    compaction_interval_s: float = 300.0
    """--etcd-compaction-interval, of every kind of store: lists and watches from so long ago still work. 0: nothing is forgotten."""
    defragment_interval_s: float = 86_400.0
    """--etcd-defragment-interval: etcd only; 0: never. A SQLite database gives room back with each compaction."""

    def problems(self) -> list[str]:
        given = {"compaction": self.compaction_interval_s, "defragment": self.defragment_interval_s}
        return [f"--etcd-{name}-interval: must not be negative" for name, seconds in given.items() if seconds < 0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """`kcp start`."""

    root_directory: Path = Path(".kcp")
    """--root-directory: data, certificates and kubeconfigs; owned by one running server."""
    bind_address: str = "127.0.0.1"
    """--bind-address."""
    secure_port: int = 6443
    """--secure-port; 0 picks a free one."""
    external_hostname: str = ""
    """--external-hostname: name or address under which clients reach the server; default the bind address."""
    kubeconfig_path: Path | None = None
    """--kubeconfig-path: default `<root directory>/admin.kubeconfig`."""
    token_auth_file: Path | None = None
    """--token-auth-file: CSV of token,user,uid,"group1,group2" as kube-apiserver reads it."""
    in_memory: bool = False
    """--in-memory: keep nothing on disk but certificates and kubeconfig; for tests."""
    etcd: EtcdConfig = field(default_factory=EtcdConfig)
    """--etcd-*: a cluster that keeps the objects, instead of the server itself."""
    upkeep: UpkeepOptions = field(default_factory=UpkeepOptions)
    encryption: EncryptionOptions = field(default_factory=EncryptionOptions)
    leadership: LeadershipOptions = field(default_factory=LeadershipOptions)
    object_limit: int = 0
    """--logical-cluster-total-object-limit: most objects of a logical cluster that does not say its own limit; 0 for no limit."""
    admission_config_file: Path | None = None
    """--admission-control-config-file: an AdmissionConfiguration with a webhook for all workspaces."""
    conversion_timeout_s: float = 1.0
    """--conversion-cel-transformation-timeout: seconds that the CEL of an APIConversion may take for one object; counted as its cost."""
    home_workspaces: bool = True
    """--enable-home-workspaces: `GET workspaces/~` in root answers the caller's own workspace, and makes it on the first call."""
    home_creator_groups: tuple[str, ...] = ("system:authenticated",)
    """--home-workspaces-home-creator-groups: whose home workspaces are made."""
    mounts: MountOptions = field(default_factory=MountOptions)
    cache_apis: bool = False
    """--feature-gates=CacheAPIs=true: providers let their consumers read objects of theirs, by ClusterCachedResources."""
    shard: ShardOptions = field(default_factory=ShardOptions)
    serving: ServingCertificate = field(default_factory=ServingCertificate)
    batteries: tuple[str, ...] = tuple(sorted(DEFAULT_BATTERIES))
    """--batteries-included: what there is from the start."""
    admin_token_path: Path | None = None
    """--authentication-admin-token-path: default `<root directory>/.admin-token-store`."""
    export_urls: bool = True
    """--feature-gates=EnableDeprecatedAPIExportVirtualWorkspacesUrls=…: APIExports list URLs too, as programs for kcp 0.11 expect."""
    shutdown_delay_s: float = 0.0
    """--shutdown-delay-duration: how long a server that is told to stop goes on, while readyz fails, so that nobody is sent to it."""
    verbosity: int = 2
    """--v: 0 errors, 1 warnings, 2 progress, 4 debug."""
    authentication: AuthenticationOptions = field(default_factory=AuthenticationOptions)
    authorization: AuthorizationOptions = field(default_factory=AuthorizationOptions)
    audit: AuditConfig = field(default_factory=AuditConfig)
    """--audit-*: which requests are recorded, and where."""
    tmc: TMCOptions = field(default_factory=TMCOptions)
    tracing: TracingOptions = field(default_factory=TracingOptions)

    @property
    def admin_kubeconfig(self) -> Path:
        return self.kubeconfig_path or self.root_directory / "admin.kubeconfig"

    @property
    def has_peers(self) -> bool:
        """Whether other servers may work on the same objects."""
        return bool(self.etcd.endpoints) and self.leadership.enabled

    @property
    def serving_copy(self) -> Path:
        """The certificate that is served, and who signed it: where programs made for kcp look for it."""
        return self.root_directory / "apiserver.crt"

    @property
    def serving_key_copy(self) -> Path:
        """Its key, where the server made both: whoever serves beside it, such as a webhook, can be trusted by the same authority."""
        return self.root_directory / "apiserver.key"

    @property
    def own_certificate(self) -> ServingCertificate:
        """What --tls-* say; without them, `apiserver.crt` and `apiserver.key` where somebody put both into the root directory.

        Source: kcp pkg/server/options (the certificate directory is the root directory, the pair is named apiserver) and
        k8s.io/apiserver/pkg/server/options/serving.go MaybeDefaultWithSelfSignedCerts; the envtest of multicluster-provider.
        """
        copy, key = self.serving_copy, self.serving_key_copy
        if self.serving.certificate is None and key.is_file() and copy.is_file() and not self._is_of_this_server(copy.read_bytes()):
            return replace(self.serving, certificate=copy, key=key)
        return self.serving

    def _is_of_this_server(self, copy: bytes) -> bool:
        """What the server puts there itself ends with its authority, and is made anew when it must be."""
        authority = self.root_directory / "pki" / "ca.crt"
        return authority.is_file() and copy.endswith(authority.read_bytes())

    def has_battery(self, name: str) -> bool:
        return name in chosen(self.batteries)

    @property
    def host(self) -> str:
        """What clients are told to connect to."""
        return self.external_hostname or ("127.0.0.1" if self.bind_address in ("0.0.0.0", "::") else self.bind_address)

    @property
    def served_names(self) -> tuple[str, ...]:
        """Names and addresses in the certificate that the server makes itself."""
        return (self.external_hostname, self.bind_address, *self.serving.names)

    def problems(self) -> list[str]:
        """Every fault of these options, each with what to do."""
        found: list[str] = []
        if not 0 <= self.secure_port <= 65535:
            found.append(f"--secure-port={self.secure_port}: must be between 0 and 65535")
        if self.root_directory.exists() and not self.root_directory.is_dir():
            found.append(f"--root-directory={self.root_directory}: exists and is not a directory")
        if self.token_auth_file is not None and not self.token_auth_file.is_file():
            found.append(f"--token-auth-file={self.token_auth_file}: no such file")
        found += [*self.etcd.problems(), *self.encryption.problems(), *self.upkeep.problems(), *self.leadership.problems()]
        if self.etcd.endpoints and self.in_memory:
            found.append("--etcd-servers and --in-memory: give one of them")
        if self.shutdown_delay_s < 0:
            found.append("--shutdown-delay-duration: must not be negative")
        found += _admission_problems(self.admission_config_file)
        if self.object_limit < 0:
            found.append(f"--logical-cluster-total-object-limit={self.object_limit}: must not be negative")
        found += [*self.authentication.problems(), *self.authorization.problems()]
        if self.conversion_timeout_s <= 0:
            found.append("--conversion-cel-transformation-timeout: must be longer than 0s")
        found += [*self.mounts.problems(self.serving_copy), *self.shard.problems(), *self.serving.problems()]
        found += battery_problems(tuple(self.batteries))
        found += [*self.tmc.problems(), *self.tracing.problems()]
        found.extend(self.audit.problems())
        return found


def _admission_problems(file: Path | None) -> list[str]:
    if file is None:
        return []
    from kcp.apiserver.admission import globalwebhook  # the rules of webhooks, which nobody else needs here

    try:
        globalwebhook.read(file)
    except globalwebhook.AdmissionConfigError as error:
        return [f"--admission-control-config-file: {error}"]
    return []
