"""RBAC: decides from the Roles and bindings of the request's logical cluster, and from static policy that holds in all of them.

Nothing is kept per workspace beyond bounded caches: a cluster's objects are parsed when somebody first asks something there, a subject's
rules when it first asks, and each answer is remembered per (verb, resource, namespace). All of it is checked against one integer, the
revision of RBAC writes, so a repeated request costs two dictionary look-ups and a write takes effect with the next request.

Before: `authz.union`. After: `authz.policy`, and an `RBACSource` over the watch cache (`authz.watched`).
Source: k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/rbac.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from kcp.apimachinery.keys import WILDCARD, ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.authz.attributes import NO_OPINION, AuthzAttributes, Decision, Verdict
from kcp.apiserver.authz.effective import effective_users
from kcp.apiserver.authz.policy import EMPTY_POLICY, Parsed, Policy, Scopes, parse
from kcp.apiserver.authz.rules import Rule
from kcp.registry.backend import Item, UserInfo

RESOURCES = ("roles", "rolebindings", "clusterroles", "clusterrolebindings")
"""What an RBACSource is scanned for, of group rbac.authorization.k8s.io."""


class RBACSource(Protocol):
    """RBAC objects as they are now."""

    def revision(self) -> int:
        """Differs from before whenever an RBAC object of any cluster changed. Asked on every request."""

    def scan(self, resource: str, cluster: ClusterName) -> Sequence[Item]:
        """All objects of one of `RESOURCES` in a cluster."""


class StaticPolicy:
    """RBAC objects that hold in every logical cluster without being stored there, such as upstream's default ClusterRoles."""

    def __init__(self, objects: Iterable[JSONObject] = ()) -> None:
        self.objects = tuple(objects)
        self._policy: Policy | None = None

    @property
    def policy(self) -> Policy:
        if self._policy is None:
            self._policy = Policy([parse(obj) for obj in self.objects])
        return self._policy


@dataclass(frozen=True, slots=True)
class Grant:
    """One rule that a user has, where, and why."""

    rule: Rule
    namespace: str
    """"": everywhere in the cluster."""
    reason: str


_Answer: TypeAlias = Decision | dict[str, Decision]
"""The same for every name, or by name."""

_MAX_ANSWERS = 512


@dataclass(slots=True, eq=False)
class _Subject:
    """What one user may do in one cluster, as of some state of its policies."""

    policies: tuple[Policy, ...]
    epoch: int
    grants: list[Grant]
    denial: Decision
    answers: dict[tuple[str, str, str, str, str], _Answer] = field(default_factory=dict)
    urls: dict[tuple[str, str], Decision] = field(default_factory=dict)

    def evaluate(self, attributes: AuthzAttributes) -> Decision:
        """The answer for a resource request, remembered for all names at once."""
        key = (attributes.verb, attributes.group, attributes.resource, attributes.subresource, attributes.namespace)
        answer = self._evaluate(*key)
        if len(self.answers) >= _MAX_ANSWERS:
            self.answers.clear()
        self.answers[key] = answer
        return answer if isinstance(answer, Decision) else answer.get(attributes.name, self.denial)

    def _evaluate(self, verb: str, group: str, resource: str, subresource: str, namespace: str) -> _Answer:
        by_name: dict[str, Decision] = {}
        for grant in self.grants:
            if grant.namespace and grant.namespace != namespace:
                continue
            if not grant.rule.matches_resource(verb, group, resource, subresource):
                continue
            allow = Decision(Verdict.ALLOW, grant.reason)
            if not grant.rule.names:
                return allow
            for name in grant.rule.names:
                by_name.setdefault(name, allow)
        return by_name or self.denial

    def evaluate_url(self, verb: str, path: str) -> Decision:
        answer = self.urls.get((verb, path))
        if answer is None:
            matching = (g.reason for g in self.grants if not g.namespace and g.rule.matches_url(verb, path))
            reason = next(matching, None)
            answer = self.denial if reason is None else Decision(Verdict.ALLOW, reason)
            if len(self.urls) >= _MAX_ANSWERS:
                self.urls.clear()
            self.urls[verb, path] = answer
        return answer


@dataclass(slots=True, eq=False)
class _Cluster:
    """The parsed policy of one cluster and the item revisions it was parsed from."""

    policy: Policy
    epoch: int
    parsed: dict[int, Parsed]
    """By item revision, which is unique in a store."""


class RBACAuthorizer:
    """Allows what some binding grants; has no opinion on the rest (RBAC has no deny)."""

    def __init__(
        self,
        source: RBACSource,
        *,
        static: StaticPolicy | None = None,
        inherited: Sequence[ClusterName] = (),
        max_clusters: int = 2_000,
        max_subjects: int = 10_000,
    ) -> None:
        """`inherited`: clusters whose bindings hold in every other cluster too, and whose cluster roles can be bound there."""
        self._source = source
        self._static = static or StaticPolicy()
        self._inherited = tuple(inherited)
        self._max_clusters, self._max_subjects = max_clusters, max_subjects
        self._revision = -1
        self._epoch = 0
        self._clusters: dict[ClusterName, _Cluster] = {}
        self._subjects: dict[tuple[ClusterName, str, tuple[str, ...]], _Subject] = {}

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        user = attributes.user
        if user.extra:
            return await self._authorize_any(attributes)
        if self._source.revision() != self._revision:
            self._notice_writes()
        subject = self._subjects.get((attributes.cluster, user.name, user.groups))
        if subject is None or subject.epoch != self._epoch:
            subject = self._refresh(attributes.cluster, user, subject)
        if not attributes.is_resource:
            return subject.evaluate_url(attributes.verb, attributes.path)
        answer = subject.answers.get((attributes.verb, attributes.group, attributes.resource, attributes.subresource, attributes.namespace))
        if answer is None:
            return subject.evaluate(attributes)
        return answer if isinstance(answer, Decision) else answer.get(attributes.name, subject.denial)

    async def _authorize_any(self, attributes: AuthzAttributes) -> Decision:
        """What one of those allows as whom the user counts here."""
        decision = NO_OPINION
        for each in effective_users(attributes.user, attributes.cluster):
            decision = await self.authorize(attributes._replace(user=UserInfo(each.name, each.groups)))
            if decision.is_allowed:
                break
        return decision

    def grants(self, user: UserInfo, cluster: ClusterName) -> tuple[list[Grant], str]:
        """All rules the user has in a cluster, and what could not be resolved (roles that do not exist), as text."""
        self._notice_writes()
        policies = self._policies(cluster)
        subjects = [self._build(policies, each) for each in effective_users(user, cluster)]
        found = {(grant.rule, grant.namespace): grant for subject in subjects for grant in subject.grants}
        return list(found.values()), ", ".join(dict.fromkeys(s.denial.reason for s in subjects if s.denial.reason))

    def rules(self, user: UserInfo, cluster: ClusterName, namespace: str = "") -> list[Rule]:
        """The rules that hold in a namespace, or with "" at cluster scope."""
        return [g.rule for g in self.grants(user, cluster)[0] if g.namespace in ("", namespace)]

    def role_rules(self, cluster: ClusterName, namespace: str, kind: str, name: str) -> tuple[Rule, ...] | None:
        """What a referenced role grants; None if it does not exist. For the check on writing bindings."""
        self._notice_writes()
        scopes = Scopes(self._policy(cluster), self._static.policy, tuple(self._policy(c) for c in self._inherited))
        if kind == "Role":
            role = scopes.own.roles.get((namespace, name))
            return role.rules if role else None
        return scopes.cluster_role_rules(name)

    def statistics(self) -> dict[str, int]:
        return {"clusters": len(self._clusters), "subjects": len(self._subjects), "epoch": self._epoch}

    def _notice_writes(self) -> None:
        """Start a new epoch if an RBAC object was written: everything held must then show that it still holds."""
        revision = self._source.revision()
        if revision != self._revision:
            self._revision = revision
            self._epoch += 1

    def _refresh(self, cluster: ClusterName, user: UserInfo, held: _Subject | None) -> _Subject:
        """A subject that is true as of now: the held one, if none of its policies changed."""
        epoch = self._epoch
        policies = self._policies(cluster)
        if held is not None and held.policies == policies:
            held.epoch = epoch
            return held
        subject = self._build(policies, user)
        _make_room(self._subjects, self._max_subjects)
        self._subjects[cluster, user.name, user.groups] = subject
        return subject

    def _policies(self, cluster: ClusterName) -> tuple[Policy, ...]:
        """The static policy, then the cluster's own, then the inherited ones."""
        own = () if cluster == WILDCARD else (self._policy(cluster),)
        return (self._static.policy, *own, *(self._policy(c) for c in self._inherited if c != cluster))

    def _build(self, policies: tuple[Policy, ...], user: UserInfo) -> _Subject:
        static, inherited = policies[0], policies[len(policies) - len(self._inherited) :] if self._inherited else ()
        grants: dict[tuple[Rule, str], Grant] = {}
        missing: list[str] = []
        for index, policy in enumerate(policies):
            scopes = Scopes(policy if index else EMPTY_POLICY, static, inherited)
            for binding, subject in policy.bindings(user):
                rules = scopes.rules(binding)
                if rules is None:
                    missing.append(f'{binding.role_kind.lower()}.rbac.authorization.k8s.io "{binding.role_name}" not found')
                    continue
                reason = binding.reason(subject)
                for rule in rules:
                    grants.setdefault((rule, binding.namespace), Grant(rule, binding.namespace, reason))
        missing = list(dict.fromkeys(missing))
        denial = NO_OPINION
        if missing:
            denial = Decision(Verdict.NO_OPINION, f"RBAC: {missing[0] if len(missing) == 1 else '[' + ', '.join(missing) + ']'}")
        return _Subject(policies, self._epoch, list(grants.values()), denial)

    def _policy(self, cluster: ClusterName) -> Policy:
        """The cluster's own policy, rebuilt if its objects changed; objects at an unchanged revision are not parsed again."""
        held = self._clusters.get(cluster)
        if held is not None and held.epoch == self._epoch:
            return held.policy
        items = [item for resource in RESOURCES for item in self._source.scan(resource, cluster)]
        known = held.parsed if held else {}
        if held is not None and len(items) == len(known) and all(item.revision in known for item in items):
            held.epoch = self._epoch
            return held.policy
        parsed = {item.revision: known.get(item.revision) or parse(item.decode()) for item in items}
        policy = Policy(parsed.values()) if parsed else EMPTY_POLICY
        _make_room(self._clusters, self._max_clusters)
        self._clusters[cluster] = _Cluster(policy, self._epoch, parsed)
        return policy


def _make_room(cache: dict, limit: int) -> None:  # type: ignore[type-arg]
    """Drop the older half of a full cache: bounded, and cheaper than exact ageing on every hit."""
    if len(cache) >= limit:
        for key in list(cache)[: limit // 2 + 1]:
            del cache[key]
