"""OpenAPI documents of discovery itself: `/api/`, `/apis/`, `/apis/<group>/` and `/version/`, beside those of group versions.

Before: `openapi`. After: nothing. Source: k8s.io/apiserver/pkg/endpoints/discovery/{legacy,root,group}.go, pkg/server/routes/version.go;
kcp test/e2e/virtual/apiexport/openapi_test.go looks for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.openapi_paths import META, identifier, response

_FORMS = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")


@dataclass(frozen=True, slots=True)
class Described:
    """One URL that is only read."""

    tag: str
    operation: str
    says: str
    component: str
    """Name of the schema of the answer."""
    forms: tuple[str, ...] = _FORMS

    def paths(self, path: str) -> JSONObject:
        operation = {
            "tags": [self.tag],
            "description": self.says,
            "operationId": self.operation,
            "responses": response(self.forms, self.component),
        }
        return {f"/{path}/": {"get": operation}}


_ROOTS = {
    "api": Described("core", "getCoreAPIVersions", "get available API versions", META + "APIVersions"),
    "apis": Described("apis", "getAPIVersions", "get available API versions", META + "APIGroupList"),
    "version": Described(
        "version", "getCodeVersion", "get the version information for this server", "io.k8s.apimachinery.pkg.version.Info", _FORMS[:1]
    ),
}


def described(groups: Iterable[str]) -> dict[str, Described]:
    """Documents by path.

    >>> found = described(["apps", ""])
    >>> sorted(found), found["apis/apps"].operation
    (['api', 'apis', 'apis/apps', 'version'], 'getAppsAPIGroup')
    """
    return _ROOTS | {f"apis/{group}": _group(group) for group in groups if group}


def _group(group: str) -> Described:
    short = group.removesuffix(".k8s.io")
    return Described(identifier(short), f"get{identifier(short, upper=True)}APIGroup", "get information of a group", META + "APIGroup")
