"""Checks of who may do what: strangers, tokens that last for ever, workloads that no policy looks at, and administrators.

Before: `ops`. After: `ops_inspection`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.cli.ops_health import PLACEMENTS
from kcp.cli.ops_inspection import Inspection, cluster_of, some
from kcp.cli.ops_report import Check, State, judged
from kcp.client.transport import RawRequest

_ADMISSION = "admissionregistration.k8s.io"
POLICIES = GVR(_ADMISSION, "v1", "validatingadmissionpolicies")
POLICY_BINDINGS = GVR(_ADMISSION, "v1", "validatingadmissionpolicybindings")
SECRETS = GVR("", "v1", "secrets")
ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "rolebindings")
CLUSTER_ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings")
TIER_LABEL = "kcp.io/policy-tier"
_TOKEN_TYPE = "kubernetes.io/service-account-token"  # noqa: S105 - the name of a type
_STRANGERS = ("system:anonymous", "system:unauthenticated")
_EVERYBODY = (*_STRANGERS, "system:authenticated")
_BUILT_IN_ADMINISTRATORS = frozenset({"system:masters", "system:kcp:admin"})


async def anonymous(inspection: Inspection) -> Check:
    """What somebody without credentials is answered, and what roles they were given."""
    response = await inspection.anonymous.request(RawRequest("GET", "/clusters/root/api/v1/namespaces", {}, {"accept": "application/json"}))
    paths = await inspection.paths()
    given = [
        f"{meta.name(binding)} ({binding['roleRef']['name']}) in {paths.get(cluster_of(binding), cluster_of(binding))}"
        for gvr in (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS)
        for binding in await inspection.everywhere(gvr)
        if _subjects(binding, _STRANGERS)
    ]
    opened = response.status < 400
    told = "refused at once (401)" if response.status == 401 else f"taken as system:anonymous, and answered {response.status}"
    result = f"{told}; {f'roles given to strangers: {some(given)}' if given else 'no role is given to strangers'}"
    return judged("Anonymous access", result, fault=opened or bool(given), remedy="take the bindings away; --anonymous-auth=false")


async def tokens(inspection: Inspection) -> Check:
    """Secrets with tokens of accounts: those of TokenRequests expire, these do not."""
    found = await inspection.everywhere(SECRETS, field_selector=f"type={_TOKEN_TYPE}")  # and no other secret is read
    paths = await inspection.paths()
    where = Counter(paths.get(cluster_of(secret), cluster_of(secret)) for secret in found)
    told = some([f"{number} in {path}" for path, number in where.most_common()])
    accounts = sorted({meta.annotations(s).get("kubernetes.io/service-account.name", meta.name(s)) for s in found})
    result = f"{len(found)} Secrets with tokens that do not expire: {told} (accounts {some(accounts)})" if found else "every token expires"
    syncers = all(account.startswith("kcp-syncer-") for account in accounts)
    remedy = (
        "delete those that nobody needs; `kubectl create token` makes ones that expire; certificates for syncers (docs/certificates.md)"
    )
    return judged("Tokens", result + ("; all of syncers" if found and syncers else ""), fault=bool(found) and not syncers, remedy=remedy)


async def policies(inspection: Inspection) -> Check:
    """Workspaces that place workloads, and the tier of policies/ that is bound there; and whether it is that of today."""
    paths = await inspection.paths()
    placing = sorted({cluster_of(placement) for placement in await inspection.everywhere(PLACEMENTS)})
    tiers: dict[str, set[str]] = {}
    for binding in await inspection.everywhere(POLICY_BINDINGS):
        if tier := meta.labels(binding).get(TIER_LABEL):
            tiers.setdefault(cluster_of(binding), set()).add(tier)
    bare = [paths.get(cluster, cluster) for cluster in placing if cluster not in tiers]
    old = await _outdated(inspection, paths)
    result = f"{len(placing) - len(bare)} of {len(placing)} workspaces that place workloads have a tier of policies"
    result += (f"; none in {some(bare)}" if bare else "") + (f"; not as in {inspection.wanted.policies}: {some(old)}" if old else "")
    remedy = "kubectl apply -k policies/strict (or moderate, relaxed), in the workspace (docs/security.md)"
    return judged("Policies", result, fault=bool(bare or old), remedy=remedy)


async def _outdated(inspection: Inspection, paths: Mapping[str, str]) -> list[str]:
    """Policies of a tier that say something else than the files do; none where there are no files."""
    known = await asyncio.to_thread(_said_in, inspection.wanted.policies)
    return [
        f"{meta.name(policy)} in {paths.get(cluster_of(policy), cluster_of(policy))}"
        for policy in await inspection.everywhere(POLICIES)
        if meta.name(policy) in known and _said(policy) != known[meta.name(policy)]
    ]


def _said_in(directory: Path) -> dict[str, Sequence[str]]:
    import yaml

    documents = [document for file in sorted(directory.glob("*/policy.yaml")) for document in yaml.safe_load_all(file.read_text())]
    return {meta.name(document): _said(document) for document in documents if document["kind"] == "ValidatingAdmissionPolicy"}


def _said(policy: JSONObject) -> Sequence[str]:
    """Its expressions; what the server adds does not count."""
    parts = [*meta.nested(policy, "spec", "variables", default=()), *meta.nested(policy, "spec", "validations", default=())]
    return [" ".join(part["expression"].split()) for part in parts]


async def administrators(inspection: Inspection) -> Check:
    """Who is cluster-admin in root, whose roles count for the whole installation, and everybody who is it anywhere."""
    paths = await inspection.paths()
    wanted = inspection.wanted.administrators | _BUILT_IN_ADMINISTRATORS
    in_root: set[str] = set()
    opened: list[str] = []
    for binding in await inspection.everywhere(CLUSTER_ROLE_BINDINGS):
        if binding["roleRef"]["name"] != "cluster-admin":
            continue
        path = paths.get(cluster_of(binding), cluster_of(binding))
        if path in ("root", "system:admin"):
            in_root |= {f"{s['kind']} {s['name']}" for s in binding.get("subjects", ()) if s["name"] not in wanted}
        if _subjects(binding, _EVERYBODY):
            opened.append(f"{meta.name(binding)} in {path}")
    result = f"cluster-admin in root: {some(sorted(in_root), 10) or 'nobody beside those who are expected'}"
    result += f"; cluster-admin for everybody: {some(opened)}" if opened else ""
    remedy = "take the bindings away, or say --administrators=NAME,… of those who are meant"
    return judged("Administrators", result, fault=bool(in_root or opened), remedy=remedy)


async def audit(inspection: Inspection) -> Check:
    """Whether the server records who did what."""
    events = inspection.figures.of("apiserver_audit_event_total")
    if not events:
        return Check(
            "Audit", State.LOOK, "no audit events are recorded", "--audit-policy-file and --audit-log-path; chart value audit.enabled"
        )
    lost = inspection.figures.total("apiserver_audit_error_total")
    result = f"{sum(s.value for s in events):,.0f} events since the server's start, {lost:.0f} lost"
    return judged("Audit", result, fault=bool(lost), remedy="the disk or the webhook that takes them; the server's log")


def _subjects(binding: JSONObject, names: Sequence[str]) -> list[str]:
    return [subject["name"] for subject in binding.get("subjects") or () if subject["name"] in names]
