"""kubeconfig files: reading, merging, writing, and errors that say what to do."""

import base64
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from kcp.client import kubeconfig
from kcp.client.kubeconfig import KubeConfigError


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def document(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "root",
        "clusters": [{"name": "c", "cluster": {"server": "https://host:6443/clusters/root", "certificate-authority-data": encoded("CA")}}],
        "users": [{"name": "u", "user": {"client-certificate-data": encoded("CERT"), "client-key-data": encoded("KEY")}}],
        "contexts": [
            {"name": "root", "context": {"cluster": "c", "user": "u", "namespace": "ns"}},
            {"name": "broken", "context": {"cluster": "gone", "user": "u"}},
            {"name": "nobody", "context": {"cluster": "c", "user": "gone"}},
        ],
    }
    return {**made, **changes}


def written(directory: Path, content: Any) -> Path:
    path = directory / "config"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_entry_of_the_current_context(tmp_path: Path) -> None:
    entry = kubeconfig.load(written(tmp_path, document()))
    assert (entry.context, entry.cluster, entry.user, entry.namespace) == ("root", "c", "u", "ns")
    assert (entry.endpoint.ca_pem, entry.endpoint.cert_pem, entry.endpoint.key_pem) == (b"CA", b"CERT", b"KEY")
    assert (entry.endpoint.root_url, entry.endpoint.base_path) == ("https://host:6443", "/clusters/root")
    assert entry.connect().base_path == "/clusters/root"
    assert "KEY" not in repr(entry)


def test_files_are_found_beside_the_kubeconfig(tmp_path: Path) -> None:
    for name in ("ca.crt", "c.crt", "c.key"):
        (tmp_path / name).write_text(name)
    content = document(
        clusters=[{"name": "c", "cluster": {"server": "https://h", "certificate-authority": "ca.crt"}}],
        users=[{"name": "u", "user": {"client-certificate": "c.crt", "client-key": "c.key", "tokenFile": "token"}}],
    )
    endpoint = kubeconfig.load(written(tmp_path, content)).endpoint
    assert (endpoint.ca_pem, endpoint.cert_pem, endpoint.key_pem) == (b"ca.crt", b"c.crt", b"c.key")
    assert endpoint.token_file == str(tmp_path / "token")


@pytest.mark.parametrize(
    ("content", "context", "expected"),
    [
        ("a: [", "", "not valid YAML"),
        ("- a", "", "not a kubeconfig"),
        ({"kind": "Pod"}, "", "not a kubeconfig"),
        ("", "", r"no current-context; choose one of: \(none\)"),
        (document(), "other", 'no context "other"; it has: broken, nobody, root'),
        (document(), "broken", 'names cluster "gone"'),
        (document(), "nobody", 'names user "gone"'),
        (document(clusters=[{"name": "c", "cluster": {"server": "host:6443"}}]), "", "not an http"),
        (document(clusters=[{"name": "c", "cluster": {"server": "https://h", "certificate-authority-data": "%"}}]), "", "not base64"),
        (
            document(clusters=[{"name": "c", "cluster": {"server": "https://h", "certificate-authority": "no.crt"}}]),
            "",
            "cannot read .*no.crt",
        ),
        (document(users=[{"name": "u", "user": {"client-certificate-data": encoded("x")}}]), "", "must be given together"),
        (document(users=[{"name": "u", "user": {"auth-provider": {"name": "gcp"}}}]), "", "auth-provider is not supported"),
        (document(users=[{"name": "u", "user": {"exec": {"args": []}}}]), "", "names no command"),
    ],
)
def test_faults_name_the_file_and_the_remedy(tmp_path: Path, content: Any, context: str, expected: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(KubeConfigError, match=expected) as caught:
        kubeconfig.load(path, context)
    assert str(path) in str(caught.value) or str(tmp_path) in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KubeConfigError, match=r"nothere does not exist"):
        kubeconfig.load(tmp_path / "nothere")


def test_merged_files_keep_the_first_of_a_name_and_skip_missing_ones(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    first = written(tmp_path / "one", document(users=[{"name": "u", "user": {"tokenFile": "t"}}]))
    second = tmp_path / "second"
    second.write_text(yaml.safe_dump(document(users=[{"name": "u", "user": {"token": "x"}}, {"name": "v", "user": {"token": "y"}}])))
    merged, target = kubeconfig.read_merged([tmp_path / "missing", first, second])
    assert target == first
    assert kubeconfig.find(merged, "users", "u") == {"tokenFile": str(tmp_path / "one" / "t")}
    assert kubeconfig.find(merged, "users", "v") == {"token": "y"}
    assert kubeconfig.find(merged, "users", "w") is None


def test_saved_file_reads_back_and_is_private(tmp_path: Path) -> None:
    content = kubeconfig.empty()
    kubeconfig.put(content, "clusters", "c", {"server": "https://h"})
    kubeconfig.put(content, "clusters", "c", {"server": "https://new"})
    kubeconfig.put(content, "users", "u", {"token": "secret"})
    kubeconfig.put(content, "contexts", "x", {"cluster": "c", "user": "u"})
    content["current-context"] = "x"
    path = tmp_path / "deep" / "admin.kubeconfig"
    kubeconfig.save(path, content)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert kubeconfig.load(path).endpoint.server == "https://new"
    assert [p.name for p in path.parent.iterdir()] == ["admin.kubeconfig"]


def test_in_cluster_endpoint(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("CA")
    endpoint = kubeconfig.in_cluster("fd00::1", "443", directory=tmp_path)
    assert (endpoint.server, endpoint.ca_pem, endpoint.token_file) == ("https://[fd00::1]:443", b"CA", str(tmp_path / "token"))
    with pytest.raises(KubeConfigError, match="not in a Pod"):
        kubeconfig.in_cluster("", "", directory=tmp_path)
