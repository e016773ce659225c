"""Who may do what: the authenticators, the authorizers in their order, and the admission plugins, as one list each.

Before: `server.compose`. After: `apiserver.{authn,authz,admission}`, `tenancy`, `exports`.
Source: kcp pkg/server/config.go, pkg/authorization (the order of the chain).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from kcp.aio.clock import Clock
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.certificates import CertificateRequests
from kcp.apiserver.admission.chain import AdmissionChain, Plugin
from kcp.apiserver.admission.configurable import AdmissionParts, ConfigurableAdmission
from kcp.apiserver.admission.escalation import EscalationCheck
from kcp.apiserver.admission.globalwebhook import GlobalWebhook
from kcp.apiserver.admission.limitranger import LimitRanger
from kcp.apiserver.admission.namespaces import NamespaceLifecycle
from kcp.apiserver.admission.reserved import ReservedMetadata
from kcp.apiserver.admission.resourcequota import QuotaAdmission
from kcp.apiserver.authn.chain import Authentication
from kcp.apiserver.authn.identity import TokenAuthenticator
from kcp.apiserver.authn.requestheader import RequestHeaders
from kcp.apiserver.authn.reviews import token_reviews
from kcp.apiserver.authn.serviceaccounts import ServiceAccountTokens, SigningKeys
from kcp.apiserver.authn.tokens import CachedTokens, StaticTokens
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes
from kcp.apiserver.authz.bootstrap import bootstrap_policy
from kcp.apiserver.authz.content import WorkspaceContent
from kcp.apiserver.authz.noted import Discreet, Noted
from kcp.apiserver.authz.rbac import RBACAuthorizer, StaticPolicy
from kcp.apiserver.authz.reviews import access_reviews
from kcp.apiserver.authz.union import AllowedPaths, PrivilegedGroups, Union
from kcp.apiserver.authz.watched import WatchedRBAC
from kcp.apiserver.authz.webhook import WebhookAuthorizer, WebhookRules
from kcp.apiserver.pki import PKI
from kcp.apiserver.request import Handler
from kcp.apiserver.resources import ConnectorKey
from kcp.client import kubeconfig
from kcp.client.endpoint import Timeouts
from kcp.client.http import HttpTransport
from kcp.exports.admission import ExportsAdmission
from kcp.exports.authz import MaximalPermissionPolicy, SystemResources
from kcp.exports.cached.admission import CachedAdmission
from kcp.exports.cached.index import CachedIndex
from kcp.exports.claimindex import ClaimIndex
from kcp.exports.claimlabels import ClaimLabels
from kcp.exports.claimpolicies import ClaimPolicies
from kcp.exports.crdadmission import crd_plugins
from kcp.exports.exportindex import ExportIndex
from kcp.registry.backend import UserInfo
from kcp.registry.resource import Catalog
from kcp.server.accessoptions import AuthenticationOptions, AuthorizationOptions, RequestHeaderOptions
from kcp.server.authentication import ForeignIssuers
from kcp.server.objects import BuiltinObjects
from kcp.storage.interface import Store
from kcp.storage.watchcache import WatchCache
from kcp.tenancy.authn.workspaceissuers import Objects, WorkspaceIssuers
from kcp.tenancy.authz.content import ServerPaths, TenancyContentRules
from kcp.tenancy.authz.inactive import SERVER_NAME
from kcp.tenancy.authz.requiredgroups import RequiredGroups
from kcp.tenancy.bootstrap.policy import kcp_policy
from kcp.tenancy.kinds import LOGICAL_CLUSTERS, SYSTEM_ADMIN, WORKSPACE_AUTHENTICATION, WORKSPACE_TYPES, WORKSPACES
from kcp.tenancy.logicalcluster.admission import LogicalClusterAdmission
from kcp.tenancy.logicalcluster.index import WorkspaceIndex
from kcp.tenancy.logicalcluster.objectlimit import ObjectCounts, ObjectLimit
from kcp.tenancy.logicalcluster.pathannotation import PathAnnotation
from kcp.tenancy.shards import shard_plugin
from kcp.tenancy.workspace.admission import WorkspaceAdmission
from kcp.tenancy.workspacetype.admission import WorkspaceTypeAdmission
from kcp.tenancy.workspacetype.lister import TypeLister

PRIVILEGED = ("system:masters",)
_WEBHOOK_TIMEOUT_S = 30.0

_OF_RELEASES = frozenset(("root", "root:compute"))
"""Where the server itself makes the schemas that a release brings."""


@dataclass(frozen=True, slots=True)
class Security:
    """Everything that says who may do what."""

    authentication: Authentication
    authorizer: Authorizer
    policy: MaximalPermissionPolicy
    admission: AdmissionChain
    connectors: Mapping[ConnectorKey, Handler]
    """Reviews and token requests."""
    account_tokens: ServiceAccountTokens
    issuers: ForeignIssuers
    close: Callable[[], Awaitable[None]]
    """Ends the connections to webhooks."""

    async def allows(self, user: UserInfo, cluster: ClusterName, verb: str, group: str, resource: str, name: str) -> bool:
        """Whether a user has a verb on one cluster-scoped object."""
        question = AuthzAttributes(user, verb, cluster, group, resource, name=name)
        return (await self.authorizer.authorize(question)).is_allowed


@dataclass(frozen=True, slots=True)
class SecurityParts:
    """What security is built from."""

    pki: PKI
    store: Store
    cache: WatchCache
    catalog: Catalog
    index: WorkspaceIndex
    types: TypeLister
    clock: Clock
    tokens: StaticTokens
    exports: ExportIndex
    claims: ClaimIndex
    policies: ClaimPolicies
    identity_of: Callable[[ClusterName, GroupResource], str]
    """Identity under which a workspace binds a resource."""
    provider_of: Callable[[ClusterName, GroupResource], ClusterName]
    """Cluster whose export it binds it from; itself for what it does not bind."""
    mirror: Callable[[GVR], Objects]
    """The informer of a kind over all clusters."""
    plugins: Sequence[Plugin] = ()
    """Further admission plugins, of features that are turned on."""
    first_plugins: Sequence[Plugin] = ()
    """Before all others."""
    authentication: AuthenticationOptions = field(default_factory=AuthenticationOptions)
    authorization: AuthorizationOptions = field(default_factory=AuthorizationOptions)
    has_mounts: bool = False
    """Whether workspaces may be mounts."""
    cached: Sequence[CachedIndex] = ()
    """Empty: there are no ClusterCachedResources."""
    global_webhook: JSONObject | None = None
    """A ValidatingWebhookConfiguration for every logical cluster."""
    object_limit: int = 0
    """Of logical clusters that do not say their own; 0 for none."""


async def build_security(parts: SecurityParts) -> Security:
    objects = BuiltinObjects(parts.cache)
    static = StaticPolicy([*bootstrap_policy(), *kcp_policy()])
    rbac = RBACAuthorizer(await WatchedRBAC.open(parts.cache), static=static, inherited=(SYSTEM_ADMIN,))
    policy = MaximalPermissionPolicy(Noted("05-bootstrap", rbac), policies=rbac, exports=parts.exports, identity_of=parts.identity_of)
    webhook = _webhook(parts.authorization, parts.clock)
    authorizer = _authorizer(parts, policy, webhook)
    account_tokens = _account_tokens(parts, objects)
    issuers = ForeignIssuers(parts.authentication, account_tokens.issuers, clock=parts.clock)
    authentication = _authentication(parts, account_tokens, issuers)
    longest_s = int(parts.authentication.service_accounts.max_expiration_s)
    connectors = {**token_reviews(authentication, account_tokens, objects.find, longest_s=longest_s), **access_reviews(authorizer, rbac)}
    limits, quotas = await LimitRanger.open(parts.cache), await QuotaAdmission.open(parts.store, parts.cache, clock=parts.clock)
    configuring = AdmissionParts(parts.cache, parts.catalog, objects.namespace, authorizer, configured_in=parts.provider_of)
    configurable = await ConfigurableAdmission.open(configuring)
    everywhere = GlobalWebhook(parts.global_webhook, configuring) if parts.global_webhook is not None else None
    plugins = [
        *parts.first_plugins, *_plugins(parts, objects, authorizer, rbac),
        *parts.plugins, *limits.plugins(), *configurable.plugins(),
        *([everywhere.plugin()] if everywhere is not None else ()), _object_limit(parts),
        quotas.plugin(),
    ]  # fmt: skip

    async def close() -> None:
        await configurable.close()
        if everywhere is not None:
            await everywhere.close()
        if webhook is not None:
            await webhook.close()

    return Security(authentication, authorizer, policy, AdmissionChain(plugins), connectors, account_tokens, issuers, close)


def _account_tokens(parts: SecurityParts, objects: BuiltinObjects) -> ServiceAccountTokens:
    options, pair = parts.authentication.service_accounts, parts.pki.service_accounts
    keys = SigningKeys(options.signing_key_file or pair.key, options.key_files or [pair.certificate])
    issuer, *others = options.issuers
    audiences = options.api_audiences or options.issuers
    return ServiceAccountTokens(
        keys, objects.find, clock=parts.clock, issuer=issuer, also_accepted=others, audiences=audiences, jwks_uri=options.jwks_uri
    )


def _authentication(parts: SecurityParts, account_tokens: ServiceAccountTokens, issuers: ForeignIssuers) -> Authentication:
    tokens: list[TokenAuthenticator] = [CachedTokens([account_tokens], clock=parts.clock)]
    if issuers.tokens is not None:
        tokens.append(issuers.tokens)
    local = WorkspaceIssuers(
        parts.index, lambda: parts.mirror(WORKSPACE_TYPES), lambda: parts.mirror(WORKSPACE_AUTHENTICATION), account_tokens.issuers,
        parts.clock,
    )  # fmt: skip
    return Authentication(
        static=parts.tokens,
        tokens=tokens,
        anonymous=issuers.anonymous,
        audiences=account_tokens.audiences,
        local=local.identify if parts.authentication.workspace_issuers else None,
        headers=_request_headers(parts.authentication.request_header),
    )


def _request_headers(options: RequestHeaderOptions) -> RequestHeaders | None:
    if options.client_ca_file is None:
        return None
    lists = (options.username_headers, options.uid_headers, options.group_headers, options.extra_headers_prefix)
    names, uids, groups, extra_prefixes = (tuple(header.lower() for header in headers) for headers in lists)
    return RequestHeaders(names, uids, groups, extra_prefixes, frozenset(options.allowed_names))


def _object_limit(parts: SecurityParts) -> Plugin:
    limit = ObjectLimit(parts.index.record, ObjectCounts(parts.catalog, parts.cache).count, parts.object_limit)
    return Plugin(name="LogicalClusterObjectCountLimit", validate=limit.check, verbs=("CREATE",))


def _webhook(options: AuthorizationOptions, clock: Clock) -> WebhookAuthorizer | None:
    """Raises KubeConfigError."""
    if options.webhook_config_file is None:
        return None
    endpoint = kubeconfig.load(options.webhook_config_file).endpoint
    rules = WebhookRules(
        version=options.webhook_version,
        authorized_ttl_s=options.webhook_authorized_ttl_s,
        unauthorized_ttl_s=options.webhook_unauthorized_ttl_s,
    )
    transport = HttpTransport(endpoint, timeouts=Timeouts(request_s=_WEBHOOK_TIMEOUT_S), clock=clock)
    return WebhookAuthorizer(transport, urlsplit(endpoint.server).path, rules, clock=clock)


def _authorizer(parts: SecurityParts, policy: MaximalPermissionPolicy, webhook: WebhookAuthorizer | None) -> Authorizer:
    """The authorizers in the order that the operator chose.

    What is called RBAC is a chain: required groups, content, the guard of statuses, maximal permissions, and RBAC itself. Nobody outside
    is asked about the privileged groups.
    Source: kcp pkg/server/options/authorization.go.
    """
    index, options = parts.index, parts.authorization
    guarded = Noted("03-systemcrd", SystemResources(Noted("04-maxpermissionpolicy", policy)))
    content = Noted("02-content", WorkspaceContent(guarded, TenancyContentRules(index.record)))
    inside = Noted("01-requiredgroups", RequiredGroups(content, index.record))
    privileged = PrivilegedGroups(PRIVILEGED)
    steps: dict[str, Authorizer] = {
        "AlwaysAllowGroups": privileged,
        "AlwaysAllowPaths": AllowedPaths(options.always_allow_paths),
        "RBAC": Discreet(ServerPaths(inside)),
    }
    if webhook is not None:
        steps["Webhook"] = Union([privileged, webhook])
    return Union([steps[name] for name in options.order if name in steps])


def _plugins(parts: SecurityParts, objects: BuiltinObjects, authorizer: Authorizer, rbac: RBACAuthorizer) -> Sequence[Plugin]:
    """The admission chain, in order."""

    def may(verb: str, group: str, resource: str) -> Callable[[UserInfo, ClusterName, str], Awaitable[bool]]:
        """Asked as kcp's deep reviews are: to bind what a workspace exports, or to use its types, one need not be let into it."""

        async def ask(user: UserInfo, cluster: ClusterName, name: str) -> bool:
            return (await authorizer.authorize(AuthzAttributes(user, verb, cluster, group, resource, name=name, is_deep=True))).is_allowed

        return ask

    def is_cluster_deleted(cluster: ClusterName) -> bool:
        record = parts.index.record(cluster)
        return record is not None and record.deleting

    def is_released(user: UserInfo, cluster: ClusterName) -> bool:
        return user.name == SERVER_NAME and parts.index.path_of(cluster) in _OF_RELEASES

    may_bind = may("bind", "apis.kcp.io", "apiexports")
    may_use = may("use", "tenancy.kcp.io", "workspacetypes")

    def may_bind_to(kind: GVR) -> Callable[[UserInfo, ClusterName, str], Awaitable[bool]]:
        return may("bind", kind.group, kind.resource)

    types = WorkspaceTypeAdmission(parts.index.path_of, parts.index.resolve, may_bind)
    exports = ExportsAdmission(
        parts.index.resolve, may_bind, parts.policies, parts.exports.is_replicated, is_released,
        lambda key: parts.exports.get(key) is not None,
    )  # fmt: skip
    workspaces = WorkspaceAdmission(parts.types, parts.index.record, may_use, parts.has_mounts)
    return [
        *NamespaceLifecycle(objects.namespace, immortal=frozenset({"default"}), is_cluster_deleted=is_cluster_deleted).plugins(),
        *CertificateRequests(authorizer, parts.clock).plugins(),
        shard_plugin(),
        Plugin.of("LogicalCluster", LogicalClusterAdmission(), resources=[LOGICAL_CLUSTERS.group_resource]),
        Plugin.of("WorkspaceType", types, resources=[WORKSPACE_TYPES.group_resource]),
        Plugin.of("Workspace", workspaces, resources=[WORKSPACES.group_resource]),
        Plugin.of("APIExport", exports),
        *(CachedAdmission(one, parts.catalog.resolve, may_bind_to(one.kinds.resources)).plugin() for one in parts.cached),
        PathAnnotation(parts.index.path_of).plugin(),
        *crd_plugins(),
        ClaimLabels(parts.claims).plugin(),
        ReservedMetadata().plugin(),
        *EscalationCheck(authorizer, rbac).plugins(),
    ]
