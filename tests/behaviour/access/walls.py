"""A workspace that nobody of those who stand before it may enter, every form of URL that leads there, and every question.

Each place has a like that leads nowhere: what is asked there must be answered the same but for the spelling.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson
from tests.behaviour.exports.market import CONFIG_MAPS, Market, config_map, named

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.client.inprocess import AsgiTransport
from kcp.client.transport import RawRequest
from kcp.registry.backend import UserInfo
from kcp.server.compose import KcpServer
from kcp.tenancy.kinds import LOGICAL_CLUSTERS

SECRET = "walled-off-content"
CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")


@dataclass(frozen=True)
class Question:
    method: str
    path: str
    """`{at}` is where it asks: /clusters/<path>, or a virtual workspace of it."""
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


_PARTLY = {"accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
_TABLE = {"accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}
_AGGREGATED = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
_BINDING = {
    "apiVersion": "apis.kcp.io/v1alpha2",
    "kind": "APIBinding",
    "metadata": {"name": "b"},
    "spec": {"reference": {"export": {"path": "root:provider", "name": "widgets"}}},
}
_SPEC = {"resourceAttributes": {"verb": "get", "resource": "configmaps", "namespace": "default", "name": "hidden"}}
_POD_SPEC = {"user": "owner", **_SPEC}
QUESTIONS = {
    "get": Question("GET", "{at}/api/v1/namespaces/default/configmaps/hidden"),
    "get what is not there": Question("GET", "{at}/api/v1/namespaces/default/configmaps/absent"),
    "list": Question("GET", "{at}/api/v1/namespaces/default/configmaps"),
    "list everywhere": Question("GET", "{at}/api/v1/configmaps"),
    "watch": Question("GET", "{at}/api/v1/configmaps?watch=true&timeoutSeconds=1"),
    "old watch": Question("GET", "{at}/api/v1/watch/configmaps"),
    "head": Question("HEAD", "{at}/api/v1/namespaces/default/configmaps/hidden"),
    "status": Question("GET", "{at}/apis/core.kcp.io/v1alpha1/logicalclusters/cluster/status"),
    "logical cluster": Question("GET", "{at}/apis/core.kcp.io/v1alpha1/logicalclusters/cluster"),
    "children": Question("GET", "{at}/apis/tenancy.kcp.io/v1alpha1/workspaces"),
    "home": Question("GET", "{at}/apis/tenancy.kcp.io/v1alpha1/workspaces/~"),
    "custom objects": Question("GET", "{at}/apis/guarded.example.com/v1/secrets"),
    "unknown kind": Question("GET", "{at}/apis/none.example.com/v1/things"),
    "exports": Question("GET", "{at}/apis/apis.kcp.io/v1alpha2/apiexports"),
    "names only": Question("GET", "{at}/api/v1/configmaps", headers=_PARTLY),
    "table": Question("GET", "{at}/api/v1/configmaps", headers=_TABLE),
    "one page": Question("GET", "{at}/api/v1/configmaps?limit=1"),
    "by field": Question("GET", "{at}/api/v1/configmaps?fieldSelector=metadata.name%3Dhidden"),
    "watch from the start": Question(
        "GET", "{at}/api/v1/configmaps?watch=true&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"),
    "log": Question("GET", "{at}/api/v1/namespaces/default/pods/hidden/log"),
    "exec": Question("POST", "{at}/api/v1/namespaces/default/pods/hidden/exec?command=ls", {}),
    "proxy": Question("GET", "{at}/api/v1/namespaces/default/services/hidden/proxy/x"),
    "scale": Question("GET", "{at}/apis/apps/v1/namespaces/default/deployments/hidden/scale"),
    "namespaces": Question("GET", "{at}/api/v1/namespaces"),
    "roles": Question("GET", "{at}/apis/rbac.authorization.k8s.io/v1/clusterroles"),
    "become its administrator": Question("POST", "{at}/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
        "metadata": {"name": "mine"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}]}),
    "bind an export there": Question("POST", "{at}/apis/apis.kcp.io/v1alpha2/apibindings", _BINDING),
    "bindings": Question("GET", "{at}/apis/apis.kcp.io/v1alpha2/apibindings"),
    "certificate": Question("GET", "{at}/apis/certificates.k8s.io/v1/certificatesigningrequests"),
    "all groups": Question("GET", "{at}/apis", headers=_AGGREGATED),
    "keys of accounts": Question("GET", "{at}/openid/v1/jwks"),
    "create": Question("POST", "{at}/api/v1/namespaces/default/configmaps", config_map("new")),
    "update": Question("PUT", "{at}/api/v1/namespaces/default/configmaps/hidden", config_map("hidden")),
    "patch": Question("PATCH", "{at}/api/v1/namespaces/default/configmaps/hidden", {"data": {"a": "b"}}),
    "apply": Question("PATCH", "{at}/api/v1/namespaces/default/configmaps/hidden?fieldManager=x&force=true", config_map("hidden")),
    "delete": Question("DELETE", "{at}/api/v1/namespaces/default/configmaps/hidden"),
    "delete all": Question("DELETE", "{at}/api/v1/namespaces/default/configmaps"),
    "dry run": Question("POST", "{at}/api/v1/namespaces/default/configmaps?dryRun=All", config_map("new")),
    "token": Question("POST", "{at}/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {}}),
    "api": Question("GET", "{at}/api"),
    "groups": Question("GET", "{at}/apis"),
    "resources": Question("GET", "{at}/apis/guarded.example.com/v1"),
    "core resources": Question("GET", "{at}/api/v1"),
    "openapi": Question("GET", "{at}/openapi/v2"),
    "openapi 3": Question("GET", "{at}/openapi/v3"),
    "openapi of a group": Question("GET", "{at}/openapi/v3/apis/guarded.example.com/v1"),
    "paths": Question("GET", "{at}/"),
    "metrics": Question("GET", "{at}/metrics"),
    "no such path": Question("GET", "{at}/nothing/here"),
    "version": Question("GET", "{at}/version"),
    "health": Question("GET", "{at}/healthz"),
    "may I": Question("POST", "{at}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": _SPEC}),
    "may another": Question("POST", "{at}/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": _POD_SPEC}),
    "may another here": Question("POST", "{at}/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews", {"spec": _POD_SPEC}),
    "my rules": Question("POST", "{at}/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}),
    "who am I": Question("POST", "{at}/apis/authentication.k8s.io/v1/selfsubjectreviews", {}),
    "whose token": Question("POST", "{at}/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "x"}}),
}  # fmt: skip
MALFORMED = "malformed path"
REFUSED = (401, 403, 404)
OPEN = frozenset(("version", "health"))
"""Answered to everybody, about the server and nothing else."""


@dataclass(frozen=True)
class Subject:
    user: UserInfo | None
    """None: whoever the headers and the connection prove."""
    headers: Mapping[str, str] = field(default_factory=dict)
    connection: Mapping[str, Any] = field(default_factory=dict)
    """What a client certificate proves, as the server's protocol tells it."""
    may_know: bool = False
    """Refused all the same, but entitled to learn what there is."""


@dataclass
class Walls:
    """A workspace with content, a child and an export of its own; and who stands before it."""

    server: KcpServer
    inside: ClusterName
    places: dict[str, tuple[str, str]]
    """(where it is, the like where nothing is) by form of URL."""
    subjects: dict[str, Subject]


async def raised(market: Market, subjects: Callable[[ClusterName, ClusterName], dict[str, Subject]], *, kind: str = "universal") -> Walls:
    """Args: subjects: of (the cluster inside, another one); kind: type of the workspace, of root."""
    walled = await market.workspace("walled", kind)
    await walled.resource(CONFIG_MAPS).create({**config_map("hidden"), "data": {"k": SECRET}}, namespace="default")
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    names = {"plural": "secrets", "kind": "Secret", "singular": "secret", "listKind": "SecretList"}
    spec = {"group": "guarded.example.com", "names": names, "scope": "Cluster", "versions": [version]}
    await walled.resource(CRDS).create(named(CRDS, "CustomResourceDefinition", "secrets.guarded.example.com", spec))
    inside = ClusterName(meta.cluster(await walled.resource(LOGICAL_CLUSTERS).get("cluster")))
    other = ClusterName(meta.cluster(await (await market.workspace("other")).resource(LOGICAL_CLUSTERS).get("cluster")))
    await market.grant("other", "neighbour", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
    absent = "1" + "".join(reversed(inside[1:]))
    places = {
        "path": ("/clusters/root:walled", "/clusters/root:wanted"),
        "name": (f"/clusters/{inside}", f"/clusters/{absent}"),
        "child of a name": ("/clusters/root:walled:x", "/clusters/root:wanted:x"),
        "below a name": (f"/clusters/{inside}:x", f"/clusters/{absent}:x"),
        "export": (f"/services/apiexport/{inside}/walled/clusters/*", f"/services/apiexport/{absent}/walled/clusters/*"),
        "export by path": ("/services/apiexport/root:walled/walled/clusters/*", "/services/apiexport/root:wanted/walled/clusters/*"),
        "through an export": (
            f"/services/apiexport/{market.provider_name}/widgets/clusters/{inside}",
            f"/services/apiexport/{market.provider_name}/widgets/clusters/{absent}",
        ),
        "initializer": (
            f"/services/initializingworkspaces/root:universal/clusters/{inside}",
            f"/services/initializingworkspaces/root:universal/clusters/{absent}",
        ),
        "initializer of it": (
            "/services/initializingworkspaces/root:walled:type/clusters/*",
            "/services/initializingworkspaces/root:wanted:type/clusters/*",
        ),
        "terminator": (
            f"/services/terminatingworkspaces/root:universal/clusters/{inside}",
            f"/services/terminatingworkspaces/root:universal/clusters/{absent}",
        ),
        "encoded path": ("/clusters/root%3Awalled", "/clusters/root%3Awanted"),
        "one below the other": ("/clusters/root/clusters/walled", "/clusters/root/clusters/wanted"),
        "behind the server's own": ("/clusters/system:admin/clusters/root:walled", "/clusters/system:admin/clusters/root:wanted"),
        MALFORMED: ("/clusters/root:walled:..", "/clusters/root:wanted:.."),
        "home": ("/clusters/user:walled", "/clusters/user:wanted"),
        "wildcard": ("/clusters/*", "/clusters/*"),
        "nowhere": ("", ""),
        "system": ("/clusters/system:admin", "/clusters/system:admin"),
    }
    return Walls(market.server, inside, places, subjects(inside, other))


async def ask(server: KcpServer, subject: Subject, question: Question, at: str) -> tuple[int, str]:
    """Status and body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if subject.user is None:
            scope["extensions"] = {"tls": dict(subject.connection)}
        await server.app(scope, receive, send)

    transport = AsgiTransport(app, subject.user)
    media = "application/apply-patch+yaml" if "fieldManager" in question.path else "application/merge-patch+json"
    headers = {"content-type": media if question.method == "PATCH" else "application/json", **question.headers, **subject.headers}
    path, _, query = question.path.format(at=at).partition("?")
    body = b"" if question.body is None else orjson.dumps(question.body)
    response = await transport.request(RawRequest(question.method, path or "/", dict(parse_qsl(query)), headers, body))
    return response.status, response.body.decode()


def like(text: str, place: str) -> str:
    """An answer without what the question itself said."""
    words = sorted(set(re.split(r"[/:]", place)) - {"", "clusters", "services", "root", "x"}, key=len, reverse=True)
    for word in words:
        text = text.replace(word, "…")
    return text


async def leaks(walls: Walls, who: Subject) -> list[str]:
    """Asks every question everywhere, and names every answer that tells or allows something."""
    faults = []
    for form, (there, nowhere) in walls.places.items():
        for name, question in QUESTIONS.items():
            status, text = await ask(walls.server, who, question, there)
            other_status, other_text = await ask(walls.server, who, question, nowhere)
            what = f"{name} by {form}: {status} {text[:300]}"
            if SECRET in text or "guarded.example.com" in text.replace(question.path.format(at=there), "") and status < 300:
                faults.append(f"told {what}")
            if name not in OPEN and form != "nowhere" and status not in (REFUSED if form != MALFORMED else (400, *REFUSED)):
                faults.append(f"allowed {what}")
            if not who.may_know and (status, like(text, there)) != (other_status, like(other_text, nowhere)):
                faults.append(f"differs {what} <> {other_status} {other_text[:300]}")
    return faults
