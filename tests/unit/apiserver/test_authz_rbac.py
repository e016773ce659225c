"""RBAC: verbs, groups, resources, subresources, names, URLs, subjects, scopes, aggregation, static and inherited policy, freshness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from kcp.aio.clock import VirtualClock
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ROOT, ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.authz.attributes import AuthzAttributes, Decision, Verdict
from kcp.apiserver.authz.bootstrap import bootstrap_policy
from kcp.apiserver.authz.policy import GROUP, aggregated_rules
from kcp.apiserver.authz.rbac import RBACAuthorizer, StaticPolicy
from kcp.apiserver.authz.watched import WatchedRBAC
from kcp.registry.backend import Item, UserInfo
from kcp.storage.keyspace import object_key, resource_prefix
from kcp.storage.memory import MemoryStore
from kcp.storage.watchcache import WatchCache

TEAM = ClusterName("team")
ANN = UserInfo("ann", ("devs", "system:authenticated"))
_PLURAL = {"Role": "roles", "ClusterRole": "clusterroles", "RoleBinding": "rolebindings", "ClusterRoleBinding": "clusterrolebindings"}


class Objects:
    """An RBACSource over a dictionary."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, ObjectKey], Item] = {}
        self.writes = 0
        self.scans = 0

    def put(self, *objects: JSONObject, cluster: ClusterName = TEAM) -> None:
        for obj in objects:
            self.writes += 1
            key = ObjectKey(cluster, meta.namespace(obj), meta.name(obj))
            self.items[_PLURAL[obj["kind"]], key] = Item(key, self.writes, orjson.dumps(obj), {})

    def remove(self, resource: str, name: str, namespace: str = "") -> None:
        self.writes += 1
        del self.items[resource, ObjectKey(TEAM, namespace, name)]

    def revision(self) -> int:
        return self.writes

    def scan(self, resource: str, cluster: ClusterName) -> Sequence[Item]:
        self.scans += 1
        return [item for (kind, key), item in self.items.items() if kind == resource and key.cluster == cluster]


def role(name: str, *rules: JSONObject, namespace: str = "", **extra: Any) -> JSONObject:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **extra.pop("metadata", {})}
    kind = "Role" if namespace else "ClusterRole"
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": metadata, "rules": list(rules), **extra}


def binding(name: str, role_name: str, *subjects: JSONObject, namespace: str = "", kind: str = "ClusterRole") -> JSONObject:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    ref = {"apiGroup": GROUP, "kind": kind, "name": role_name}
    made = "RoleBinding" if namespace else "ClusterRoleBinding"
    return {"apiVersion": f"{GROUP}/v1", "kind": made, "metadata": metadata, "roleRef": ref, "subjects": list(subjects)}


def rule(verbs: str, resources: str, group: str = "", names: str = "") -> JSONObject:
    return {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split(), "resourceNames": names.split()}


def user(name: str) -> JSONObject:
    return {"kind": "User", "name": name}


def ask(verb: str, resource: str, *, who: UserInfo = ANN, **rest: Any) -> AuthzAttributes:
    resource, _, subresource = resource.partition("/")
    return AuthzAttributes(who, verb, rest.pop("cluster", TEAM), resource=resource, subresource=subresource, **rest)


@pytest.fixture
def objects() -> Objects:
    return Objects()


@pytest.fixture
def rbac(objects: Objects) -> RBACAuthorizer:
    return RBACAuthorizer(objects)


async def allows(rbac: RBACAuthorizer, attributes: AuthzAttributes) -> bool:
    return (await rbac.authorize(attributes)).is_allowed


async def test_nothing_is_allowed_without_a_binding(rbac: RBACAuthorizer, objects: Objects) -> None:
    objects.put(role("reader", rule("get", "pods")))
    assert await rbac.authorize(ask("get", "pods")) == Decision(Verdict.NO_OPINION)


async def test_a_cluster_binding_allows_in_every_namespace_and_says_why(rbac: RBACAuthorizer, objects: Objects) -> None:
    objects.put(role("reader", rule("get list", "pods")), binding("ann-reads", "reader", user("ann")))
    decision = await rbac.authorize(ask("get", "pods", namespace="default", name="x"))
    assert decision.reason == 'RBAC: allowed by ClusterRoleBinding "ann-reads" of ClusterRole "reader" to User "ann"'
    assert await allows(rbac, ask("list", "pods"))
    assert not await allows(rbac, ask("delete", "pods", namespace="default"))
    assert not await allows(rbac, ask("get", "pods", group="metrics.k8s.io"))
    assert not await allows(rbac, ask("get", "pods", who=UserInfo("bob")))


async def test_a_role_binding_allows_in_its_namespace_only(rbac: RBACAuthorizer, objects: Objects) -> None:
    objects.put(role("r", rule("get", "pods"), namespace="a"), binding("b", "r", user("ann"), namespace="a", kind="Role"))
    decision = await rbac.authorize(ask("get", "pods", namespace="a"))
    assert decision.reason == 'RBAC: allowed by RoleBinding "b/a" of Role "r" to User "ann"'
    assert not await allows(rbac, ask("get", "pods", namespace="b"))
    assert not await allows(rbac, ask("get", "pods"))


@pytest.mark.parametrize(
    ("subject", "who"),
    [
        ({"kind": "Group", "name": "devs"}, ANN),
        ({"kind": "ServiceAccount", "name": "bot", "namespace": "ci"}, UserInfo("system:serviceaccount:ci:bot")),
        ({"kind": "ServiceAccount", "name": "bot"}, UserInfo("system:serviceaccount:a:bot")),
    ],
)
async def test_groups_and_service_accounts_are_subjects(rbac: RBACAuthorizer, objects: Objects, subject: JSONObject, who: UserInfo) -> None:
    objects.put(role("r", rule("get", "pods")), binding("b", "r", subject, namespace="a"))
    assert await allows(rbac, ask("get", "pods", who=who, namespace="a"))
    assert not await allows(rbac, ask("get", "pods", who=UserInfo("devs", ("bot",)), namespace="a"))


@pytest.mark.parametrize(
    ("granted", "asked", "allowed"),
    [
        ("*", "pods/log", True), ("pods", "pods/log", False), ("pods/log", "pods/log", True), ("*/scale", "deployments/scale", True),
        ("*/scale", "deployments", False), ("pods/*", "pods/log", False), ("deployments/scale", "replicasets/scale", False),
    ],
)  # fmt: skip
async def test_subresources_need_to_be_named(rbac: RBACAuthorizer, objects: Objects, granted: str, asked: str, allowed: bool) -> None:
    objects.put(role("r", rule("get", granted)), binding("b", "r", user("ann")))
    assert await allows(rbac, ask("get", asked)) is allowed


async def test_resource_names_limit_a_rule_to_them(rbac: RBACAuthorizer, objects: Objects) -> None:
    objects.put(role("r", rule("get", "secrets", names="a b")), binding("b", "r", user("ann")))
    assert await allows(rbac, ask("get", "secrets", namespace="x", name="a"))
    assert await allows(rbac, ask("get", "secrets", namespace="x", name="b"))
    assert not await allows(rbac, ask("get", "secrets", namespace="x", name="c"))
    assert not await allows(rbac, ask("get", "secrets", namespace="x"))


@pytest.mark.parametrize(("granted", "path", "allowed"), [
    ("/metrics", "/metrics", True), ("/metrics", "/metrics/x", False), ("/apis/*", "/apis/apps", True), ("/apis/*", "/apis", False),
    ("*", "/x", True),
])  # fmt: skip
async def test_urls_match_exactly_or_by_a_trailing_star(
    rbac: RBACAuthorizer, objects: Objects, granted: str, path: str, allowed: bool
) -> None:
    objects.put(role("r", {"verbs": ["get"], "nonResourceURLs": [granted]}), binding("b", "r", user("ann")))
    assert await allows(rbac, AuthzAttributes(ANN, "get", TEAM, path=path, is_resource=False)) is allowed


async def test_urls_are_not_granted_by_a_binding_in_a_namespace(rbac: RBACAuthorizer, objects: Objects) -> None:
    objects.put(role("r", {"verbs": ["get"], "nonResourceURLs": ["*"]}), binding("b", "r", user("ann"), namespace="a"))
    assert not await allows(rbac, AuthzAttributes(ANN, "get", TEAM, path="/x", is_resource=False))


async def test_a_write_counts_with_the_next_request(rbac: RBACAuthorizer, objects: Objects) -> None:
    objects.put(role("r", rule("get", "pods")))
    assert not await allows(rbac, ask("get", "pods"))
    objects.put(binding("b", "r", user("ann")))
    assert await allows(rbac, ask("get", "pods"))
    objects.put(role("r", rule("get", "secrets")))
    assert not await allows(rbac, ask("get", "pods"))
    assert await allows(rbac, ask("get", "secrets"))
    objects.remove("clusterrolebindings", "b")
    assert not await allows(rbac, ask("get", "secrets"))


async def test_repeated_questions_scan_nothing(rbac: RBACAuthorizer, objects: Objects) -> None:
    objects.put(role("r", rule("get", "pods")), binding("b", "r", user("ann")))
    assert await allows(rbac, ask("get", "pods", namespace="a", name="x"))
    scans = objects.scans
    assert await allows(rbac, ask("get", "pods", namespace="a", name="y"))
    assert not await allows(rbac, ask("get", "secrets", namespace="a", name="y"))
    assert objects.scans == scans


async def test_a_write_in_another_cluster_changes_nothing_here(rbac: RBACAuthorizer, objects: Objects) -> None:
    objects.put(role("r", rule("get", "pods")), binding("b", "r", user("ann")))
    assert await allows(rbac, ask("get", "pods"))
    objects.put(role("r", rule("get", "pods")), binding("b", "r", user("bob")), cluster=ROOT)
    assert await allows(rbac, ask("get", "pods"))
    assert not await allows(rbac, ask("get", "pods", cluster=ROOT))


async def test_a_binding_to_a_missing_role_is_told_in_the_reason(rbac: RBACAuthorizer, objects: Objects) -> None:
    objects.put(binding("b", "gone", user("ann")))
    assert (await rbac.authorize(ask("get", "pods"))).reason == 'RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found'


async def test_caches_stay_bounded(objects: Objects) -> None:
    rbac = RBACAuthorizer(objects, max_clusters=10, max_subjects=10)
    for index in range(50):
        await rbac.authorize(ask("get", "pods", who=UserInfo(f"u{index}"), cluster=ClusterName(f"c{index}")))
    statistics = rbac.statistics()
    assert statistics["clusters"] <= 10
    assert statistics["subjects"] <= 10


async def test_aggregated_roles_take_the_rules_of_matching_ones_at_once(objects: Objects) -> None:
    rbac = RBACAuthorizer(objects, static=StaticPolicy(bootstrap_policy()))
    objects.put(binding("b", "edit", user("ann"), namespace="a"))
    question = ask("create", "widgets", group="example.org", namespace="a")
    assert not await allows(rbac, question)
    label = {"labels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}}
    objects.put(role("widgets", rule("create", "widgets", "example.org"), metadata=label))
    assert await allows(rbac, question)


async def test_a_cycle_of_aggregation_ends(rbac: RBACAuthorizer, objects: Objects) -> None:
    for name, other in (("x", "y"), ("y", "x")):
        selector = {"clusterRoleSelectors": [{"matchLabels": {"part-of": name}}]}
        objects.put(role(name, metadata={"labels": {"part-of": other}}, aggregationRule=selector))
    objects.put(binding("b", "x", user("ann")))
    assert not await allows(rbac, ask("get", "pods"))


def test_the_shown_rules_of_an_aggregated_role_are_those_of_its_parts() -> None:
    selector = {"clusterRoleSelectors": [{"matchLabels": {"part-of": "x"}}]}
    whole = role("x", aggregationRule=selector)
    parts = [role("b", rule("get", "b"), metadata={"labels": {"part-of": "x"}}), role("a", rule("get", "a"))]
    assert aggregated_rules(whole, [whole, *parts]) == [rule("get", "b")]
    assert aggregated_rules(parts[1], parts) is None


async def test_a_malformed_aggregation_selects_nothing_and_harms_nothing(rbac: RBACAuthorizer, objects: Objects) -> None:
    selector = {"clusterRoleSelectors": [{"matchExpressions": [{"key": "a", "operator": "Nonsense"}]}]}
    objects.put(role("bad", aggregationRule=selector), role("r", rule("get", "pods")), binding("b", "r", user("ann")))
    assert await allows(rbac, ask("get", "pods"))


async def test_static_policy_holds_everywhere_and_local_bindings_may_use_its_roles(objects: Objects) -> None:
    rbac = RBACAuthorizer(objects, static=StaticPolicy(bootstrap_policy()))
    for cluster in (TEAM, ROOT, ClusterName("*")):
        assert await allows(rbac, ask("delete", "nodes", who=UserInfo("root", ("system:masters",)), cluster=cluster))
        assert await allows(rbac, AuthzAttributes(ANN, "get", cluster, path="/apis/apps", is_resource=False))
        assert await allows(rbac, ask("create", "selfsubjectaccessreviews", group="authorization.k8s.io", cluster=cluster))
    objects.put(binding("b", "view", user("ann"), namespace="a"))
    assert await allows(rbac, ask("get", "configmaps", namespace="a"))
    assert not await allows(rbac, ask("get", "secrets", namespace="a"))
    assert not await allows(rbac, ask("update", "configmaps", namespace="a"))


@pytest.mark.parametrize(("name", "verb", "resource", "allowed"), [
    ("view", "list", "secrets", False), ("edit", "list", "secrets", True), ("edit", "create", "deployments.apps", True),
    ("edit", "get", "configmaps", True), ("edit", "create", "roles.rbac.authorization.k8s.io", False),
    ("admin", "create", "roles.rbac.authorization.k8s.io", True), ("admin", "update", "deployments/scale.apps", True),
    ("admin", "delete", "nodes", False), ("cluster-admin", "delete", "nodes", True), ("admin", "create", "serviceaccounts/token", True),
])  # fmt: skip
async def test_the_default_roles_grant_what_upstreams_do(objects: Objects, name: str, verb: str, resource: str, allowed: bool) -> None:
    rbac = RBACAuthorizer(objects, static=StaticPolicy(bootstrap_policy()))
    objects.put(binding("b", name, user("ann")))
    plural, _, group = resource.partition(".")
    assert await allows(rbac, ask(verb, plural, group=group, namespace="a")) is allowed


async def test_bindings_of_inherited_clusters_hold_in_all_others(objects: Objects) -> None:
    rbac = RBACAuthorizer(objects, inherited=(ROOT,))
    objects.put(role("r", rule("get", "pods")), binding("b", "r", user("ann")), cluster=ROOT)
    assert await allows(rbac, ask("get", "pods"))
    assert await allows(rbac, ask("get", "pods", cluster=ROOT))


async def test_cluster_roles_of_inherited_clusters_can_be_bound_in_all_others(objects: Objects) -> None:
    rbac = RBACAuthorizer(objects, inherited=(ROOT,))
    objects.put(role("r", rule("get", "pods")), cluster=ROOT)
    objects.put(binding("b", "r", user("ann")))
    assert await allows(rbac, ask("get", "pods"))
    assert not await allows(rbac, ask("get", "pods", cluster=ROOT))
    assert rbac.role_rules(TEAM, "", "ClusterRole", "r")
    objects.put(role("r", rule("list", "pods")))
    assert not await allows(rbac, ask("get", "pods"))


async def test_rules_of_a_user_are_those_of_its_namespace_and_cluster(rbac: RBACAuthorizer, objects: Objects) -> None:
    objects.put(role("r", rule("get", "pods")), binding("b", "r", user("ann")), binding("c", "gone", user("ann")))
    objects.put(role("s", rule("get", "secrets"), namespace="a"), binding("d", "s", user("ann"), namespace="a", kind="Role"))
    assert [sorted(r.resources) for r in rbac.rules(ANN, TEAM, "a")] == [["pods"], ["secrets"]]
    assert [sorted(r.resources) for r in rbac.rules(ANN, TEAM)] == [["pods"]]
    assert rbac.grants(ANN, TEAM)[1] == 'RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found'
    assert rbac.role_rules(TEAM, "a", "Role", "s") is not None
    assert rbac.role_rules(TEAM, "b", "Role", "s") is None


async def test_a_write_to_the_store_counts_as_soon_as_the_watch_cache_has_it() -> None:
    import asyncio

    store = MemoryStore()
    cache = WatchCache(store, clock=VirtualClock())
    await cache.start()
    async with asyncio.TaskGroup() as group:
        following = group.create_task(cache.run())
        rbac = RBACAuthorizer(await WatchedRBAC.open(cache))
        assert not await allows(rbac, ask("get", "pods"))
        revision = 0
        for obj in (role("r", rule("get", "pods")), binding("b", "r", user("ann"))):
            prefix = resource_prefix(GroupResource(GROUP, _PLURAL[obj["kind"]]))
            stored = {**obj, "metadata": {"resourceVersion": "", **obj["metadata"]}}
            revision = await store.create(object_key(prefix, ObjectKey(TEAM, "", obj["metadata"]["name"])), orjson.dumps(stored))
        await cache.wait_revision(revision)
        assert await allows(rbac, ask("get", "pods"))
        following.cancel()
    await store.close()
