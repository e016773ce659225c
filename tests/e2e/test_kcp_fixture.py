"""A server started with the command line of kcp's own test fixture, and what its framework looks for there.

Source: kcp sdk/testing/server/{config,fixture,ready}.go, sdk/testing/workspaces.go, test/e2e/framework/util.go.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from tests.e2e.processes import Kubectl, Process, free_port

from kcp.apiserver import pki_issue

pytestmark = pytest.mark.e2e

GATES = (
    "CacheAPIs=true,DRAExtendedResource=false,EnableDeprecatedAPIExportVirtualWorkspacesUrls=true,SizeBasedListCostEstimate=false,"
    "UnknownVersionInteroperabilityProxy=false,WatchCacheInitializationPostStartHook=false,WorkspaceAuthentication=true,WorkspaceMounts=true"
)
TOKENS = 'user-1-token,user-1,1111-1111-1111-1111,"team-1"\nadmin-token,admin,5555-5555-5555-5555,"system:masters"\n'


def arguments(data: Path, certificates: Path, port: int) -> list[str]:
    """As the fixture puts them together."""
    made = certificates / "requestheader-ca.crt"
    return [
        "--root-directory", str(data), f"--secure-port={port}",
        "--embedded-etcd-client-port=1", "--embedded-etcd-peer-port=2", "--embedded-etcd-wal-size-bytes=5000",
        f"--kubeconfig-path={data}/admin.kubeconfig", "--audit-log-path", str(data / "kcp.audit"), "--v=4",
        f"--feature-gates={GATES}", "--bind-address=127.0.0.1", "--token-auth-file", str(certificates / "auth-tokens.csv"),
        "--audit-policy-file", str(certificates / "audit-policy.yaml"), "--client-ca-file", str(certificates / "client-ca.crt"),
        "--requestheader-client-ca-file", str(made), "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-allowed-names=kcp-mounts-proxy",
        "--mount-proxy-client-cert-file", str(certificates / "mounts-proxy.crt"),
        "--mount-proxy-client-key-file", str(certificates / "mounts-proxy.key"),
        "--mount-proxy-server-ca-file", str(data / "apiserver.crt"),
    ]  # fmt: skip


def write_certificates(directory: Path) -> None:
    now, lifetime = datetime.now(UTC), timedelta(days=1)
    for name in ("client-ca", "requestheader-ca"):
        issued = pki_issue.authority(f"kcp-{name}", now=now, lifetime=lifetime)
        (directory / f"{name}.crt").write_bytes(issued.certificate)
        (directory / f"{name}.key").write_bytes(issued.key)
    signers = {"mounts-proxy": ("requestheader-ca", "kcp-mounts-proxy"), "user": ("client-ca", "cert-user")}
    for name, (signer, user) in signers.items():
        authority = tuple((directory / f"{signer}.{end}").read_bytes() for end in ("crt", "key"))
        issued = pki_issue.client((authority[0], authority[1]), user, ("team-2",), now=now, lifetime=lifetime)
        (directory / f"{name}.crt").write_bytes(issued.certificate)
        (directory / f"{name}.key").write_bytes(issued.key)
    (directory / "auth-tokens.csv").write_text(TOKENS)
    policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}
    (directory / "audit-policy.yaml").write_text(yaml.safe_dump(policy))


def test_kcp_s_test_framework_finds_what_it_looks_for(tmp_path: Path) -> None:
    data, certificates, port = tmp_path / "data", tmp_path / "certificates", free_port()
    certificates.mkdir()
    write_certificates(certificates)
    process = Process.start(["kcp", "start", *arguments(data, certificates, port)], cwd=tmp_path)
    try:
        process.wait_for_line("kcp is ready")
        assert "without effect" in process.output
        kubectl = Kubectl(data / "admin.kubeconfig", tmp_path)
        for probe in ("/livez", "/readyz"):
            assert kubectl.run("--context", "shard-base", "get", "--raw", probe).stdout == "ok"
        for context, user in (("base", "kcp-admin"), ("root", "kcp-admin"), ("shard-base", "shard-admin"), ("system:admin", "shard-admin")):
            found = kubectl.run("config", "view", "-o", f'jsonpath={{.contexts[?(@.name=="{context}")].context.user}}').stdout
            assert found == user
        workspace = {
            "apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"generateName": "e2e-workspace-"},
            "spec": {"type": {"name": "universal", "path": "root"}, "location": {"selector": {"matchLabels": {"name": "root"}}}},
        }  # fmt: skip
        name = kubectl.run("create", "-f", "-", "-o", "name", stdin=yaml.safe_dump(workspace)).stdout.strip()
        kubectl.run("wait", "--for=jsonpath={.status.phase}=Ready", name, "--timeout=20s")
        shown = kubectl.run("get", name, "-o", r"jsonpath={.metadata.annotations.internal\.tenancy\.kcp\.io/shard}").stdout
        assert shown == "1pfxsevk"
        server = f"--server=https://127.0.0.1:{port}/clusters/root"
        ca = f"--certificate-authority={data}/apiserver.crt"
        stranger = Kubectl(tmp_path / "none", tmp_path, (server, ca))
        assert "team-1" in stranger.run("--token=user-1-token", "auth", "whoami").stdout
        pair = (f"--client-certificate={certificates}/user.crt", f"--client-key={certificates}/user.key")
        assert "cert-user" in stranger.run(*pair, "auth", "whoami").stdout
        assert "apiserver_request_total" in kubectl.run("--context", "shard-base", "get", "--raw", "/metrics").stdout
        assert "clustercachedresources" in kubectl.run("api-resources", "--api-group=cache.kcp.io", "-o", "name").stdout
        assert (data / "kcp.audit").stat().st_size > 0
    finally:
        process.stop()
