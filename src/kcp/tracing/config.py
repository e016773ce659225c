"""What tracing can be told: by flags, by the `--config` file, and by Kubernetes' TracingConfiguration (`--tracing-config-file`).

Before: `server.options`, the syncer's command. After: `tracing.exporting`.
Source: k8s.io/apiserver/pkg/server/options/tracing.go, k8s.io/component-base/tracing/api/v1/config.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PROTOCOLS = ("grpc", "http")
DEFAULT_ENDPOINTS = {"grpc": "localhost:4317", "http": "http://localhost:4318/v1/traces"}
_VERSIONS = tuple(f"apiserver.config.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))
_FIELDS = frozenset(("apiVersion", "kind", "endpoint", "samplingRatePerMillion"))
_MILLION = 1_000_000


class TracingFileError(Exception):
    """The file of --tracing-config-file cannot be used; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TracingOptions:
    enabled: bool = False
    """Off: nothing of OpenTelemetry is loaded."""
    ratio: float = 0.1
    """Of the traces that begin here, how many are recorded."""
    endpoint: str = ""
    """Who receives the spans by OTLP; "": at this machine, at the protocol's usual port."""
    protocol: str = "grpc"
    """`grpc`, or `http` (protobuf)."""
    service_name: str = "kcp-tmc"
    service_version: str = "v1.0.0"
    environment: str = "production"
    """Of the resource that all spans are about."""
    config_file: Path | None = None
    """A TracingConfiguration: turns tracing on, and says endpoint and ratio as for kube-apiserver."""

    @property
    def is_on(self) -> bool:
        return self.enabled or self.config_file is not None

    def problems(self) -> Iterator[str]:
        if self.config_file is not None:
            try:
                read(self.config_file, self)
            except TracingFileError as error:
                yield str(error)
        if not 0 <= self.ratio <= 1:
            yield f"--tracing-sampling-ratio={self.ratio:g}: must be between 0 and 1"
        if self.endpoint:
            yield from (f"--tracing-endpoint={self.endpoint}: {fault}" for fault in endpoint_faults(self.endpoint, self.protocol))

    def complete(self) -> TracingOptions:
        """With what the file says, and an endpoint. Raises TracingFileError."""
        told = read(self.config_file, self) if self.config_file is not None else self
        return replace(told, endpoint=told.endpoint or DEFAULT_ENDPOINTS[told.protocol])


def endpoint_faults(endpoint: str, protocol: str) -> Iterator[str]:
    if protocol == "http":
        if urlsplit(endpoint).scheme not in ("http", "https"):
            yield "must be a URL, such as http://collector:4318/v1/traces, with --tracing-protocol=http"
    elif "//" in endpoint and urlsplit(endpoint).scheme not in ("dns", "unix", "unix-abstract", "http", "https"):
        yield "unsupported scheme: options are none, dns, unix, unix-abstract, http, or https"


def read(path: Path, given: TracingOptions) -> TracingOptions:
    """`given` with what a TracingConfiguration says; a rate that it does not say is 0: only traces of others are joined."""
    document = _document(path)
    faults = [f"{name}: there is no such field" for name in sorted(document.keys() - _FIELDS)]
    if document.get("kind") != "TracingConfiguration" or document.get("apiVersion") not in _VERSIONS:
        faults.append(f"kind must be TracingConfiguration, apiVersion one of {', '.join(_VERSIONS)}")
    rate, endpoint = document.get("samplingRatePerMillion", 0), document.get("endpoint", "")
    if not isinstance(rate, int) or isinstance(rate, bool):
        faults.append("samplingRatePerMillion: must be a whole number")
    elif rate < 0:
        faults.append(f"samplingRatePerMillion: Invalid value: {rate}: sampling rate must be positive")
    elif rate > _MILLION:
        faults.append(f"samplingRatePerMillion: Invalid value: {rate}: sampling rate per million must be less than or equal to one million")
    if not isinstance(endpoint, str):
        faults.append("endpoint: must be text")
    else:
        faults += [f"endpoint: {fault}" for fault in endpoint_faults(endpoint, "grpc")]
    if faults:
        raise TracingFileError(f"--tracing-config-file={path}: {'; '.join(faults)}")
    return replace(given, enabled=True, ratio=rate / _MILLION, endpoint=endpoint, protocol="grpc", config_file=None)


def _document(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise TracingFileError(f"--tracing-config-file={path}: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise TracingFileError(f"--tracing-config-file={path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise TracingFileError(f"--tracing-config-file={path}: must hold a TracingConfiguration")
    return found
