"""An authorizer outside, at different places among the others.

Source: kcp test/e2e/authorizer/{webhook,authorizationorder}_test.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from tests.behaviour.access.front import Front, front

from kcp.aio.clock import SystemClock
from kcp.apiserver.pki import PKI
from kcp.apiserver.serving import ServingConfig, TLSFiles, serve
from kcp.client.kubeconfig import KubeConfigError
from kcp.server.accessoptions import AuthorizationOptions

WORKSPACES = "/clusters/root/apis/tenancy.kcp.io/v1alpha1/workspaces"
CONFIG_MAPS = "/clusters/root/api/v1/namespaces/default/configmaps"


class Outside:
    """Says to everything what it is told to say; knows its caller by a client certificate."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = {"allowed": True}
        self.asked: list[dict[str, Any]] = []
        self.callers: set[str] = set()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.asked.append(orjson.loads(body)["spec"])
        self.callers.add(scope["extensions"]["tls"]["peer_subject"]["CN"][0])
        answer = orjson.dumps({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "status": self.status})
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": answer})


@asynccontextmanager
async def outside(directory: Path) -> AsyncIterator[tuple[Outside, Path]]:
    """The service, and the kubeconfig that leads to it."""
    clock, made = SystemClock(), Outside()
    pki = PKI.ensure(directory, clock=clock)
    caller = pki.ensure_client("caller", "kcp")
    tls = TLSFiles(certificate=pki.serving.certificate, key=pki.serving.key, client_ca=pki.client_ca.certificate)
    async with await serve(made.app, ServingConfig(port=0, tls=tls), clock=clock) as handle:
        file = directory / "webhook.kubeconfig"
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "webhook",
            "clusters": [{"name": "webhook", "cluster": {
                "server": f"{handle.url}/authorize", "certificate-authority": str(pki.ca.certificate)}}],
            "users": [{"name": "kcp", "user": {"client-certificate": str(caller.certificate), "client-key": str(caller.key)}}],
            "contexts": [{"name": "webhook", "context": {"cluster": "webhook", "user": "kcp"}}],
        }  # fmt: skip
        file.write_text(yaml.safe_dump(config))
        yield made, file


def options(file: Path, order: str = "") -> AuthorizationOptions:
    made = AuthorizationOptions(webhook_config_file=file, webhook_version="v1", webhook_authorized_ttl_s=0, webhook_unauthorized_ttl_s=0)
    return made if not order else AuthorizationOptions(**{name: getattr(made, name) for name in _COPIED}, order=tuple(order.split(",")))


_COPIED = ("webhook_config_file", "webhook_version", "webhook_authorized_ttl_s", "webhook_unauthorized_ttl_s")


async def seen(door: Front) -> dict[str, int]:
    """How far the administrator and a stranger get."""
    admin = door.server.admin.kcp_admin_token
    return {
        "workspaces": await door.status(WORKSPACES, token=admin),
        "config maps": await door.status(CONFIG_MAPS, token=admin),
        "health of strangers": await door.status("/readyz"),
        "strangers": await door.status(CONFIG_MAPS),
        "privileged": await door.status(CONFIG_MAPS, token=door.server.admin.shard_admin_token),
    }


ALLOW, DENY, SILENT = {"allowed": True}, {"allowed": False, "denied": True, "reason": "because"}, {"allowed": False}
BEFORE_ROLES = "AlwaysAllowGroups,AlwaysAllowPaths,Webhook,RBAC"
FIRST = "Webhook,AlwaysAllowGroups,AlwaysAllowPaths,RBAC"


@pytest.mark.parametrize(
    ("order", "says", "expected"),
    [
        ("", DENY, (200, 200, 200, 403, 200)),
        ("", ALLOW, (200, 200, 200, 200, 200)),
        (BEFORE_ROLES, ALLOW, (200, 200, 200, 200, 200)),
        (BEFORE_ROLES, DENY, (403, 403, 200, 403, 200)),
        (BEFORE_ROLES, SILENT, (200, 200, 200, 403, 200)),
        (FIRST, DENY, (403, 403, 403, 403, 200)),
        (FIRST, ALLOW, (200, 200, 200, 200, 200)),
    ],
)
async def test_the_first_that_allows_or_denies_counts(tmp_path: Path, order: str, says: dict[str, Any], expected: tuple[int, ...]) -> None:
    async with outside(tmp_path) as (service, file), front(tmp_path, authorization=options(file, order)) as door:
        service.status = says
        assert tuple((await seen(door)).values()) == expected


async def test_it_is_told_the_cluster_and_proved_who_asks(tmp_path: Path) -> None:
    async with outside(tmp_path) as (service, file), front(tmp_path, authorization=options(file, FIRST)) as door:
        service.asked.clear()
        service.status = DENY
        answer = await door.send(CONFIG_MAPS, token=door.server.admin.kcp_admin_token)
        assert orjson.loads(answer.body)["message"].endswith('in the namespace "default": because')
        asked = service.asked[-1]
        assert asked["user"] == "kcp-admin"
        assert asked["extra"]["authorization.kcp.io/cluster-name"] == ["root"]
        assert asked["resourceAttributes"] == {"namespace": "default", "verb": "list", "version": "v1", "resource": "configmaps"}
        assert service.callers == {"kcp"}


async def test_without_it_the_others_decide(tmp_path: Path) -> None:
    async with outside(tmp_path) as (_, file):
        pass
    async with front(tmp_path, authorization=options(file, FIRST)) as door:
        assert tuple((await seen(door)).values()) == (200, 200, 200, 403, 200)


async def test_a_kubeconfig_that_leads_nowhere_keeps_the_server_from_starting(tmp_path: Path) -> None:
    file = tmp_path / "webhook.kubeconfig"
    file.write_text("apiVersion: v1\nkind: Config\n")
    with pytest.raises(KubeConfigError, match=r"webhook\.kubeconfig has no current-context"):
        async with front(tmp_path, authorization=options(file)):
            pass


async def test_paths_can_be_opened_and_closed(tmp_path: Path) -> None:
    async with front(tmp_path, authorization=AuthorizationOptions(always_allow_paths=("metrics", "/livez"))) as door:
        assert await door.status("/metrics") == 200
        assert await door.status("/livez") == 200
        assert await door.status("/readyz") == 403


def test_an_order_must_make_sense() -> None:
    assert AuthorizationOptions(order=("RBAC", "Node")).problems()[0].startswith("--authorization-order: unknown Node; choose of")
    assert AuthorizationOptions(order=("RBAC", "RBAC")).problems() == ["--authorization-order=RBAC,RBAC: each at most once"]
    assert AuthorizationOptions(order=()).problems() == ["--authorization-order: at least one authorizer is needed"]
    assert AuthorizationOptions(webhook_version="v2").problems() == ["--authorization-webhook-version=v2: choose of v1, v1beta1"]
