"""The virtual workspace `apiexport`: who may look through an export, into which workspaces, and with which verbs.

Asked in this order: verb on `apiexports/content` in the provider's workspace; an APIBinding to the export in the consumer's, and for
resources that are not the export's own an accepted claim with the verb; the maximal permission policy of whoever owns a claimed resource.
Before: `virtual.framework`. After: `catalog`, `backend`.
Source: kcp pkg/virtual/apiexport/authorizer/{content,binding,maximal_permission_policy}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import WILDCARD, ClusterName, ObjectKey
from kcp.apimachinery.selectors import LabelSelector, Requirement
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes, Decision, Verdict, forbidden
from kcp.apiserver.request import Handler, Request, RequestInfo
from kcp.apiserver.resources import ConnectorKey
from kcp.exports.authz import MaximalPermissionPolicy
from kcp.exports.claimindex import ClaimIndex
from kcp.exports.claims import ACCOUNT_TOKENS, OWN_BINDING, claim_label, claim_value
from kcp.exports.exportindex import ExportRecord
from kcp.exports.names import APIS_GROUP, BINDINGS, EXPORTS
from kcp.registry.backend import Backend, UserInfo
from kcp.virtual.apiexport.backend import ExportBackend
from kcp.virtual.apiexport.catalog import ExportCatalog, Origins
from kcp.virtual.apiexport.tokens import ACCOUNTS, token_connectors
from kcp.virtual.framework import View

_READS = frozenset(("get", "list", "watch"))


@dataclass(frozen=True, slots=True)
class _Held:
    """The view of one export as of one state of it."""

    export: ExportRecord
    catalog: ExportCatalog
    view: View


@dataclass(frozen=True, slots=True)
class ExportWorkspace:
    """Implements VirtualWorkspace."""

    backend: Backend
    origins: Origins
    claims: ClaimIndex
    authorizer: Authorizer
    policy: MaximalPermissionPolicy
    resolve: Callable[[str], ClusterName | None]
    identity_of: Callable[[ClusterName, GroupResource], str]
    """(workspace, resource) → the identity it is bound under, "" if it is not bound."""
    reviews: Mapping[ConnectorKey, Handler]
    """Access and token reviews, which a provider may claim to ask for in consumers' workspaces."""
    token_requests: Handler
    name: str = "apiexport"
    parameters: int = 2
    _held: dict[ObjectKey, _Held] = field(default_factory=dict)

    async def view(self, parameters: Sequence[str], request: Request) -> View:
        """Raises Forbidden, and NotFound to those who may look."""
        path, name = parameters
        key = ObjectKey(self.resolve(path) or ClusterName(path), "", name)
        await self._check_content(key, request.user, request.info.verb if request.info.is_resource else "get")
        held = self._hold(key)
        if held is None:
            raise NotFound.of(EXPORTS.group_resource, name)
        if request.info.is_resource:
            info = request.info
            await self._check_resource(held, AuthzAttributes(request.user, info.verb, info.cluster, *_named(info)))
        return held.view

    def _hold(self, key: ObjectKey) -> _Held | None:
        export = self.origins.exports.get(key)
        held = self._held.get(key)
        if export is None or not export.identity:
            self._held.pop(key, None)
            return None
        if held is None or held.export is not export:
            held = self._held[key] = self._made(export)
        return held

    def _made(self, export: ExportRecord) -> _Held:
        label = claim_label(export.key.cluster, export.key.name)
        catalog = ExportCatalog(export, self.origins)
        backend = ExportBackend(self.backend, label, _selectors(catalog, label), self.claims)
        tokens = token_connectors(catalog, backend, self.origins.native[ACCOUNTS][0], self.token_requests)
        return _Held(export, catalog, View(catalog, backend, {**self.reviews, **tokens}, _Anew(self, export.key)))

    async def authorize(self, key: ObjectKey, asked: AuthzAttributes) -> Decision:
        """Whether what a write has turned out to be is allowed through the export of this key, too."""
        held = self._hold(key)
        try:
            await self._check_content(key, asked.user, asked.verb)
            if held is not None:
                await self._check_resource(held, asked)
        except Forbidden as refusal:
            return Decision(Verdict.DENY, refusal.message)
        return Decision(Verdict.ALLOW)

    async def _check_content(self, key: ObjectKey, user: UserInfo, verb: str) -> None:
        asked = AuthzAttributes(user, verb, key.cluster, APIS_GROUP, EXPORTS.resource, "content", name=key.name)
        decision = await self.authorizer.authorize(asked)
        if not decision.is_allowed:
            raise forbidden(asked, decision.reason)

    async def _check_resource(self, held: _Held, asked: AuthzAttributes) -> None:
        gr = GroupResource(asked.group, asked.resource)
        if gr == ACCOUNTS and asked.subresource == "token":
            gr = ACCOUNT_TOKENS
        if asked.cluster == WILDCARD:
            claim = held.catalog.claims.get(gr)
            if claim is not None and not claim.allows(asked.verb):
                raise forbidden(asked, "the APIExport's permission claim does not have this verb")
            await self._check_policy(held, gr, asked)
            return
        label = claim_label(held.export.key.cluster, held.export.key.name)
        if not self.claims.is_bound(asked.cluster, label):
            raise forbidden(asked, "could not find suitable APIBinding in target logical cluster")
        identity = _identity(held, gr)
        if identity and self.identity_of(asked.cluster, gr) != identity:
            raise forbidden(asked, f"target logical cluster does not bind {gr} under the identity of the APIExport that provides it")
        if held.catalog.owns(gr):
            return
        if any(claim.allows(asked.verb) for claim in self.claims.granted(asked.cluster, label, gr)):
            await self._check_policy(held, gr, asked)
            return
        if gr == BINDINGS.group_resource and asked.verb in _READS:
            return
        raise forbidden(asked, "failed to find suitable reason to allow access in APIBinding")

    async def _check_policy(self, held: _Held, gr: GroupResource, asked: AuthzAttributes) -> None:
        for identity in self._claimed_identities(held, gr, asked.cluster):
            if await self.policy.refusal(asked, identity):
                raise forbidden(asked, "access denied")  # where its owner's exports are is nobody else's business

    def _claimed_identities(self, held: _Held, gr: GroupResource, cluster: ClusterName) -> set[str]:
        """Whose objects are asked for; nobody's where they are of a kind that every workspace has."""
        claim = held.catalog.claims.get(gr)
        if claim is None or not claim.key.is_agnostic:
            return {claim.key.identity} - {""} if claim is not None else set()
        label = claim_label(held.export.key.cluster, held.export.key.name)
        clusters = self.claims.granting(label, gr) if cluster == WILDCARD else (cluster,)
        return {self.identity_of(each, gr) for each in clusters} - {""}


@dataclass(frozen=True, slots=True)
class _Anew:
    """Implements Authorizer for the view of one export."""

    workspace: ExportWorkspace
    key: ObjectKey

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        return await self.workspace.authorize(self.key, attributes)


def _identity(held: _Held, gr: GroupResource) -> str:
    """Under which the objects of a resource are stored that this export sees; "" for those of kinds that every workspace has."""
    if held.catalog.owns(gr):
        return held.export.identity
    claim = held.catalog.claims.get(gr)
    return claim.key.identity if claim is not None else ""


def _named(info: RequestInfo) -> tuple[str, str, str, str, str]:
    return info.group, info.resource, info.subresource, info.namespace, info.name


def _selectors(catalog: ExportCatalog, label: str) -> Mapping[GroupResource, LabelSelector]:
    """By label; what an export sees of bindings without a claim is those to itself."""
    found = {gr: LabelSelector.from_labels({label: claim_value(claim.key)}) for gr, claim in catalog.claims.items()}
    bindings = catalog.claims.get(BINDINGS.group_resource)
    values = {OWN_BINDING} | ({claim_value(bindings.key)} if bindings is not None else set())
    found[BINDINGS.group_resource] = LabelSelector([Requirement(label, "in", frozenset(values))])
    return found
