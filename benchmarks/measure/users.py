"""Users without privileges, so that what is measured includes the evaluation of RBAC objects of the workspace."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from measure.plain import Plain

USER, USER_TOKEN = "alice", secrets.token_urlsafe(24)
ACCOUNT = "loader"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"


@dataclass(frozen=True)
class Caller:
    name: str
    token: str


def tokens_file(directory: Path) -> Path:
    """For --token-auth-file: a user of no group but system:authenticated."""
    path = directory / "tokens.csv"
    path.write_text(f"{USER_TOKEN},{USER},1\n")
    return path


def admit(admin: Plain, workspace: str, namespaces: tuple[str, ...]) -> str:
    """Let the user into a workspace and, by a Role in each namespace, at its ConfigMaps.

    Returns: the token of a service account with the same rights.
    """
    subjects = [
        {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": USER},
        {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": "default"},
    ]
    admin.json("POST", f"{workspace}{_RBAC}/clusterrolebindings", _binding("enter", "ClusterRole", "system:kcp:workspace:access", subjects))
    for namespace in namespaces:
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch", "create", "patch"]}]
        admin.json("POST", f"{workspace}{_RBAC}/namespaces/{namespace}/roles", {"metadata": {"name": "loader"}, "rules": rules})
        admin.json("POST", f"{workspace}{_RBAC}/namespaces/{namespace}/rolebindings", _binding("loader", "Role", "loader", subjects))
    accounts = f"{workspace}/api/v1/namespaces/default/serviceaccounts"
    admin.json("POST", accounts, {"metadata": {"name": ACCOUNT}})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    return str(admin.json("POST", f"{accounts}/{ACCOUNT}/token", request)["status"]["token"])


def _binding(name: str, kind: str, role: str, subjects: list[dict[str, str]]) -> dict[str, object]:
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": subjects,
    }
