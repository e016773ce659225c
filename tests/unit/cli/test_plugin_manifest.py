"""The manifest of a syncer: what it names, what it may do, and how the program in it is started."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kcp.cli.plugin_manifest import Manifest, objects, syncer_roles

NAME = "kcp-syncer-east-1a2b3c4d"
MANIFEST = Manifest(
    target="east", uid="u", cluster="root:work", account=NAME, namespace=NAME, kcp_namespace="default", server="https://kcp:6443",
    ca_pem=b"", token="t", insecure=False, image="ghcr.io/me/kcp:1", replicas=1, resources=("queues.demo.io",),
    permitted=frozenset({("apps", "deployments")}), qps=20, burst=30, feature_gates="", api_import_poll_interval_s=60,
    namespace_clean_delay_s=30, upsync_resources=("pods",),
)  # fmt: skip


def container(manifest: Manifest) -> dict[str, Any]:
    deployment = next(obj for obj in objects(manifest) if obj["kind"] == "Deployment")
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


def test_everything_is_named_after_the_account() -> None:
    named = {(obj["kind"], obj["metadata"]["name"]) for obj in objects(MANIFEST)}
    assert named == {
        ("Namespace", NAME), ("ServiceAccount", NAME), ("Secret", f"{NAME}-token"), ("Secret", NAME), ("ClusterRole", NAME),
        ("ClusterRoleBinding", NAME), ("Role", "kcp-dns-east-1a2b3c4d"), ("RoleBinding", "kcp-dns-east-1a2b3c4d"), ("Deployment", NAME),
    }  # fmt: skip


@pytest.mark.parametrize("resource", ["pods", "persistentvolumes", "nodes", "endpoints"])
def test_it_may_read_what_it_shows(resource: str) -> None:
    role = next(obj for obj in objects(MANIFEST) if obj["kind"] == "ClusterRole")
    assert any(resource in rule["resources"] and {"get", "list", "watch"} <= set(rule["verbs"]) for rule in role["rules"])


def test_it_may_tell_kcp_which_apis_there_are() -> None:
    role, _ = syncer_roles({"name": NAME}, "east", "default")
    assert {"apiGroups": ["apiresource.kcp.io"], "resources": ["apiresourceimports"], "verbs": ["*"]} in role["rules"]


def test_our_own_syncer_is_told_what_to_show() -> None:
    shown = container(MANIFEST)
    assert shown["command"] == ["workload-syncer"]
    assert {"--resources=queues.demo.io", "--upsync-resources=pods", "--sync-target-uid=u"} <= set(shown["args"])


def test_the_image_of_kcp_0_11_is_started_by_its_own_name_and_flags() -> None:
    image = "ghcr.io/kcp-dev/kcp/syncer:v0.11.0"
    shown = container(replace(MANIFEST, image=image))
    assert shown["command"] == ["/ko-app/syncer"]
    assert f"--dns-image={image}" in shown["args"]
    assert not any("upsync" in argument for argument in shown["args"])
