"""Completion of the plugins' lines: for kubectl, which asks `kubectl_complete-<plugin>`, and for shells that complete a plugin by itself.

The line's own parser says which words are commands and flags; names of objects come from the server, by the metavar of the argument.
Before: kubectl (`__complete`), the scripts printed by `kubectl kcp completion`. After: the commands' parsers, the API.
Source: kubernetes staging kubectl/pkg/cmd/plugin_completion.go; github.com/spf13/cobra completions.go (`:4` means no files).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

from kcp.apimachinery.errors import StatusError
from kcp.cli import kubectl_create_workspace, kubectl_kcp, kubectl_ws
from kcp.cli.plugin_command import split
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, Switch
from kcp.client.kubeconfig import KubeConfigError
from kcp.client.transport import TransportError

_NO_FILES, _FILES = ":4", ":0"
_FILE_METAVARS = ("FILE",)
_PLUGINS = {
    "kubectl-kcp": "kcp",
    "kubectl-ws": "ws",
    "kubectl-workspaces": "workspaces",
    "kubectl-create-workspace": "create-workspace",
}


def complete_kcp() -> None:
    """Entry point of kubectl_complete-kcp: the words after `kubectl kcp`, the last of them unfinished."""
    *words, unfinished = sys.argv[1:] or [""]
    _, said = split(words)
    if not said:
        names = [*kubectl_ws_names(), *kubectl_kcp.COMMANDS]
        _print([name for name in names if name.startswith(unfinished)], _NO_FILES)
    elif said[0] in kubectl_kcp.WORKSPACE:
        place = words.index(said[0])
        _complete(kubectl_ws.parser("kubectl ws"), [*words[:place], *words[place + 1 :]], unfinished)
    elif said[0] in kubectl_kcp.COMMANDS:
        place = words.index(said[0])
        _complete(kubectl_kcp.parser(said[0]), [*words[:place], *words[place + 1 :]], unfinished)
    else:
        _print([], _NO_FILES)


def complete_ws() -> None:
    """Entry point of kubectl_complete-ws and kubectl_complete-workspaces."""
    *words, unfinished = sys.argv[1:] or [""]
    _complete(kubectl_ws.parser("kubectl ws"), words, unfinished)


def complete_create() -> None:
    """Entry point of kubectl_complete-create-workspace."""
    *words, unfinished = sys.argv[1:] or [""]
    _complete(kubectl_create_workspace.parser(), words, unfinished)


def kubectl_ws_names() -> Sequence[str]:
    return kubectl_kcp.WORKSPACE


def _complete(parser: PluginParser, words: Sequence[str], unfinished: str) -> None:
    place = find_place(parser, words, unfinished)
    flags, _ = split([word for word in words if word])
    found = asyncio.run(_candidates(place, flags))
    _print([f"{place.prefix}{word}" for word in found if word.startswith(place.partial)], _FILES if place.wants_file else _NO_FILES)


def _print(candidates: Sequence[str], directive: str) -> None:
    print("\n".join([*candidates, directive]))


class Place:
    """Where on the line the unfinished word stands: what fixed words it can be, and the metavar of what else it can be."""

    def __init__(self, partial: str, fixed: Sequence[str] = (), metavar: str = "", *, prefix: str = "") -> None:
        self.partial, self.fixed, self.metavar, self.prefix = partial, list(fixed), metavar, prefix

    @property
    def wants_file(self) -> bool:
        return self.metavar in _FILE_METAVARS


def find_place(parser: argparse.ArgumentParser, words: Sequence[str], unfinished: str) -> Place:
    """Walk the finished words down the parser's commands; pure."""
    at, taken, pending = parser, 0, None
    for word in words:
        if pending is not None:
            pending = None
        elif word.startswith("-") and word != "-":
            pending = _valued(at, word)
        elif (commands := _commands(at)) is not None:
            if word not in commands.choices:
                return Place(unfinished)  # `kubectl ws a:b …`: nothing follows a path
            at, taken = commands.choices[word], 0
        else:
            taken += 1
    if pending is not None:
        return Place(unfinished, tuple(pending.choices or ()), str(pending.metavar or ""))
    name, given, value = unfinished.partition("=")
    if given and name.startswith("--") and (action := _valued(at, name)) is not None:
        return Place(value, tuple(action.choices or ()), str(action.metavar or ""), prefix=f"{name}=")
    if unfinished.startswith("-") and unfinished != "-":
        return Place(unfinished, [option for action in at._actions for option in action.option_strings if option.startswith("--")])
    if (commands := _commands(at)) is not None:
        return Place(unfinished, list(commands.choices), "WORKSPACE" if "use" in commands.choices else "")
    positional = [action for action in at._actions if not action.option_strings]
    action = positional[min(taken, len(positional) - 1)] if positional else None
    if action is None or (taken >= len(positional) and action.nargs not in ("+", "*")):
        return Place(unfinished)
    fixed = [*(action.choices or ()), *(["apibinding"] if taken == 0 and "apibinding" in str(action.metavar) else [])]
    return Place(unfinished, fixed, str(action.metavar or ""))


def _valued(parser: argparse.ArgumentParser, word: str) -> argparse.Action | None:
    """The flag that takes the next word as its value; None if it has it already, or takes none."""
    action = parser._option_string_actions.get(word)
    return None if action is None or isinstance(action, Switch) or action.nargs == 0 else action


def _commands(parser: argparse.ArgumentParser) -> argparse._SubParsersAction[PluginParser] | None:
    return next((action for action in parser._actions if isinstance(action, argparse._SubParsersAction)), None)


async def _candidates(place: Place, flags: ConnectionFlags) -> list[str]:
    """Fixed words and names from the server. A server that cannot be asked has no names: completion never complains."""
    from kcp.cli.plugin_contexts import ContextProblem
    from kcp.cli.plugin_paths import PathProblem
    from kcp.cli.plugin_session import PluginError

    names = NAMES.get(place.metavar) or next((found for part, found in NAMES.items() if part in place.metavar.split()), None)
    if names is None:
        return place.fixed
    try:
        return [*place.fixed, *await names(place.partial, flags)]
    except (PluginError, ContextProblem, PathProblem, KubeConfigError, TransportError, StatusError):
        return place.fixed


async def _workspaces(partial: str, flags: ConnectionFlags) -> list[str]:
    """Children of the workspace that is typed so far: `te` of the current one, `:root:te` of root, `..:te` of its parent."""
    from kcp.apimachinery import meta
    from kcp.cli.plugin_paths import target_path
    from kcp.cli.plugin_session import opened
    from kcp.cli.plugin_tree import children

    head, colon, _ = partial.rpartition(":")
    start = head + colon
    if not partial or partial in (".", "-", "~"):
        start = ""
    async with opened(flags) as session:
        if start in ("", ":"):
            parent = session.path if not start else ""
        else:
            parent = target_path(head, session.url.path)
        found = [meta.name(w) for w in await children(session, parent)] if parent else ["root"]
    shortcuts = ["..", "-", "~", ":root"] if not start else []
    return [f"{start}{name}" for name in found] + shortcuts


async def _children(_partial: str, flags: ConnectionFlags) -> list[str]:
    from kcp.cli.plugin_lookup import WORKSPACES

    return await _names(flags, WORKSPACES.group, WORKSPACES.version, WORKSPACES.resource)


async def _names(flags: ConnectionFlags, group: str, version: str, resource: str) -> list[str]:
    from kcp.apimachinery import meta
    from kcp.apimachinery.gvk import GVR
    from kcp.cli.plugin_session import opened

    async with opened(flags) as session:
        found = await session.workspace.resource(GVR(group, version, resource), metadata_only=True).list()
    return [meta.name(item) for item in found.items]


async def _bindings(_partial: str, flags: ConnectionFlags) -> list[str]:
    return await _names(flags, "apis.kcp.io", "v1alpha2", "apibindings")


async def _targets(_partial: str, flags: ConnectionFlags) -> list[str]:
    return await _names(flags, "workload.kcp.io", "v1alpha1", "synctargets")


async def _types(partial: str, flags: ConnectionFlags) -> list[str]:
    """Types of root, by their full names, and those of the current workspace."""
    from kcp.apimachinery import meta
    from kcp.apimachinery.gvk import GVR
    from kcp.cli.plugin_session import opened

    types = GVR("tenancy.kcp.io", "v1alpha1", "workspacetypes")
    async with opened(flags) as session:
        here = [meta.name(t) for t in (await session.workspace.resource(types).list()).items]
        path = partial.rpartition(":")[0] or "root"
        there = [meta.name(t) for t in (await session.client.cluster(path).resource(types).list()).items]
    return sorted({*here, *(f"{path}:{name}" for name in there)})


async def _exports(partial: str, flags: ConnectionFlags) -> list[str]:
    """Exports and children of the workspace typed so far."""
    from kcp.apimachinery import meta
    from kcp.apimachinery.gvk import GVR
    from kcp.cli.plugin_session import opened
    from kcp.cli.plugin_tree import children

    path = partial.rpartition(":")[0]
    if not path:
        return ["root:"] if "root:".startswith(partial) else []
    async with opened(flags) as session:
        exports = (await session.client.cluster(path).resource(GVR("apis.kcp.io", "v1alpha2", "apiexports")).list()).items
        below = await children(session, path)
    return [f"{path}:{meta.name(e)}" for e in exports] + [f"{path}:{meta.name(w)}:" for w in below]


async def _contexts(_partial: str, flags: ConnectionFlags) -> list[str]:
    from kcp.cli.plugin_session import opened

    async with opened(flags) as session:
        return [str(entry.get("name")) for entry in session.merged.get("contexts") or ()]


async def _objects(partial: str, flags: ConnectionFlags) -> list[str]:
    """What can be diagnosed: kinds, and after `kind/` their objects."""
    from kcp.cli.plugin_diagnose import KINDS

    kind, slash, _ = partial.partition("/")
    if not slash:
        return [f"{name}/" for name in KINDS] + ["."]
    gvr = KINDS[kind] if kind in KINDS else None
    return [f"{kind}/{name}" for name in await _names(flags, gvr.group, gvr.version, gvr.resource)] if gvr else []


NAMES: dict[str, Callable[[str, ConnectionFlags], Awaitable[list[str]]]] = {
    "WORKSPACE": _workspaces,
    "CHILD": _children,
    "[PATH:]TYPE": _types,
    "CONTEXT": _contexts,
    "PATH:EXPORT": _exports,
    "[APIBINDING]": _bindings,
    "APIBINDING": _bindings,
    "SYNCTARGET": _targets,
    "OBJECT": _objects,
}


def parser(prog: str) -> PluginParser:
    made = PluginParser(prog=prog, description="Print a script that completes the plugins in a shell.", epilog=_EXAMPLES)
    made.add_argument("shell", choices=tuple(_SCRIPTS), metavar="bash|zsh|fish")
    made.set_defaults(run=_show)
    return made


async def _show(options: argparse.Namespace, _flags: ConnectionFlags) -> None:
    lines = [
        _SCRIPTS[options.shell].format(command=command, plugin=plugin, function=f"_kcp_{plugin}") for command, plugin in _PLUGINS.items()
    ]
    print("\n".join(lines))


_EXAMPLES = """\
`kubectl ws <TAB>` itself is completed by kubectl's own script (`kubectl completion --help`), which finds kubectl_complete-ws in PATH.

examples:
  source <(kubectl kcp completion bash)
  kubectl kcp completion zsh > "${fpath[1]}/_kubectl_kcp"
  kubectl kcp completion fish | source"""

_BASH = """\
{function}() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" line
    local before=("${{COMP_WORDS[@]:1:COMP_CWORD-1}}")
    if declare -F _get_comp_words_by_ref >/dev/null; then
        local words cword cur
        _get_comp_words_by_ref -n ":=" words cword cur
        word="$cur"; before=("${{words[@]:1:cword-1}}")
    fi
    COMPREPLY=()
    while IFS= read -r line; do
        [[ "$line" == :* && "$line" =~ ^:[0-9]+$ ]] && {{ [[ "$line" == ":0" ]] && compopt -o default; continue; }}
        COMPREPLY+=("$line")
    done < <(kubectl_complete-{plugin} "${{before[@]}}" "$word" 2>/dev/null)
    declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$word"
    return 0
}}
complete -F {function} {command}"""

_ZSH = """\
#compdef {command}
{function}() {{
    local -a found
    found=("${{(@f)$(kubectl_complete-{plugin} "${{(@)words[2,CURRENT-1]}}" "${{words[CURRENT]}}" 2>/dev/null)}}")
    local directive="${{found[-1]}}"
    found[-1]=()
    compadd -Q -- "${{found[@]}}"
    [[ "$directive" == ":0" ]] && _files
    return 0
}}
compdef {function} {command}"""

_FISH = """\
function {function}
    set -l words (commandline -opc)
    set -l found (kubectl_complete-{plugin} $words[2..-1] (commandline -ct) 2>/dev/null)
    test (count $found) -gt 1; and printf '%s\\n' $found[1..-2]
    test "$found[-1]" = ":0"; and __fish_complete_path (commandline -ct)
end
complete -c {command} -f -a '({function})'"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
