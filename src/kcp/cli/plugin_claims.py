"""`kubectl kcp claims`: what the providers of bound APIs ask for in this workspace, and the user's answers.

Before: `kubectl_kcp`. After: the API.
Source: kcp staging cli/pkg/claims.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Conflict, NotFound
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_bind import ACCEPTED, BINDINGS, REJECTED, answer, claim_name
from kcp.cli.plugin_command import subcommands
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, Switch, connection_parser
from kcp.cli.plugin_session import PluginError, Session, opened

PENDING = "Pending"
"""Asked for by the provider, not answered by the user."""
_COLUMNS = ("APIBINDING", "GROUP-RESOURCE", "VERBS", "STATUS")
_KINDS = ("apibinding", "apibindings")
_ATTEMPTS = 5

_EXAMPLES = """\
examples:
  kubectl kcp claims get apibinding                                           claims of every APIBinding here
  kubectl kcp claims accept apibinding cert-manager --resource secrets        grant one claim
  kubectl kcp claims accept cert-manager --all                                grant all that is asked for
  kubectl kcp claims reject apibinding cert-manager --identity-hash 5fdf7c7a  refuse one of an API's claims
"""


def parser(prog: str) -> PluginParser:
    shared = connection_parser()
    made = PluginParser(prog=prog, description="See and answer permission claims.", epilog=_EXAMPLES, parents=[shared])
    commands = subcommands(made)
    get = commands.add_parser("get", help="list claims and their answers", parents=[shared])
    get.add_argument("words", nargs="+", metavar="apibinding [APIBINDING]", help="`apibinding`, and the name of one")
    get.set_defaults(run=_get)
    for name, state, text in (("accept", ACCEPTED, "grant permission claims"), ("reject", REJECTED, "refuse permission claims")):
        change = commands.add_parser(name, help=text, epilog=_EXAMPLES, parents=[shared])
        change.add_argument(
            "words", nargs="+", metavar="[apibinding] APIBINDING [RESOURCE.GROUP]", help="name of the APIBinding, and the claim"
        )
        change.add_argument("--resource", default="", metavar="RESOURCE.GROUP", help="the claim; without a group: of the core group")
        change.add_argument("--identity-hash", default="", metavar="HASH", help="the claim with this identity")
        change.add_argument("--all", action=Switch, help="every claim that the export has")
        change.set_defaults(run=_change, state=state)
    return made


def _names(words: Sequence[str]) -> list[str]:
    return list(words[1:] if words and words[0] in _KINDS else words)


async def _get(options: argparse.Namespace, flags: ConnectionFlags) -> None:
    if options.words[0] not in _KINDS:
        raise PluginError(f'claims are of apibindings, not of "{options.words[0]}": kubectl kcp claims get apibinding [NAME]')
    names = _names(options.words)
    async with opened(flags) as session:
        await show_claims(session, names)


async def show_claims(session: Session, names: Sequence[str]) -> None:
    """Args: names: of APIBindings; none: all."""
    resource = session.workspace.resource(BINDINGS)
    bindings = [await _binding(session, name) for name in names] if names else (await resource.list()).items
    rows = [row for binding in bindings for row in _rows(binding)]
    session.say(table([_COLUMNS, *rows]))


def _rows(binding: JSONObject) -> list[tuple[str, ...]]:
    answered = list(meta.nested(binding, "spec", "permissionClaims", default=()))
    keys = {_key(claim) for claim in answered}
    still = [c for c in meta.nested(binding, "status", "exportPermissionClaims", default=()) if _key(c) not in keys]
    shown = [(claim, claim.get("state") or "") for claim in answered] + [(claim, PENDING) for claim in still]
    return [(meta.name(binding), _group_resource(c), ",".join(c.get("verbs") or ()), state) for c, state in shown]


def _group_resource(claim: JSONObject) -> str:
    return f"{claim['resource']}.{claim['group']}" if claim.get("group") else str(claim["resource"])


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns three spaces apart, as kubectl prints them.

    >>> print(table([("A", "B"), ("long", "x")]))
    A      B
    long   x
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("   ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


async def _binding(session: Session, name: str) -> JSONObject:
    try:
        return await session.workspace.resource(BINDINGS).get(name)
    except NotFound:
        raise PluginError(f'apibinding "{name}" not found in {session.path}; `kubectl get apibindings` shows what is there') from None


async def _change(options: argparse.Namespace, flags: ConnectionFlags) -> None:
    names = _names(options.words)
    if not names or len(names) > 2:
        raise PluginError(f"one apibinding is wanted: kubectl kcp claims {options.command} apibinding NAME --resource RESOURCE.GROUP")
    resource = options.resource or (names[1] if len(names) == 2 else "")
    if not options.all and not resource and not options.identity_hash:
        raise PluginError("--resource or --identity-hash is required to say which claim, or --all for every one")
    async with opened(flags) as session:
        await change_claims(session, names[0], options.state, resource=resource, identity=options.identity_hash)


async def change_claims(session: Session, name: str, state: str, *, resource: str = "", identity: str = "") -> None:
    """Answer one claim, or all of them when neither `resource` nor `identity` is given."""
    bindings = session.workspace.resource(BINDINGS)
    for attempt in range(_ATTEMPTS):
        binding = await _binding(session, name)
        claims = answered(binding, state, resource=resource, identity=identity)
        patch = {"metadata": {"resourceVersion": meta.resource_version(binding)}, "spec": {"permissionClaims": claims}}
        try:
            await bindings.patch(name, patch)
            break
        except Conflict:
            if attempt == _ATTEMPTS - 1:
                raise
    what = f'permission claim "{resource or identity}"' if resource or identity else "all permission claims"
    session.say(f'{state} {what} for APIBinding "{name}"')


def answered(binding: JSONObject, state: str, *, resource: str, identity: str) -> list[JSONObject]:
    """The binding's claims with the answer in it. Raises PluginError if there is no such claim, or several."""
    held = list(meta.nested(binding, "spec", "permissionClaims", default=()))
    asked = list(meta.nested(binding, "status", "exportPermissionClaims", default=()))
    known = {_key(claim): claim for claim in [*asked, *held]}
    chosen = [key for key in known if _is_meant(key, resource, identity)]
    if not chosen:
        offered = ", ".join(sorted({claim_name(c) for c in known.values()})) or "none"
        raise PluginError(
            f'no permission claim "{resource or identity or "*"}" in APIBinding "{meta.name(binding)}"; its claims: {offered}'
        )
    if resource and not identity and len({key[2] for key in chosen}) > 1:
        hashes = ", ".join(key[2] or '""' for key in chosen)
        raise PluginError(f'several claims are for "{resource}", choose one with --identity-hash: {hashes}')
    changed = [{**claim, "state": state} if _key(claim) in chosen else claim for claim in held]
    present = {_key(claim) for claim in held}
    return changed + [answer(known[key], state) for key in chosen if key not in present]


def _key(claim: JSONObject) -> tuple[str, str, str]:
    return claim.get("group") or "", claim["resource"], claim.get("identityHash") or ""


def _is_meant(key: tuple[str, str, str], resource: str, identity: str) -> bool:
    plural, _, group = resource.partition(".")
    if identity and not key[2].startswith(identity):
        return False
    return not resource or (plural == key[1] and ("" if group == "core" else group) == key[0])
