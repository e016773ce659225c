"""Users without privileges, so that what is measured includes the evaluation of RBAC objects of the workspace."""

from __future__ import annotations

import secrets
from pathlib import Path

from measure.plain import Plain

USER, USER_TOKEN = "alice", secrets.token_urlsafe(24)
_RBAC = "/apis/rbac.authorization.k8s.io/v1"


def tokens_file(directory: Path) -> Path:
    """For --token-auth-file: a user of no group but system:authenticated."""
    path = directory / "tokens.csv"
    path.write_text(f"{USER_TOKEN},{USER},1\n")
    return path


def admit(admin: Plain, workspace: str, namespaces: tuple[str, ...]) -> None:
    """Let the user into a workspace and, by a Role in each namespace, at its ConfigMaps."""
    subjects = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": USER}]
    admin.json("POST", f"{workspace}{_RBAC}/clusterrolebindings", _binding("enter", "ClusterRole", "system:kcp:workspace:access", subjects))
    for namespace in namespaces:
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch", "create", "patch"]}]
        admin.json("POST", f"{workspace}{_RBAC}/namespaces/{namespace}/roles", {"metadata": {"name": "loader"}, "rules": rules})
        admin.json("POST", f"{workspace}{_RBAC}/namespaces/{namespace}/rolebindings", _binding("loader", "Role", "loader", subjects))


def _binding(name: str, kind: str, role: str, subjects: list[dict[str, str]]) -> dict[str, object]:
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": subjects,
    }
