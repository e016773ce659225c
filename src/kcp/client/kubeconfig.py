"""kubeconfig files: read, merge, change, write, and connect by them.

Before: CLI, syncer, server (admin.kubeconfig). After: `http.HttpTransport`. Errors say which file, which entry, and what to do.
Source: k8s.io/client-go/tools/clientcmd (api/v1/types.go, loader.go, client_config.go).
"""

from __future__ import annotations

import base64
import binascii
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from kcp.aio.clock import Clock
from kcp.apimachinery.meta import JSONObject
from kcp.client.endpoint import Endpoint, ExecPlugin, Timeouts
from kcp.client.following import FollowingTransport
from kcp.client.http import HttpTransport
from kcp.client.rest import Client
from kcp.client.transport import Transport

IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts a Pod's own credentials."""


class KubeConfigError(Exception):
    """A kubeconfig cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True, slots=True)
class KubeConfigEntry:
    """One context of a kubeconfig, resolved."""

    source: str
    """The file it was read from."""
    context: str
    cluster: str
    user: str
    namespace: str
    """"" when the context names none."""
    endpoint: Endpoint
    server: str = ""
    """Not empty: the server's address, whatever the file says."""

    def at_server(self, url: str) -> KubeConfigEntry:
        """The same credentials for another address of the server. Raises KubeConfigError."""
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
            raise KubeConfigError(f'the server address "{url}" is not an http(s) URL')
        return replace(self, endpoint=replace(self.endpoint, server=url), server=url)

    def connect(
        self, *, clock: Clock | None = None, timeouts: Timeouts | None = None, user_agent: str = "kcp", follow: bool = False
    ) -> Client:
        """A client of this context; the network is first touched by its first request.

        Args: follow: read the file again when the server cannot be reached or refuses the credentials; for programs that run for long.
        """
        transport: Transport
        if follow:
            transport = FollowingTransport(self.endpoint, self._read_again, clock=clock, timeouts=timeouts)
        else:
            transport = HttpTransport(self.endpoint, clock=clock, timeouts=timeouts)
        return Client(transport, self.endpoint.base_path, clock=clock, user_agent=user_agent, origin=self.endpoint.origin)

    def _read_again(self) -> Endpoint | None:
        try:
            found = load(self.source, self.context)
            return (found.at_server(self.server) if self.server else found).endpoint
        except KubeConfigError:
            return None  # being written, or gone: what was read before stays good


def load(path: Path | str, context: str = "") -> KubeConfigEntry:
    """The entry of `context`, or of the current context. Raises KubeConfigError."""
    file = Path(path)
    return resolve(read(file), context, source=file)


def connect(  # noqa: PLR0913 - all but the first are options with defaults
    path: Path | str,
    context: str = "",
    *,
    clock: Clock | None = None,
    timeouts: Timeouts | None = None,
    user_agent: str = "kcp",
    follow: bool = False,
) -> Client:
    """A client of a kubeconfig's context. Raises KubeConfigError; an unreachable server shows in the first request."""
    return load(path, context).connect(clock=clock, timeouts=timeouts, user_agent=user_agent, follow=follow)


def in_cluster(host: str, port: str, *, directory: Path = IN_CLUSTER) -> Endpoint:
    """The API server of the cluster that this Pod runs in; host and port are KUBERNETES_SERVICE_HOST and _PORT.

    Source: k8s.io/client-go/rest/config.go InClusterConfig.
    """
    if not host or not port:
        raise KubeConfigError("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: not in a Pod; give a kubeconfig")
    address = f"[{host}]" if ":" in host else host
    authority, token = directory / "ca.crt", directory / "token"
    origin = f"the service account in {directory}"
    return Endpoint(server=f"https://{address}:{port}", ca_pem=_file(authority, origin), token_file=str(token), origin=origin)


def read(path: Path) -> JSONObject:
    """A kubeconfig document. Raises KubeConfigError."""
    import yaml

    try:
        text = path.read_text()
    except FileNotFoundError:
        raise KubeConfigError(f"kubeconfig {path} does not exist; give the path of one, or make it with the server's own tools") from None
    except (OSError, UnicodeDecodeError) as error:
        raise KubeConfigError(f"kubeconfig {path} cannot be read: {error}") from error
    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise KubeConfigError(f"kubeconfig {path} is not valid YAML: {error}") from error
    if document is None:
        document = {}
    if not isinstance(document, dict) or document.get("kind", "Config") != "Config":
        raise KubeConfigError(f"{path} is not a kubeconfig (kind: Config)")
    return document


def read_merged(paths: Iterable[Path]) -> tuple[JSONObject, Path]:
    """Several kubeconfigs as one, as KUBECONFIG=a:b means it: the first to name an entry wins; files that do not exist are skipped.

    Returns: the document, with relative file names made absolute, and the file to write changes to.
    """
    listed = list(paths)
    present = [path for path in listed if path.exists()]
    merged: JSONObject = empty()
    for path in present:
        merge(merged, _absolute(read(path), path.parent))
    if not listed:
        raise KubeConfigError("no kubeconfig is named; set KUBECONFIG or give a path")
    return merged, (present or listed)[0]


def empty() -> JSONObject:
    return {"apiVersion": "v1", "kind": "Config", "clusters": [], "contexts": [], "users": [], "current-context": "", "preferences": {}}


def merge(into: JSONObject, other: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Add the entries of `other`; those of a name that is there are kept, or replaced with `overwrite`."""
    for section in ("clusters", "contexts", "users"):
        held: list[JSONObject] = into.get(section) or []
        for entry in other.get(section) or ():
            index = next((i for i, e in enumerate(held) if e.get("name") == entry.get("name")), None)
            if index is None:
                held.append(entry)
            elif overwrite:
                held[index] = entry
        into[section] = held
    if other.get("current-context") and (overwrite or not into.get("current-context")):
        into["current-context"] = other["current-context"]


def put(document: JSONObject, section: str, name: str, value: JSONObject) -> None:
    """Add or replace one entry. Args: section: clusters, contexts or users."""
    field = section.removesuffix("s")
    merge(document, {section: [{"name": name, field: value}]}, overwrite=True)


def find(document: Mapping[str, Any], section: str, name: str) -> JSONObject | None:
    """The value of one entry, or None."""
    entry = next((e for e in document.get(section) or () if isinstance(e, dict) and e.get("name") == name), None)
    return (entry.get(section.removesuffix("s")) or {}) if entry is not None else None


def save(path: Path, document: Mapping[str, Any]) -> None:
    """Write atomically, readable by the owner only: it holds credentials."""
    import yaml

    text = yaml.safe_dump(dict(document), sort_keys=False, default_flow_style=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)  # still there only if something failed


def resolve(document: Mapping[str, Any], context: str = "", *, source: Path) -> KubeConfigEntry:
    """The entry of `context`, or of the current context. Raises KubeConfigError."""
    name = context or document.get("current-context") or ""
    if not name:
        raise KubeConfigError(f"kubeconfig {source} has no current-context; choose one of: {_names(document, 'contexts')}")
    chosen = find(document, "contexts", name)
    if chosen is None:
        raise KubeConfigError(f'kubeconfig {source} has no context "{name}"; it has: {_names(document, "contexts")}')
    cluster_name, user_name = chosen.get("cluster") or "", chosen.get("user") or ""
    cluster = find(document, "clusters", cluster_name)
    if cluster is None:
        raise KubeConfigError(f'kubeconfig {source}: context "{name}" names cluster "{cluster_name}", which is not there')
    user = find(document, "users", user_name) if user_name else {}
    if user is None:
        raise KubeConfigError(f'kubeconfig {source}: context "{name}" names user "{user_name}", which is not there')
    endpoint = _endpoint(cluster, user, directory=source.parent, origin=f'context "{name}" of {source}')
    return KubeConfigEntry(str(source), name, cluster_name, user_name, chosen.get("namespace") or "", endpoint)


def _names(document: Mapping[str, Any], section: str) -> str:
    return ", ".join(sorted(str(e.get("name")) for e in document.get(section) or () if isinstance(e, dict))) or "(none)"


def _endpoint(cluster: Mapping[str, Any], user: Mapping[str, Any], *, directory: Path, origin: str) -> Endpoint:
    server = str(cluster.get("server") or "")
    if urlsplit(server).scheme not in {"http", "https"} or not urlsplit(server).hostname:
        raise KubeConfigError(f'{origin}: the server address "{server}" is not an http(s) URL')
    if user.get("auth-provider"):
        raise KubeConfigError(f"{origin}: auth-provider is not supported (nor by kubectl since 1.26); use exec credentials or a token")
    token_file = str(user.get("tokenFile") or "")
    cert_pem = _pem(user, "client-certificate", directory, origin)
    key_pem = _pem(user, "client-key", directory, origin)
    if bool(cert_pem) != bool(key_pem):
        raise KubeConfigError(f"{origin}: client-certificate and client-key must be given together")
    return Endpoint(
        server=server,
        ca_pem=_pem(cluster, "certificate-authority", directory, origin),
        insecure_skip_tls_verify=bool(cluster.get("insecure-skip-tls-verify")),
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        proxy_url=str(cluster.get("proxy-url") or ""),
        cert_pem=cert_pem,
        key_pem=key_pem,
        token=str(user.get("token") or ""),
        token_file=str(directory / token_file) if token_file else "",
        username=str(user.get("username") or ""),
        password=str(user.get("password") or ""),
        exec_plugin=_exec_plugin(user.get("exec"), origin),
        impersonation=_impersonation(user, origin),
        origin=origin,
    )


def _impersonation(user: Mapping[str, Any], origin: str) -> tuple[tuple[str, str], ...]:
    """Headers for a kubeconfig user's `as…`; groups and extras repeat theirs.

    Source: k8s.io/client-go/transport/round_trippers.go impersonatingRoundTripper.
    """
    name, groups, extra = str(user.get("as") or ""), user.get("as-groups") or (), user.get("as-user-extra") or {}
    if not name:
        if groups or extra or user.get("as-uid"):
            raise KubeConfigError(
                f"{origin}: requesting groups, uid or extra needs a user to impersonate: add --as, or `as` in the kubeconfig"
            )
        return ()
    uid = (("Impersonate-Uid", str(user["as-uid"])),) if user.get("as-uid") else ()
    listed = tuple(("Impersonate-Group", str(group)) for group in groups)
    told = tuple((f"Impersonate-Extra-{quote(key.lower(), safe='')}", str(value)) for key, values in extra.items() for value in values)
    return (("Impersonate-User", name), *uid, *listed, *told)


def _pem(entry: Mapping[str, Any], field: str, directory: Path, origin: str) -> bytes:
    """`<field>-data` (base64) or the file that `<field>` names; empty if neither is there."""
    data, name = entry.get(f"{field}-data"), entry.get(field)
    if data:
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise KubeConfigError(f"{origin}: {field}-data is not base64: {error}") from error
    return _file(directory / name, f"{field} of {origin}") if name else b""


def _file(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KubeConfigError(f"cannot read {path} ({what}): {error.strerror}") from error


def _exec_plugin(spec: Mapping[str, Any] | None, origin: str) -> ExecPlugin | None:
    if not spec:
        return None
    if not spec.get("command"):
        raise KubeConfigError(f"{origin}: exec names no command")
    return ExecPlugin(
        command=spec["command"],
        args=tuple(spec.get("args") or ()),
        env=tuple((e["name"], e["value"]) for e in spec.get("env") or ()),
        api_version=spec.get("apiVersion") or "client.authentication.k8s.io/v1",
        install_hint=" ".join(str(spec.get("installHint") or "").split()),
    )


def _absolute(document: JSONObject, directory: Path) -> JSONObject:
    """File names in a kubeconfig are relative to it; make them good from anywhere."""
    fields = {"clusters": ("certificate-authority",), "users": ("client-certificate", "client-key", "tokenFile")}
    for section, names in fields.items():
        for entry in document.get(section) or ():
            value = entry.get(section.removesuffix("s")) or {}
            for name in names:
                if value.get(name):
                    value[name] = str(directory / value[name])
    return document
