"""`kubectl tmc test-rule -f rule.yaml --object queue.yaml…`: what a StatusRule makes of objects, before it is applied. Asks no server.

Before: `kubectl_tmc`. After: `tmc.overview.rules`, `tmc.overview.aggregate`: what the server itself would do.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import yaml

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_claims import table
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser, connection_parser
from kcp.cli.plugin_scene import parsed
from kcp.cli.plugin_session import PluginError
from kcp.tmc.overview import rules
from kcp.tmc.overview.aggregate import ORIGIN_ANNOTATION, Aggregated, Member, aggregate
from kcp.tmc.overview.instances import Kind, Target, of_cluster
from kcp.tmc.overview.spec import Policy

FAILED = 2
_EXAMPLES = """\
examples:
  kubectl tmc test-rule -f rule.yaml --object east.yaml --object west.yaml
  kubectl get taskqueue web -o yaml --server=…/clusters/east | kubectl tmc test-rule -f rule.yaml --object -
Each document is the object as one cluster has it: that of its annotation workload.kcp.io/origin-cluster, else cluster-1, cluster-2 …
exit code: 0 the rule can be evaluated on all of them; 2 it fails on some; 1 there is no answer"""


def parser(prog: str) -> PluginParser:
    made = PluginParser(prog=prog, description="Say what a StatusRule makes of objects.", epilog=_EXAMPLES, parents=[connection_parser()])
    made.add_argument("-f", "--filename", required=True, metavar="FILE", help="the StatusRule; - for stdin")
    made.add_argument("--object", action="append", required=True, metavar="FILE", help="objects; repeatable; - for stdin")
    made.set_defaults(run=_run)
    return made


async def _run(options: argparse.Namespace, _flags: ConnectionFlags) -> int:
    found = [document for document in parsed(options.filename) if document.get("kind") == "StatusRule"]
    if len(found) != 1:
        raise PluginError(f"{options.filename} holds {len(found)} StatusRules; one is tested at a time")
    objects = [document for name in options.object for document in parsed(name)]
    words, code = examine(found[0], objects)
    print(words)
    return code


def examine(rule: JSONObject, objects: Sequence[JSONObject]) -> tuple[str, int]:
    """What is printed, and the exit code. Raises PluginError: what the server would refuse."""
    if causes := list(rules.faults(rule)):
        raise PluginError(f"StatusRule {meta.name(rule)} is invalid: {'; '.join(map(str, causes))}")
    held = rules.StatusRule.of(rule)
    fit = [obj for obj in objects if (meta.gvk(obj).group, obj.get("kind")) == (held.group, held.kind)]
    if not fit:
        raise PluginError(f"no object is a {held.kind} of group {held.group or 'core'!r}, which is what the rule is about")
    rows = [("OBJECT", "CLUSTER", "HEALTH", "MESSAGE")]
    parts: list[str] = []
    is_failed = False
    for members, one in _aggregated(held, fit):
        name = f"{meta.namespace(one.obj)}/{meta.name(one.obj)}".removeprefix("/")
        rows += [(name, m.target.name, m.finding.health, m.finding.message) for m in members]
        rows.append((name, "*", one.health, ""))
        status = yaml.safe_dump({"status": one.obj.get("status", {})}, sort_keys=False).rstrip()
        parts.append(f"{name}, all clusters:\n{status}")
        parts += [f"FAILED {name}: {problem}" for problem in one.problems]
        is_failed = is_failed or bool(one.problems)
    return "\n\n".join([table(rows), *parts]), FAILED if is_failed else 0


def _aggregated(rule: rules.StatusRule, objects: Sequence[JSONObject]) -> Iterator[tuple[Sequence[Member], Aggregated]]:
    """One for each object, over the clusters that have it."""
    kind = Kind(GroupResource(rule.group, ""), rule.kind, has_status=True, rule=rule)
    groups: dict[tuple[str, str], list[Member]] = {}
    copies: dict[tuple[str, str], JSONObject] = {}
    for obj in objects:
        where = meta.namespace(obj), meta.name(obj)
        members = groups.setdefault(where, [])
        name = meta.annotations(obj).get(ORIGIN_ANNOTATION) or f"cluster-{len(members) + 1}"
        target = Target(name, name, {})
        members.append(Member(target, of_cluster(obj, target, kind)))
        copies.setdefault(where, obj)
    for where, members in groups.items():
        made = aggregate(meta.copy_json(copies[where]), members, kind, Policy(), clusters=len(members))
        assert made is not None, "it has members"
        yield members, made
