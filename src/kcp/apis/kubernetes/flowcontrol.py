"""Flow schemas and priority levels: their defaults, their rules, and the ones that every server has from its first moment.

Before: `rules` (defaults and validation), `apiserver.fairness` (queues requests by them), `sim.flowschemas` (keeps the first objects).
Source: k8s.io/kubernetes/pkg/apis/flowcontrol/{v1/defaults.go,validation/validation.go}, k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap/
default.go (the mandatory and the suggested objects).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject, ensure
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at
from kcp.apis.kubernetes.pod_defaults import child, fill

GROUP_VERSION = "flowcontrol.apiserver.k8s.io/v1"
SCHEMA, LEVEL = "FlowSchema", "PriorityLevelConfiguration"
AUTO_UPDATE = "apf.kubernetes.io/autoupdate-spec"
"""Annotation of objects that are kept as the server suggests them, until somebody makes it false."""
_LOWEST_PRECEDENCE = 10000
_MOST_QUEUES = 10 * 1000 * 1000
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")


def default_schema(obj: JSONObject) -> None:
    fill(ensure(obj, "spec"), matchingPrecedence=1000)


def default_level(obj: JSONObject) -> None:
    spec = ensure(obj, "spec")
    if (exempt := child(spec, "exempt")) is not None:
        fill(exempt, nominalConcurrencyShares=0, lendablePercent=0)
    if (limited := child(spec, "limited")) is None:
        return
    fill(limited, nominalConcurrencyShares=30, lendablePercent=0)
    if (queuing := child(limited, "limitResponse", "queuing")) is not None:
        fill(queuing, queues=64, handSize=8, queueLengthLimit=50)


def schema(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec, name = obj_at(new, "spec"), obj_at(new, "metadata").get("name")
    precedence = spec.get("matchingPrecedence")
    causes: list[Cause] = []
    if checks.is_int(precedence) and precedence <= 0:
        causes.append(Cause.invalid("spec.matchingPrecedence", precedence, "must be a positive value"))
    if checks.is_int(precedence) and precedence > _LOWEST_PRECEDENCE:
        detail = f"must not be greater than {_LOWEST_PRECEDENCE}"
        causes.append(Cause.invalid("spec.matchingPrecedence", precedence, detail))
    if precedence == 1 and name != "exempt":
        causes.append(Cause.invalid("spec.matchingPrecedence", 1, "only the schema named 'exempt' may have matchingPrecedence 1"))
    if method := obj_at(spec, "distinguisherMethod"):
        causes += checks.one_of(method, "spec.distinguisherMethod", "type", ("ByNamespace", "ByUser"))
    level = obj_at(spec, "priorityLevelConfiguration").get("name")
    if not level:
        causes.append(Cause.required("spec.priorityLevelConfiguration.name", "must reference a priority level"))
    causes += checks.named(level, "spec.priorityLevelConfiguration.name", names.dns1123_subdomain)
    for path, rule in numbered(spec, "rules", "spec.rules"):
        causes += _rule(rule, path)
    return causes


def _rule(rule: Mapping[str, Any], at: str) -> Iterator[Cause]:
    if not list_at(rule, "subjects"):
        yield Cause.required(f"{at}.subjects", "subjects must contain at least one value")
    for path, subject in numbered(rule, "subjects", f"{at}.subjects"):
        yield from checks.one_of(subject, path, "kind", ("Group", "ServiceAccount", "User"))
    if not list_at(rule, "resourceRules") and not list_at(rule, "nonResourceRules"):
        yield Cause.required(at, "at least one of resourceRules and nonResourceRules has to be non-empty")
    for kind, named in (("resourceRules", "resources"), ("nonResourceRules", "nonResourceURLs")):
        for path, each in numbered(rule, kind, f"{at}.{kind}"):
            yield from _words(each, path, named)


def _words(rule: Mapping[str, Any], at: str, named: str) -> Iterator[Cause]:
    verbs = list_at(rule, "verbs")
    if not verbs:
        yield Cause.required(f"{at}.verbs", "verbs must contain at least one value")
    elif "*" in verbs and len(verbs) > 1:
        yield Cause.invalid(f"{at}.verbs", verbs, "if '*' is present, must not specify other verbs")
    elif named == "resources" and not set(map(str, verbs)) <= {*_VERBS, "*"}:
        yield Cause.not_supported(f"{at}.verbs", verbs, _VERBS)
    if not list_at(rule, named):
        yield Cause.required(f"{at}.{named}", f"{named} must contain at least one value")
    if named != "resources":
        return
    if not list_at(rule, "apiGroups"):
        yield Cause.required(f"{at}.apiGroups", "resource rules must supply at least one api group")
    if not list_at(rule, "namespaces") and not rule.get("clusterScope"):
        yield Cause.required(f"{at}.namespaces", "resource rules that are not cluster scoped must supply at least one namespace")


def level(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec, name = obj_at(new, "spec"), obj_at(new, "metadata").get("name")
    kind, limited, exempt = spec.get("type"), spec.get("limited"), spec.get("exempt")
    causes = list(checks.one_of(spec, "spec", "type", ("Exempt", "Limited")))
    if (name == "exempt") != (kind == "Exempt") and kind in ("Exempt", "Limited"):
        wanted = "must be 'Exempt' if and only if `name` is 'exempt'"
        causes.append(Cause.invalid("spec.type", kind, wanted))
    if kind == "Exempt" and limited is not None:
        causes.append(Cause.forbidden("spec.limited", "must be nil if the type is not Limited"))
    if kind == "Limited":
        if exempt is not None:
            causes.append(Cause.forbidden("spec.exempt", "must be nil if the type is Limited"))
        if limited is None:
            causes.append(Cause.required("spec.limited", "must not be empty when type is Limited"))
        else:
            causes += _limited(obj_at(spec, "limited"), "spec.limited")
    return causes


def _limited(limited: Mapping[str, Any], at: str) -> Iterator[Cause]:
    shares = limited.get("nominalConcurrencyShares")
    if checks.is_int(shares) and shares < 0:
        yield Cause.invalid(f"{at}.nominalConcurrencyShares", shares, "must be a non-negative integer")
    percent = limited.get("lendablePercent")
    if checks.is_int(percent) and not 0 <= percent <= 100:
        yield Cause.invalid(f"{at}.lendablePercent", percent, "must be between 0 and 100, inclusive")
    response = obj_at(limited, "limitResponse")
    yield from checks.one_of(response, f"{at}.limitResponse", "type", ("Queue", "Reject"))
    queuing = response.get("queuing")
    if response.get("type") == "Reject" and queuing is not None:
        yield Cause.forbidden(f"{at}.limitResponse.queuing", "must be nil if limited.limitResponse.type is not Limited")
    elif response.get("type") == "Queue" and queuing is None:
        yield Cause.required(f"{at}.limitResponse.queuing", "must not be empty if limited.limitResponse.type is Limited")
    elif isinstance(queuing, Mapping):
        yield from _queuing(queuing, f"{at}.limitResponse.queuing")


def _queuing(queuing: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for field in ("queueLengthLimit", "queues", "handSize"):
        value = queuing.get(field)
        if checks.is_int(value) and value <= 0:
            yield Cause.invalid(f"{at}.{field}", value, "must be positive")
    queues, hand = queuing.get("queues"), queuing.get("handSize")
    if checks.is_int(queues) and queues > _MOST_QUEUES:
        yield Cause.invalid(f"{at}.queues", queues, f"must not be greater than {_MOST_QUEUES}")
    if checks.is_int(queues) and checks.is_int(hand) and hand > queues > 0:
        yield Cause.invalid(f"{at}.handSize", hand, f"should not be greater than queues ({queues})")


_EVERYWHERE = ["*"]
_EVERYTHING: JSONObject = {
    "resourceRules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": _EVERYWHERE},
    ],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
}


def _group(name: str) -> JSONObject:
    return {"kind": "Group", "group": {"name": name}}


def _user(name: str) -> JSONObject:
    return {"kind": "User", "user": {"name": name}}


_EVERYBODY = (_group("system:unauthenticated"), _group("system:authenticated"))
_SYSTEM_ACCOUNTS: JSONObject = {"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}}


def _on(verbs: Sequence[str], group: str, *resources: str, clusterwide: bool = False) -> JSONObject:
    rule: JSONObject = {"verbs": list(verbs), "apiGroups": [group], "resources": list(resources), "namespaces": _EVERYWHERE}
    return {**rule, "clusterScope": True} if clusterwide else rule


def _schema(
    name: str, level_name: str, precedence: int, *subjects: JSONObject, distinguisher: str = "ByUser", what: JSONObject | None = None
) -> JSONObject:
    spec: JSONObject = {
        "priorityLevelConfiguration": {"name": level_name},
        "matchingPrecedence": precedence,
        "rules": [{"subjects": list(subjects), **(what or _EVERYTHING)}],
    }
    if distinguisher:
        spec["distinguisherMethod"] = {"type": distinguisher}
    return _object(SCHEMA, name, spec)


def _level(name: str, shares: int, percent: int, queuing: tuple[int, int, int] | None) -> JSONObject:
    response: JSONObject = {"type": "Reject"}
    if queuing is not None:
        queues, hand, length = queuing
        response = {"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length}}
    limited = {"nominalConcurrencyShares": shares, "lendablePercent": percent, "limitResponse": response}
    return _object(LEVEL, name, {"type": "Limited", "limited": limited})


def _object(kind: str, name: str, spec: JSONObject) -> JSONObject:
    metadata = {"name": name, "annotations": {AUTO_UPDATE: "true"}}
    return {"apiVersion": GROUP_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


@cache
def mandatory_objects() -> tuple[JSONObject, ...]:
    """Those that hold even where they are not there; not to be changed."""
    exempt = {"nominalConcurrencyShares": 0, "lendablePercent": 0}
    return (
        _object(LEVEL, "exempt", {"type": "Exempt", "exempt": exempt}),
        _level("catch-all", 5, 0, None),
        _schema("exempt", "exempt", 1, _group("system:masters"), distinguisher=""),
        _schema("catch-all", "catch-all", _LOWEST_PRECEDENCE, *_EVERYBODY),
    )


@cache
def suggested_objects() -> tuple[JSONObject, ...]:
    """What a server begins with beside them; not to be changed."""
    manager, scheduler, nodes = _user("system:kube-controller-manager"), _user("system:kube-scheduler"), _group("system:nodes")
    probes = {"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]}
    election = {"resourceRules": [_on(("get", "create", "update"), "coordination.k8s.io", "leases")]}
    of_nodes = [_on("*", "", "nodes", "nodes/status", clusterwide=True), _on("*", "coordination.k8s.io", "leases")]
    accounts = _group("system:serviceaccounts")
    return (
        _level("system", 30, 33, (64, 6, 50)),
        _level("node-high", 40, 25, (64, 6, 50)),
        _level("leader-election", 10, 0, (16, 4, 50)),
        _level("workload-high", 40, 50, (128, 6, 50)),
        _level("workload-low", 100, 90, (128, 6, 50)),
        _level("global-default", 20, 50, (128, 6, 50)),
        _schema("probes", "exempt", 2, *_EVERYBODY, distinguisher="", what=probes),
        _schema("system-leader-election", "leader-election", 100, manager, scheduler, _SYSTEM_ACCOUNTS, what=election),
        _schema("system-node-high", "node-high", 400, nodes, what={"resourceRules": of_nodes}),
        _schema("system-nodes", "system", 500, nodes),
        _schema("kube-controller-manager", "workload-high", 800, manager, distinguisher="ByNamespace"),
        _schema("kube-scheduler", "workload-high", 800, scheduler, distinguisher="ByNamespace"),
        _schema("kube-system-service-accounts", "workload-high", 900, _SYSTEM_ACCOUNTS, distinguisher="ByNamespace"),
        _schema("service-accounts", "workload-low", 9000, accounts),
        _schema("global-default", "global-default", 9900, *_EVERYBODY),
    )
