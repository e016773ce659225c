"""The flags that every kubectl plugin understands, as kubectl names them: which kubeconfig, which server, as whom.

Before: `plugin_command`. After: `plugin_session`, which connects by them.
Source: k8s.io/cli-runtime/pkg/genericclioptions/config_flags.go; kcp staging cli/pkg/base/options.go (`-w`).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from kcp.apimachinery.meta import JSONObject
from kcp.client.kubeconfig import find, put


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionFlags:
    """What was typed; "" for what was not."""

    kubeconfig: str = ""
    context: str = ""
    cluster: str = ""
    user: str = ""
    server: str = ""
    token: str = field(default="", repr=False)
    as_user: str = ""
    as_uid: str = ""
    as_groups: tuple[str, ...] = ()
    certificate_authority: str = ""
    client_certificate: str = ""
    client_key: str = ""
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False
    request_timeout_s: float = 0.0
    """0: no limit of the user's own."""
    workspace: str = ""
    """Act in this workspace instead of the current one, for this command only."""


def connection_parser() -> PluginParser:
    """A parent parser; its flags may stand anywhere on the line."""
    parser = PluginParser(add_help=False)
    group = parser.add_argument_group("kubectl flags")
    for name, metavar, text in (
        ("--kubeconfig", "FILE", "kubeconfig to use and to change"),
        ("--context", "CONTEXT", "context to start from"),
        ("--cluster", "NAME", "cluster of the kubeconfig to use"),
        ("--user", "NAME", "user of the kubeconfig to be"),
        ("--token", "TOKEN", "bearer token to be known by"),
        ("--as-uid", "UID", "uid to impersonate"),
        ("--certificate-authority", "FILE", "who may sign the server's certificate"),
        ("--client-certificate", "FILE", "certificate to be known by"),
        ("--client-key", "FILE", "its key"),
        ("--tls-server-name", "NAME", "name to expect in the server's certificate"),
    ):
        group.add_argument(name, default="", metavar=metavar, help=text)
    group.add_argument("-s", "--server", default="", metavar="URL", help="address of the server")
    group.add_argument("--as", dest="as_user", default="", metavar="USER", help="user to impersonate")
    group.add_argument(
        "--as-group", dest="as_groups", default=[], action="append", metavar="GROUP", help="group to impersonate; repeatable"
    )
    group.add_argument("--insecure-skip-tls-verify", action=Switch, help="trust whatever certificate the server shows")
    group.add_argument(
        "--request-timeout", default=0.0, type=duration, metavar="DURATION", help="longest time for one request, such as 10s"
    )
    group.add_argument("-w", "--workspace", default="", metavar="WORKSPACE", help="act in this workspace without entering it")
    return parser


class Switch(argparse.Action):
    """A flag in Go's style: `--flag`, `--flag=true`, `--flag=false`; a word after it is not its value. See `PluginParser`."""

    def __init__(self, option_strings: Sequence[str], dest: str, *, default: bool = False, help: str = "") -> None:  # noqa: A002 - argparse's word
        super().__init__(option_strings, dest, nargs=0, default=default, help=help)

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        setattr(namespace, self.dest, True)


class PluginParser(argparse.ArgumentParser):
    """argparse with Go's switches and kubectl's exit code 1 for what cannot be read."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options = {"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter, **options}
        super().__init__(*arguments, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:  # type: ignore[override]
        words: list[str] = []
        refused: list[str] = []
        for word in args:
            name, given, value = word.partition("=")
            action = self._option_string_actions.get(name)
            if not given or not isinstance(action, Switch):
                words.append(word)
            elif _truth(self, name, value):
                words.append(name)
            else:
                refused.append(action.dest)
        options, rest = super().parse_known_args(words, namespace)
        for dest in refused:
            setattr(options, dest, False)
        return options, rest

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"error: {message}\nSee '{self.prog} --help' for usage.\n")


def _truth(parser: argparse.ArgumentParser, name: str, text: str) -> bool:
    if text.lower() in ("true", "t", "1"):
        return True
    if text.lower() in ("false", "f", "0"):
        return False
    parser.error(f'invalid value "{text}" for {name}: true or false is wanted')


def duration(text: str) -> float:
    """Seconds of a Go duration, or of a bare number as kubectl takes it.

    >>> duration("1m30s"), duration("5")
    (90.0, 5.0)
    """
    from kcp.aio.durations import parse_duration

    try:
        return float(text) if text.isdigit() else parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def of_options(options: argparse.Namespace) -> ConnectionFlags:
    return ConnectionFlags(
        kubeconfig=options.kubeconfig, context=options.context, cluster=options.cluster, user=options.user, server=options.server,
        token=options.token, as_user=options.as_user, as_uid=options.as_uid, as_groups=tuple(options.as_groups),
        certificate_authority=options.certificate_authority, client_certificate=options.client_certificate, client_key=options.client_key,
        tls_server_name=options.tls_server_name, insecure_skip_tls_verify=options.insecure_skip_tls_verify,
        request_timeout_s=options.request_timeout, workspace=options.workspace,
    )  # fmt: skip


def with_place(merged: Mapping[str, Any], context: str, flags: ConnectionFlags) -> JSONObject:
    """The kubeconfig as if its context named the cluster, user and server of the flags; what `kubectl ws` may write down.

    Source: kcp staging cli/pkg/workspace/plugin/use.go, which keeps overrides of names but no secrets.
    """
    changed: JSONObject = {**merged, **{part: list(merged.get(part) or ()) for part in ("clusters", "contexts", "users")}}
    held = dict(find(changed, "contexts", context) or {})
    held |= {name: value for name, value in (("cluster", flags.cluster), ("user", flags.user)) if value}
    put(changed, "contexts", context, held)
    if flags.server:
        name = str(held.get("cluster") or "")
        put(changed, "clusters", name, {**(find(changed, "clusters", name) or {}), "server": flags.server})
    return changed


def with_credentials(document: Mapping[str, Any], context: str, flags: ConnectionFlags) -> JSONObject:
    """The kubeconfig for this one command: with the token, the certificates and the impersonation of the flags, too."""
    changed: JSONObject = {**document, **{part: list(document.get(part) or ()) for part in ("clusters", "users")}}
    held = find(changed, "contexts", context) or {}
    cluster, user = str(held.get("cluster") or ""), str(held.get("user") or "")
    trust = {"certificate-authority": flags.certificate_authority, "tls-server-name": flags.tls_server_name}
    found = find(changed, "clusters", cluster)
    if found is not None and (any(trust.values()) or flags.insecure_skip_tls_verify):
        kept = {k: v for k, v in found.items() if not (k == "certificate-authority-data" and flags.certificate_authority)}
        loose = {"insecure-skip-tls-verify": True} if flags.insecure_skip_tls_verify else {}
        put(changed, "clusters", cluster, {**kept, **{k: v for k, v in trust.items() if v}, **loose})
    said = {
        "token": flags.token, "client-certificate": flags.client_certificate, "client-key": flags.client_key,
        "as": flags.as_user, "as-uid": flags.as_uid, "as-groups": list(flags.as_groups),
    }  # fmt: skip
    known = find(changed, "users", user) if user else {}
    if known is not None and any(said.values()):
        put(changed, "users", user, {**_without_overridden(known, flags), **{k: v for k, v in said.items() if v}})
    return changed


def _without_overridden(user: JSONObject, flags: ConnectionFlags) -> JSONObject:
    """A token or certificate that is given replaces every other way to log in of the same kind."""
    gone: set[str] = set()
    if flags.token:
        gone |= {"token", "tokenFile", "exec", "username", "password", "client-certificate", "client-certificate-data"}
        gone |= {"client-key", "client-key-data"}
    if flags.client_certificate:
        gone |= {"client-certificate-data", "client-key-data"}
    return {k: v for k, v in user.items() if k not in gone}
