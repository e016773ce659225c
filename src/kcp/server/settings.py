"""The settings that may also stand in the `--config` file (TMCConfiguration) and in variables, as one table: flag, field, bounds, meaning.

A part that gets a switch gets a row here and a field of the options; flags, variables, `kcp config view`, the file and its validation
follow from the row. The names of fields are those of the reference (§2.4); those that have nothing to set here are taken and said to be
without effect. Before: `cli.tmcflags`. After: `tmcoptions` and the others named by `Setting.part`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from kcp.aio.durations import parse_duration
from kcp.aio.sizes import parse_size

Value = bool | int | float | str


class Kind(StrEnum):
    BOOL = "true or false"
    INT = "a whole number"
    NUMBER = "a number"
    DURATION = "a duration such as 30s"
    TEXT = "text"
    LIST = "words separated by commas"
    SIZE = "a size such as 100MB"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    part: str
    """Whose field it is: `tmc`, …"""
    field: str
    """Name of the field of that part's options."""
    path: str
    """Place in the `--config` file."""
    flag: str
    default: Value
    """Durations in seconds."""
    help: str
    kind: Kind = Kind.BOOL
    low: float | None = None
    high: float | None = None
    words: tuple[str, ...] = ()
    """The values of a text that are allowed; empty: any."""
    variable: str = ""
    """Where it is not `KCP_` and the flag's name."""
    is_live: bool = False
    """Another value is in force without a restart."""

    @property
    def env(self) -> str:
        return self.variable or f"KCP_{self.parameter.upper()}"

    @property
    def parameter(self) -> str:
        """The flag's name as click has it."""
        return self.flag.removeprefix("--").replace("-", "_")

    def parse(self, text: object) -> Value:
        """Of a flag, a variable, or the file. Raises ValueError, which says what is wrong with the value.

        >>> Setting(part="", field="", path="", flag="", default=1, help="", kind=Kind.INT, low=1).parse("0")
        Traceback (most recent call last):
        ValueError: must be at least 1
        """
        value = _READERS[self.kind](text)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if self.low is not None and self.high is not None and not self.low <= value <= self.high:
                raise ValueError(f"must be between {self.low:g} and {self.high:g}")
            if self.low is not None and value < self.low:
                raise ValueError(f"must be at least {self.low:g}")
        if self.words and value not in self.words:
            raise ValueError(f"must be one of {', '.join(self.words)}")
        return value


def _bool(text: object) -> bool:
    if isinstance(text, bool):
        return text
    word = str(text).strip().lower()
    if word not in _WORDS_OF_BOOL:
        raise ValueError("must be true or false")
    return _WORDS_OF_BOOL[word]


_WORDS_OF_BOOL = {word: True for word in ("true", "t", "1", "yes", "on")} | {word: False for word in ("false", "f", "0", "no", "off")}


def _int(text: object) -> int:
    if isinstance(text, (bool, float)):
        raise ValueError("must be a whole number")
    try:
        return int(str(text))
    except ValueError:
        raise ValueError("must be a whole number") from None


def _number(text: object) -> float:
    try:
        found = float(str(text))
    except ValueError:
        raise ValueError("must be a number") from None
    if isinstance(text, bool) or found != found or found in (float("inf"), float("-inf")):
        raise ValueError("must be a number")
    return found


def _duration(text: object) -> float:
    if isinstance(text, str):
        return parse_duration(text)
    raise ValueError("must be a duration such as 30s, in quotes or not, with its unit")


def _text(text: object) -> str:
    if isinstance(text, (str, int, float)) and not isinstance(text, bool):
        return str(text)
    raise ValueError("must be text")


def _list(text: object) -> str:
    words = text if isinstance(text, list) else _text(text).split(",")
    return ",".join(filter(None, (str(word).strip() for word in words)))


_READERS: Mapping[Kind, Callable[[object], Value]] = {
    Kind.BOOL: _bool,
    Kind.INT: _int,
    Kind.NUMBER: _number,
    Kind.DURATION: _duration,
    Kind.TEXT: _text,
    Kind.LIST: _list,
    Kind.SIZE: parse_size,
}


def _switch(field: str, path: str, flag: str, help: str, **more: object) -> Setting:  # noqa: A002 - as the field is called
    return Setting(part="tmc", field=field, path=path, flag=flag, default=True, help=help, **more)  # type: ignore[arg-type]


def _time(field: str, path: str, flag: str, default: float, help: str, **more: object) -> Setting:  # noqa: A002
    return Setting(part="tmc", field=field, path=path, flag=flag, default=default, help=help, kind=Kind.DURATION, **more)  # type: ignore[arg-type]


def _count(field: str, path: str, flag: str, default: int, bounds: tuple[float, float], help: str) -> Setting:  # noqa: A002
    low, high = bounds
    return Setting(part="tmc", field=field, path=path, flag=flag, default=default, help=help, kind=Kind.INT, low=low, high=high)


SETTINGS: tuple[Setting, ...] = (
    Setting(part="tmc", field="enabled", path="enabled", flag="--enable-tmc", variable="KCP_TMC_ENABLED", default=False,
            help="Transparent Multi-Cluster: placement, syncers, aggregation."),
    _switch("placement_controller", "placement.enabled", "--tmc-placement-controller",
            "TMC: decide on Placements, and place namespaces and objects."),
    _switch("error_handling", "errorHandling.enabled", "--tmc-error-handling",
            "TMC: show clusters' errors, typed and with hints, on the objects they concern."),
    _switch("health_monitoring", "health.enabled", "--tmc-health-monitoring", "TMC: watch every component; a late heartbeat makes a "
            "SyncTarget NotReady."),
    _switch("metrics", "metrics.enabled", "--tmc-metrics", "TMC: tmc_* metrics at /metrics."),
    _switch("recovery", "recovery.enabled", "--tmc-recovery",
            "TMC: mend what fails, and place the work of a cluster that stays NotReady elsewhere."),
    _switch("virtual_workspaces", "virtualWorkspace.enabled", "--tmc-virtual-workspaces",
            "TMC: views over all clusters, at /services/tmc."),
    _switch("projection", "virtualWorkspace.projectionEnabled", "--tmc-projection", "TMC: ResourceProjections."),
    _switch("migration", "migration.enabled", "--tmc-migration", "TMC: move workloads between clusters on request."),
    _switch("push", "sync.push", "--tmc-push", "TMC: sync to clusters whose SyncTarget names a Secret with a kubeconfig."),
    _switch("bind_compute", "core.bindCompute", "--tmc-bind-compute",
            "TMC: new workspaces bind root:compute:kubernetes, so that Deployments work at once."),
    _time("eviction_grace_s", "recovery.evictionGrace", "--tmc-eviction-grace", 300.0,
          "TMC: how long a cluster may be NotReady before its work is placed elsewhere."),
    _time("heartbeat_threshold_s", "health.heartbeatThreshold", "--sync-target-heartbeat-threshold", 60.0,
          "TMC: time without a heartbeat after which a SyncTarget is NotReady.", variable="KCP_TMC_HEARTBEAT_THRESHOLD"),
    _time("clock_skew_limit_s", "health.clockSkewLimit", "--sync-target-clock-skew-limit", 10.0,
          "TMC: how far the clock of a cluster's syncer may be off before its SyncTarget says so (condition ClockSynchronized).",
          variable="KCP_TMC_CLOCK_SKEW_LIMIT"),
    _time("health_interval_s", "health.checkInterval", "--tmc-health-check-interval", 5.0,
          "TMC: time between two looks at every component.", is_live=True),
    _time("health_timeout_s", "health.healthTimeout", "--tmc-health-timeout", 10.0,
          "TMC: a component that does not answer for so long is Unhealthy.", is_live=True),
    _time("health_degraded_s", "health.degradedThreshold", "--tmc-health-degraded-threshold", 120.0,
          "TMC: a controller whose work stands still for so long is Degraded.", is_live=True),
    _time("health_unhealthy_s", "health.unhealthyThreshold", "--tmc-health-unhealthy-threshold", 300.0, "TMC: and Unhealthy.",
          is_live=True),
    _count("workers", "core.workerPoolSize", "--tmc-workers", 0, (0, 50),
           "TMC: workers of each controller. 0: as many as it has by itself."),
    _count("operation_limit", "core.maxConcurrentOperations", "--tmc-max-concurrent-operations", 0, (0, 100),
           "TMC: objects in work at once, over all controllers. 0: no limit."),
    _time("operation_timeout_s", "core.operationTimeout", "--tmc-operation-timeout", 300.0,
          "TMC: give up work on an object that takes longer, and try again."),
    _count("push_workers", "sync.maxSyncWorkers", "--tmc-push-workers", 2, (1, 50),
           "TMC: workers of each syncer in this process, per resource and direction."),
    _count("push_backlog_limit", "sync.syncBacklogLimit", "--tmc-push-backlog-limit", 1000, (100, 10_000),
           "TMC: objects that may wait in one of them before it reports itself overloaded."),
    Setting(part="tmc", field="push_upsync", path="sync.upsyncResources", flag="--tmc-push-upsync-resources", default="", kind=Kind.LIST,
            help="TMC: what of their clusters is shown in workspaces, as RESOURCE.GROUP; `pods` also for logs, exec and port-forward."),
    Setting(part="tracing", field="enabled", path="tracing.enabled", flag="--tracing", variable="KCP_TMC_TRACING", default=False,
            help="Traces by OpenTelemetry, sent by OTLP."),
    Setting(part="tracing", field="ratio", path="tracing.samplingRate", flag="--tracing-sampling-ratio", default=0.1, kind=Kind.NUMBER,
            low=0, high=1, help="Of the traces that begin here, how many are recorded.", is_live=True),
    Setting(part="tracing", field="endpoint", path="tracing.otlpEndpoint", flag="--tracing-endpoint", default="", kind=Kind.TEXT,
            help="Who receives them. Empty: localhost:4317, or http://localhost:4318/v1/traces."),
    Setting(part="tracing", field="protocol", path="tracing.otlpProtocol", flag="--tracing-protocol", default="grpc", kind=Kind.TEXT,
            words=("grpc", "http"), help="OTLP over gRPC, or over HTTP as protobuf."),
    Setting(part="tracing", field="service_name", path="tracing.serviceName", flag="--tracing-service-name", default="kcp-tmc",
            kind=Kind.TEXT, help="Under this name they are found."),
    Setting(part="tracing", field="service_version", path="tracing.serviceVersion", flag="--tracing-service-version", default="v1.0.0",
            kind=Kind.TEXT, help="And this version."),
    Setting(part="tracing", field="environment", path="core.environment", flag="--tracing-environment", default="production",
            kind=Kind.TEXT, help="And in this environment."),
    Setting(part="log", field="format", path="logging.format", flag="--logging-format", default="text", kind=Kind.TEXT,
            words=("text", "json"), help="Form of the log.", is_live=True),
    Setting(part="log", field="outputs", path="logging.outputs", flag="--log-output", default="", kind=Kind.LIST,
            help="Where the log goes: stdout, stderr, file:PATH, separated by commas. Empty: stderr, or --log-file alone.", is_live=True),
    Setting(part="log", field="file", path="logging.file", flag="--log-file", default="", kind=Kind.TEXT,
            help="A file for the log.", is_live=True),
    Setting(part="log", field="max_bytes", path="logging.logRotation.maxSize", flag="--log-file-max-size", default=100_000_000,
            kind=Kind.SIZE, help="Of a log file before it is rotated; a number alone is megabytes, 0: never.", is_live=True),
    Setting(part="log", field="max_age_days", path="logging.logRotation.maxAge", flag="--log-file-max-age", default=30, kind=Kind.INT,
            low=0, help="Days that rotated log files are kept; 0: for ever.", is_live=True),
    Setting(part="log", field="max_backups", path="logging.logRotation.maxBackups", flag="--log-file-max-backups", default=10,
            kind=Kind.INT, low=0, help="Rotated log files that are kept; 0: all.", is_live=True),
    _count("breaker_failures", "recovery.circuitBreakerThreshold", "--tmc-circuit-breaker-threshold", 5, (0, 50),
           "TMC: failures in a row after which they send no writes to their cluster for a while. 0: never."),
    _time("breaker_reset_s", "recovery.circuitBreakerTimeout", "--tmc-circuit-breaker-timeout", 60.0,
          "TMC: time after which one write is tried again."),
)  # fmt: skip

_OURS = "events drive it here, not intervals"
_OBJECTS = "each object says it for itself"
_LABELS = "Placements and SyncTargets say it"
_MEMORY = "informers hold what there is, no more"
WITHOUT_EFFECT: Mapping[str, str] = {
    "core.enableProfiling": "py-spy profiles a running server from outside",
    "core.serviceName": "tracing.serviceName says it",
    "core.serviceVersion": "tracing.serviceVersion says it",
    "tracing.otlpEnabled": "tracing.enabled says it",
    "tracing.jaegerEnabled": "Jaeger receives OTLP, at port 4317",
    "tracing.jaegerEndpoint": "Jaeger receives OTLP, at port 4317",
    "placement.syncInterval": _OURS,
    "placement.maxConcurrentPlacements": "core.workerPoolSize says it for every controller",
    "placement.defaultStrategy": _OBJECTS,
    "placement.rebalanceEnabled": _OBJECTS,
    "placement.rebalanceInterval": _OBJECTS,
    "placement.maxClustersPerPlacement": _OBJECTS,
    "placement.minHealthyRatio": _OBJECTS,
    "placement.preferredZones": _LABELS,
    "placement.avoidanceLabels": _LABELS,
    "placement.advanced.enableAntiAffinity": _LABELS,
    "placement.advanced.placementTimeout": "core.operationTimeout says it for every controller",
    "placement.advanced.retryBackoffMultiplier": "queues try again after 5 ms, doubling",
    "placement.advanced.maxRetryDelay": "queues try again after 5 ms, doubling",
    "sync.enabled": "there is no TMC without syncers; sync.push turns those of this process off",
    "sync.syncInterval": _OURS,
    "sync.maxSyncAttempts": "what fails is tried until it works or changes",
    "sync.syncTimeout": "every request has a deadline of its own",
    "sync.batchSize": _OURS,
    "sync.supportedResources": "a SyncTarget's spec.supportedAPIExports says it",
    "sync.excludedResources": "a SyncTarget's spec.supportedAPIExports says it",
    "sync.conflictResolution": "the owner of each field wins, by server-side apply",
    "migration.maxConcurrentMigrations": _OBJECTS,
    "migration.migrationTimeout": _OBJECTS,
    "migration.defaultStrategy": _OBJECTS,
    "migration.enableRollback": _OBJECTS,
    "migration.rollbackTimeout": _OBJECTS,
    "migration.dataTransferBatchSize": "objects move, not volumes",
    "migration.dataTransferTimeout": "objects move, not volumes",
    "migration.compressionEnabled": "objects move, not volumes",
    "migration.preMigrationValidation": "it is always checked",
    "migration.postMigrationValidation": "it is always checked",
    "migration.safetyChecks": "it is always checked",
    "virtualWorkspace.maxVirtualWorkspaces": _MEMORY,
    "virtualWorkspace.syncInterval": _OURS,
    "virtualWorkspace.aggregationEnabled": "virtualWorkspace.enabled says it",
    "virtualWorkspace.aggregationInterval": _OURS,
    "virtualWorkspace.defaultMergeStrategy": _OBJECTS,
    "virtualWorkspace.projectionInterval": _OURS,
    "virtualWorkspace.defaultProjectionMode": _OBJECTS,
    "virtualWorkspace.maxResourcesPerWorkspace": _MEMORY,
    "virtualWorkspace.maxClustersPerWorkspace": _MEMORY,
    "health.registerSystemProviders": "every component is watched",
    "health.registerClusterProviders": "every component is watched",
    "health.alertingEnabled": "Prometheus alerts, by the rules in monitoring/",
    "health.alertThresholds": "Prometheus alerts, by the rules in monitoring/",
    "metrics.collectionInterval": "they are measured when they are scraped",
    "metrics.prometheusEnabled": "metrics.enabled says it",
    "metrics.prometheusPort": "/metrics is at the server's own port",
    "metrics.prometheusPath": "/metrics is at the server's own port",
    "metrics.retentionPeriod": "Prometheus keeps them",
    "metrics.enableCustomMetrics": "metrics.enabled says it",
    "metrics.metricNamespace": "alerts and dashboards go by the names",
    "recovery.maxConcurrentRecoveries": "five at once",
    "recovery.recoveryTimeout": _OBJECTS,
    "recovery.healthCheckInterval": "health.checkInterval says it",
    "recovery.defaultMaxRetries": _OBJECTS,
    "recovery.defaultInitialDelay": _OBJECTS,
    "recovery.defaultMaxDelay": _OBJECTS,
    "recovery.defaultBackoffFactor": _OBJECTS,
    "recovery.circuitBreakerEnabled": "recovery.circuitBreakerThreshold: 0 turns them off",
    "resources.maxResourcesPerCluster": _MEMORY,
    "resources.maxNamespacesPerCluster": _MEMORY,
    "resources.supportedGVKs": "a SyncTarget's spec.supportedAPIExports says it",
    "resources.excludedGVKs": "a SyncTarget's spec.supportedAPIExports says it",
    "resources.transformationPolicies": "OverridePolicies and the syncer's transformations are objects",
    "resources.validationPolicies": "ValidatingAdmissionPolicies are objects",
    "resources.resourceCacheSize": _MEMORY,
    "resources.resourceCacheTTL": _MEMORY,
}
"""Fields of the reference that are taken, and why they change nothing."""

IGNORED = frozenset({"apiVersion", "kind", "version", "metadata"})
"""At the top of the file: who wrote it, not what it says."""
