"""Users of an OpenID Connect issuer with the real kubectl: of the whole server, and of one workspace.

Aspects: the configuration file and what it says wrong, a token in kubectl's hands, its workspace's own issuer, reading metrics by role.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.e2e.fleet import Fleet
from tests.e2e.processes import Kubectl, eventually
from tests.issuer import Issuer, https_issuer

pytestmark = pytest.mark.e2e


class Running:
    """An issuer in a thread of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with https_issuer(self._directory) as self.issuer:
            self._is_up.set()
            await self._end.wait()

    def __enter__(self) -> Issuer:
        self._thread.start()
        assert self._is_up.wait(10)
        return self.issuer

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


def configuration(issuer: Issuer, **more: object) -> str:
    document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [issuer.config(**more)]}
    return yaml.safe_dump(document)


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    with Running(tmp_path / "issuer") as made:
        yield made


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Issuer]:
    with Running(tmp_path / "own") as made:
        yield made


@pytest.fixture
def fleet(tmp_path: Path, issuer: Issuer) -> Iterator[Fleet]:
    (tmp_path / "authn.yaml").write_text(configuration(issuer))
    made = Fleet(tmp_path, kcp_flags=(
        "--authentication-config=authn.yaml", "--anonymous-auth=false", "--feature-gates=WorkspaceAuthentication=true",
    ))  # fmt: skip
    try:
        made.start_kcp()
        yield made
    finally:
        made.stop()


def test_a_user_of_the_issuer_works_with_kubectl_where_roles_allow(fleet: Fleet, issuer: Issuer) -> None:
    admin, token = fleet.at("root"), f"--token={issuer.token(sub='ann', groups=['devs'])}"
    review = "/clusters/root/apis/authentication.k8s.io/v1/selfsubjectreviews"
    whoami = json.loads(admin(token, "create", "--raw", review, "-f", "-", stdin="{}"))["status"]["userInfo"]
    assert (whoami["username"], whoami["groups"]) == ("oidc:ann", ["oidc:devs", "system:authenticated"])
    refused = admin.run(token, "get", "configmaps", check=False)
    assert 'User "oidc:ann" cannot list resource "configmaps"' in refused.stderr
    admin("create", "clusterrolebinding", "devs", "--clusterrole=view", "--group=oidc:devs")
    admin(token, "get", "configmaps")
    bad = admin.run("--token=rubbish", "get", "configmaps", check=False)
    assert "Unauthorized" in bad.stderr or "must be logged in" in bad.stderr


def test_a_workspace_trusts_an_issuer_of_its_own(fleet: Fleet, own: Issuer) -> None:
    root = fleet.at("root")
    kinds = [
        {"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "WorkspaceAuthenticationConfiguration", "metadata": {"name": "partners"},
         "spec": {"jwt": [own.config()]}},
        {"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "WorkspaceType", "metadata": {"name": "shared"},
         "spec": {"authenticationConfigurations": [{"name": "partners"}], "extend": {"with": [{"name": "universal", "path": "root"}]}}},
    ]  # fmt: skip
    root("apply", "-f", "-", stdin=yaml.safe_dump_all(kinds))
    fleet.kubectl("create", "workspace", "joint", "--type=root:shared")
    joint, token = fleet.at("root:joint"), f"--token={own.token(sub='partner')}"
    joint("create", "clusterrolebinding", "partner", "--clusterrole=cluster-admin", "--user=oidc:partner")
    eventually(lambda: joint.run(token, "get", "configmaps", check=False).returncode == 0, timeout_s=20, what=lambda: "the partner inside")
    joint(token, "create", "configmap", "theirs", "-n", "default")
    assert root.run(token, "get", "configmaps", check=False).returncode != 0


def test_metrics_are_read_by_a_role_in_root(fleet: Fleet, issuer: Issuer) -> None:
    root = fleet.at("root")
    base = Kubectl(root.kubeconfig, root.cwd, ("--server", fleet.url))
    token = f"--token={issuer.token(sub='scraper')}"
    assert "Forbidden" in base.run(token, "get", "--raw", "/metrics", check=False).stderr
    root("create", "clusterrolebinding", "scraper", "--clusterrole=system:kcp:metrics-reader", "--user=oidc:scraper")
    eventually(
        lambda: "apiserver_" in base.run(token, "get", "--raw", "/metrics", check=False).stdout, timeout_s=10, what=lambda: "metrics"
    )


def test_a_configuration_with_faults_names_them(tmp_path: Path) -> None:
    (tmp_path / "authn.yaml").write_text(configuration(Issuer("http://issuer.test")))
    made = Fleet(tmp_path, kcp_flags=("--authentication-config=authn.yaml",))
    try:
        with pytest.raises(AssertionError, match=r"jwt\[0\].issuer.url: Invalid value: .*URL scheme must be https"):
            made.start_kcp()
    finally:
        made.stop()
