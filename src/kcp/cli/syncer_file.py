"""The syncer's `--config` file: the same settings as its flags, as a tree.

Flags win over environment variables, which win over the file. Before: `workload_syncer`. After: its flags' defaults.
Source: tmc reference §5.1 (config file tree).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kcp.cli.logs import LEVELS

Value = Any  # of YAML

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what a bare port means, as in the charts: the Pod's own address


class ConfigFileError(Exception):
    """The file cannot be used; the message names every fault."""


def _words(value: Value) -> Value:
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _pairs(value: Value) -> Value:
    return ",".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, Mapping) else value


def _path(value: Value) -> Value:
    return str(Path(str(value)).expanduser())


def _config_map(value: Value) -> Value:
    """A name alone is one of kcp-system."""
    return value if "/" in str(value) else f"kcp-system/{value}"


def _level(value: Value) -> Value:
    """A number, or its name."""
    return LEVELS.get(str(value), value)


def _same(value: Value) -> Value:
    return value


_FIELDS: Mapping[str, tuple[str, Callable[[Value], Value]]] = {
    "syncTarget.name": ("sync_target_name", _same),
    "syncTarget.uid": ("sync_target_uid", _same),
    "syncTarget.workspace": ("workspace_cluster", _same),
    "kubeconfig.kcp": ("kcp_kubeconfig", _path),
    "kubeconfig.kcpContext": ("kcp_context", _same),
    "kubeconfig.cluster": ("cluster_kubeconfig", _path),
    "kubeconfig.clusterContext": ("cluster_context", _same),
    "performance.workers": ("workers", _same),
    "performance.maxConcurrentSyncs": ("max_concurrent_syncs", _same),
    "performance.backlogLimit": ("sync_backlog_limit", _same),
    "performance.circuitBreakerThreshold": ("circuit_breaker_threshold", _same),
    "performance.circuitBreakerTimeout": ("circuit_breaker_timeout", _same),
    "performance.resyncPeriod": ("resync_period", _same),
    "performance.qps": ("qps", _same),
    "performance.burst": ("burst", _same),
    "sync.heartbeatPeriod": ("heartbeat_period", _same),
    "sync.transformations.configMap": ("transformations", _config_map),
    "sync.leaderElect": ("leader_elect", _same),
    "sync.leaseDuration": ("lease_duration", _same),
    "sync.upsyncResources": ("upsync_resources", _words),
    "sync.filters.namespaces.include": ("sync_namespaces", _words),
    "sync.filters.namespaces.exclude": ("exclude_namespaces", _words),
    "sync.filters.labels.require": ("require_labels", _pairs),
    "tracing.enabled": ("tracing", _same),
    "tracing.otlpEndpoint": ("tracing_endpoint", _same),
    "tracing.otlpProtocol": ("tracing_protocol", _same),
    "tracing.serviceName": ("tracing_service_name", _same),
    "logging.level": ("verbosity", _level),
    "logging.format": ("log_format", _same),
    "logging.file": ("log_file", _path),
    "logging.outputs": ("log_outputs", _words),
    "logging.logRotation.maxSize": ("log_file_max_size", str),
    "logging.logRotation.maxAge": ("log_file_max_age", _same),
    "logging.logRotation.maxBackups": ("log_file_max_backups", _same),
}
"""Field of the file → parameter of the command, and how its value is written there."""
_ENDPOINTS = {"metrics": (8080, "/metrics"), "health": (8081, "/health")}
_TRANSFORMS = "sync.transformations.enabled"
_ENDPOINT_FIELDS = frozenset({"enabled", "port", "path", "bindAddress"})


def read(path: Path) -> dict[str, Value]:
    """Values by parameter name, for click's `default_map`. Raises ConfigFileError."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigFileError(f"cannot read --config={path}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigFileError(f"--config={path} is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigFileError(f"--config={path} must hold fields, such as syncTarget and kubeconfig")
    return _resolve(document, path)


def _resolve(document: Mapping[str, Value], path: Path) -> dict[str, Value]:
    found: dict[str, Value] = {}
    unknown: list[str] = []
    for name, value in _leaves(document):
        section, _, field = name.partition(".")
        if (section in _ENDPOINTS and field in _ENDPOINT_FIELDS) or name == _TRANSFORMS:
            continue
        if name not in _FIELDS:
            unknown.append(name)
            continue
        parameter, write = _FIELDS[name]
        if value is not None:
            found[parameter] = write(value)
    if unknown:
        raise ConfigFileError(f"--config={path} has unknown fields: {', '.join(unknown)}; known are {', '.join([*_FIELDS, *_ENDPOINTS])}")
    if dict(_leaves(document)).get(_TRANSFORMS) is False:
        found["transformations"] = ""
    for section, (port, default_path) in _ENDPOINTS.items():
        told = document.get(section)
        if isinstance(told, Mapping) and told.get("enabled", True):
            found[f"{section}_bind_address"] = told.get("bindAddress") or f"{EVERYWHERE}:{told.get('port', port)}"
            found[f"{section}_path"] = told.get("path", default_path)
    return found


def _leaves(tree: Mapping[str, Value], prefix: str = "") -> Iterator[tuple[str, Value]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name not in _FIELDS:
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value
