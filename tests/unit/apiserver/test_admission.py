"""The admission chain and its plugins: namespaces, service accounts, reserved metadata, RBAC escalation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kcp.apimachinery.errors import Forbidden, Invalid, NotFound
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import AdmissionChain, Plugin
from kcp.apiserver.admission.escalation import EscalationCheck
from kcp.apiserver.admission.namespaces import NamespaceLifecycle
from kcp.apiserver.admission.reserved import ReservedMetadata
from kcp.apiserver.authz.bootstrap import bootstrap_policy, cluster_role, cluster_role_binding, rule
from kcp.apiserver.authz.rbac import RBACAuthorizer, StaticPolicy
from kcp.registry.backend import Attributes, Item, Scope, UserInfo, Verb
from kcp.registry.resource import Resource
from kcp.registry.strategy import Strategy

TEAM = ClusterName("team")
ANN = UserInfo("ann", ("devs",))
RBAC_GROUP = "rbac.authorization.k8s.io"


def write(
    verb: Verb, resource: str, obj: JSONObject | None = None, *, old: JSONObject | None = None, namespace: str = "", name: str = "x",
    user: UserInfo = ANN, subresource: str = "", group: str = "", kind: str = "Thing",
) -> Attributes:  # fmt: skip
    made = Resource(gvr=GVR(group, "v1", resource), kind=kind, namespaced=bool(namespace), storage_prefix=b"/", strategy=Strategy())
    return Attributes(verb, Scope(made, TEAM, namespace, name, subresource), user, obj, old)


class Noting:
    """A plugin's functions that note what they were asked."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self.notes = name, notes

    async def mutate(self, attributes: Attributes) -> JSONObject | None:
        self.notes.append(f"mutate {self.name}")
        return {**(attributes.new or {}), self.name: len(self.notes)}

    async def validate(self, attributes: Attributes) -> None:
        self.notes.append(f"validate {self.name} {sorted(attributes.new or {})}")


async def test_plugins_run_in_order_and_see_each_others_changes() -> None:
    notes: list[str] = []
    chain = AdmissionChain([Plugin.of(name, Noting(name, notes)) for name in "ab"])
    attributes = write("CREATE", "pods", {})
    new = await chain.mutate(attributes)
    assert new == {"a": 1, "b": 2}
    await chain.validate(write("CREATE", "pods", new))
    assert notes == ["mutate a", "mutate b", "validate a ['a', 'b']", "validate b ['a', 'b']"]


@pytest.mark.parametrize(
    ("attributes", "asked"),
    [
        (write("CREATE", "pods", {}), True),
        (write("UPDATE", "pods", {}, old={}), True),
        (write("DELETE", "pods"), False),
        (write("CREATE", "secrets", {}), False),
        (write("CREATE", "pods", {}, group="other.io"), False),
        (write("UPDATE", "pods", {}, old={}, subresource="status"), False),
    ],
)
async def test_a_plugin_is_asked_about_its_verbs_and_resources_only(attributes: Attributes, asked: bool) -> None:
    notes: list[str] = []
    noting = Noting("a", notes)
    plugin = Plugin(name="a", mutate=noting.mutate, validate=noting.validate, resources=frozenset((GroupResource("", "pods"),)))
    chain = AdmissionChain([plugin])
    for _ in range(2):
        await chain.mutate(attributes)
        await chain.validate(attributes)
    assert len(notes) == (4 if asked else 0)


async def test_an_empty_chain_changes_nothing() -> None:
    obj: JSONObject = {"a": 1}
    assert await AdmissionChain([]).mutate(write("CREATE", "pods", obj)) is obj
    assert await AdmissionChain([]).mutate(write("DELETE", "pods")) is None


NAMESPACES: Mapping[str, JSONObject] = {
    "live": {"metadata": {"name": "live"}, "status": {"phase": "Active"}},
    "going": {"metadata": {"name": "going", "deletionTimestamp": "2026-01-01T00:00:00Z"}},
    "terminating": {"metadata": {"name": "terminating"}, "status": {"phase": "Terminating"}},
}


def lifecycle(**options: Any) -> AdmissionChain:
    return AdmissionChain(NamespaceLifecycle(lambda cluster, name: NAMESPACES.get(name), **options).plugins())


async def through(chain: AdmissionChain, attributes: Attributes) -> JSONObject | None:
    new = await chain.mutate(attributes)
    await chain.validate(attributes)
    return new


async def test_creating_in_a_missing_namespace_is_not_found() -> None:
    with pytest.raises(NotFound) as refused:
        await through(lifecycle(), write("CREATE", "pods", {}, namespace="gone"))
    assert refused.value.message == 'namespaces "gone" not found'


@pytest.mark.parametrize("namespace", ["going", "terminating"])
async def test_creating_in_a_terminating_namespace_is_forbidden_with_a_cause(namespace: str) -> None:
    with pytest.raises(Forbidden) as refused:
        await through(lifecycle(), write("CREATE", "deployments", {}, namespace=namespace, group="apps"))
    ending = f"unable to create new content in namespace {namespace} because it is being terminated"
    assert refused.value.message == f'deployments.apps "x" is forbidden: {ending}'
    assert refused.value.to_status()["details"]["causes"] == [
        {"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated", "field": "metadata.namespace"}
    ]


async def test_what_is_there_can_still_be_changed_and_deleted_in_a_terminating_namespace() -> None:
    await through(lifecycle(), write("UPDATE", "pods", {}, old={}, namespace="going"))
    await through(lifecycle(), write("DELETE", "pods", old={}, namespace="going"))
    await through(lifecycle(), write("CREATE", "pods", {}, namespace="live"))
    await through(lifecycle(), write("CREATE", "nodes", {}))


async def test_a_namespace_look_up_may_take_time() -> None:
    async def slowly(cluster: ClusterName, name: str) -> JSONObject | None:
        return NAMESPACES.get(name)

    chain = AdmissionChain(NamespaceLifecycle(slowly).plugins())
    await through(chain, write("CREATE", "pods", {}, namespace="live"))
    with pytest.raises(NotFound):
        await through(chain, write("CREATE", "pods", {}, namespace="gone"))


async def test_default_namespaces_stay_until_their_cluster_goes() -> None:
    with pytest.raises(Forbidden) as refused:
        await through(lifecycle(), write("DELETE", "namespaces", old={}, name="default"))
    assert refused.value.message == 'namespaces "default" is forbidden: this namespace may not be deleted'
    await through(lifecycle(), write("DELETE", "namespaces", old={}, name="mine"))
    await through(lifecycle(is_cluster_deleted=lambda cluster: cluster == TEAM), write("DELETE", "namespaces", old={}, name="default"))


def annotated(key: str, value: str = "v", what: str = "annotations") -> JSONObject:
    return {"metadata": {what: {key: value}}}


RESERVED = AdmissionChain([ReservedMetadata().plugin()])


@pytest.mark.parametrize("what", ["annotations", "labels"])
async def test_reserved_metadata_is_set_changed_and_removed_by_the_privileged_only(what: str) -> None:
    key = "state.workload.kcp.io/east.kcp.io"
    for new, old in (
        (annotated(key, what=what), None),
        (annotated(key, "w", what), annotated(key, what=what)),
        ({}, annotated(key, what=what)),
    ):
        verb: Verb = "CREATE" if old is None else "UPDATE"
        with pytest.raises(Forbidden, match=f'modification of reserved {what[:-1]}: "{key}"'):
            await through(RESERVED, write(verb, "pods", new, old=old))
        await through(RESERVED, write(verb, "pods", new, old=old, user=UserInfo("root", ("system:masters",))))


@pytest.mark.parametrize("key", ["app", "example.org/x", "kcp.io/path", "authorization.kcp.io/required-groups", "tenancy.kcp.io/phase"])
async def test_other_metadata_is_anybodys(key: str) -> None:
    await through(RESERVED, write("CREATE", "pods", annotated(key)))


async def test_unchanged_reserved_metadata_is_no_offence() -> None:
    held = annotated("x.kcp.io/y.kcp.io")
    await through(RESERVED, write("UPDATE", "pods", held, old=annotated("x.kcp.io/y.kcp.io")))
    await through(RESERVED, write("CREATE", "pods", annotated("claimed.internal.apis.kcp.io/abc.kcp.io", what="labels")))


class NoObjects:
    def revision(self) -> int:
        return 0

    def scan(self, resource: str, cluster: ClusterName) -> Sequence[Item]:
        return ()


def escalation(*rules: JSONObject) -> AdmissionChain:
    """For ann, who holds `rules`; bob holds everything."""
    policy = [cluster_role("held", rules), cluster_role_binding("held", users=("ann",))]
    policy += [*bootstrap_policy(), cluster_role_binding("bob", users=("bob",), role="cluster-admin")]
    rbac = RBACAuthorizer(NoObjects(), static=StaticPolicy(policy))
    return AdmissionChain(EscalationCheck(rbac, rbac).plugins())


def role(*rules: JSONObject, **extra: Any) -> JSONObject:
    return {"metadata": {"name": "x"}, "rules": list(rules), **extra}


def bind(name: str, *subjects: str, kind: str = "ClusterRole") -> JSONObject:
    return {"roleRef": {"apiGroup": RBAC_GROUP, "kind": kind, "name": name}, "subjects": [{"kind": "User", "name": s} for s in subjects]}


READ_PODS, READ_SECRETS = rule("", "pods", ("get", "list")), rule("", "secrets", ("get",))


async def test_a_role_may_hold_what_its_writer_holds() -> None:
    await through(escalation(READ_PODS), write("CREATE", "clusterroles", role(rule("", "pods", ("get",))), group=RBAC_GROUP))


async def test_a_role_with_more_is_refused_naming_what_is_missing() -> None:
    with pytest.raises(Forbidden) as refused:
        await through(escalation(READ_PODS), write("CREATE", "clusterroles", role(READ_PODS, READ_SECRETS), group=RBAC_GROUP))
    assert refused.value.message == (
        'clusterroles.rbac.authorization.k8s.io "x" is forbidden: user "ann" (groups=["devs"]) is attempting to grant RBAC permissions '
        'not currently held:\n{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    )


async def test_verb_escalate_allows_it_and_an_unchanged_role_is_not_looked_at() -> None:
    may = rule(RBAC_GROUP, "clusterroles", ("escalate",))
    await through(escalation(may), write("CREATE", "clusterroles", role(READ_SECRETS), group=RBAC_GROUP))
    await through(escalation(), write("UPDATE", "clusterroles", role(READ_SECRETS), old=role(READ_SECRETS), group=RBAC_GROUP))


async def test_only_cluster_administrators_aggregate() -> None:
    aggregating = role(aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]})
    with pytest.raises(Forbidden, match="must have cluster-admin privileges to use an aggregationRule"):
        await through(escalation(READ_PODS), write("CREATE", "clusterroles", aggregating, group=RBAC_GROUP))
    await through(escalation(), write("CREATE", "clusterroles", aggregating, group=RBAC_GROUP, user=UserInfo("bob")))


async def test_a_binding_may_give_what_its_writer_holds() -> None:
    await through(escalation(READ_PODS), write("CREATE", "rolebindings", bind("held", "eve"), group=RBAC_GROUP, namespace="a"))
    with pytest.raises(Forbidden, match="not currently held"):
        await through(escalation(READ_PODS), write("CREATE", "rolebindings", bind("view", "eve"), group=RBAC_GROUP, namespace="a"))
    with pytest.raises(NotFound, match=r'clusterroles\.rbac\.authorization\.k8s\.io "gone" not found'):
        await through(escalation(READ_PODS), write("CREATE", "clusterrolebindings", bind("gone", "eve"), group=RBAC_GROUP))


async def test_verb_bind_on_the_role_allows_it() -> None:
    may = {**rule(RBAC_GROUP, "clusterroles", ("bind",)), "resourceNames": ["view"]}
    await through(escalation(may), write("CREATE", "clusterrolebindings", bind("view", "eve"), group=RBAC_GROUP))
    with pytest.raises(Forbidden):
        await through(escalation(may), write("CREATE", "clusterrolebindings", bind("edit", "eve"), group=RBAC_GROUP))


async def test_adding_a_subject_is_checked_and_the_role_of_a_binding_stays() -> None:
    update: dict[str, Any] = {"group": RBAC_GROUP, "kind": "ClusterRoleBinding", "old": bind("view", "eve")}
    await through(escalation(), write("UPDATE", "clusterrolebindings", bind("view", "eve"), **update))
    with pytest.raises(Forbidden):
        await through(escalation(), write("UPDATE", "clusterrolebindings", bind("view", "eve", "mallory"), **update))
    with pytest.raises(Invalid, match="cannot change roleRef"):
        await through(escalation(), write("UPDATE", "clusterrolebindings", bind("edit", "eve"), **update, user=UserInfo("bob")))
