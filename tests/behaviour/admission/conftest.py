"""A cluster in this process whose admission the tests configure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
import pytest

from kcp.aio.clock import VirtualClock
from kcp.apimachinery import conditions
from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.gvk import GVR
from kcp.client.rest import Client
from kcp.sim.cluster import SimCluster

REGISTRATION = "admissionregistration.k8s.io"
_PATHS = {
    "ConfigMap": ("/api/v1", "configmaps", True),
    "Namespace": ("/api/v1", "namespaces", False),
    "Deployment": ("/apis/apps/v1", "deployments", True),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", False),
    "Widget": ("/apis/example.com/v1", "widgets", True),
    **{
        kind: (f"/apis/{REGISTRATION}/v1", plural, False)
        for kind, plural in {
            "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
            "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
            "MutatingAdmissionPolicy": "mutatingadmissionpolicies",
            "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings",
            "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
            "MutatingWebhookConfiguration": "mutatingwebhookconfigurations",
        }.items()
    },
}


class Answer:
    """What one request came to, refusals included."""

    def __init__(self, status: int, body: dict[str, Any], warnings: str = "") -> None:
        self.status = status
        self.body = body
        self.warnings = warnings

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))

    @property
    def reason(self) -> str:
        return str(self.body.get("reason", ""))


class World:
    """Short words for writing objects and seeing what becomes of them."""

    def __init__(self, cluster: SimCluster, clock: VirtualClock) -> None:
        self.cluster = cluster
        self.clock = clock
        self.client: Client = cluster.client()

    def path(self, kind: str, name: str = "", *, namespace: str = "default", subresource: str = "") -> str:
        base, plural, is_namespaced = _PATHS[kind]
        where = f"{base}/namespaces/{namespace}/{plural}" if is_namespaced else f"{base}/{plural}"
        return "/".join(part for part in (where, name, subresource) if part)

    async def call(
        self, method: str, path: str, body: object = None, *, query: Mapping[str, str] | None = None, content: str = ""
    ) -> Answer:
        headers = {"content-type": content or "application/json"} if body is not None else {}
        try:
            response = await self.client.raw(method, path, query=query, headers=headers, body=b"" if body is None else orjson.dumps(body))
        except StatusError as error:
            return Answer(error.code, error.to_status())
        return Answer(response.status, orjson.loads(response.body), response.headers.get("warning", ""))

    async def create(self, obj: dict[str, Any], *, namespace: str = "default", dry_run: bool = False) -> Answer:
        query = {"dryRun": "All"} if dry_run else None
        return await self.call("POST", self.path(obj["kind"], namespace=namespace), obj, query=query)

    async def made(self, obj: dict[str, Any], *, namespace: str = "default") -> dict[str, Any]:
        """Create, and expect that to work."""
        answer = await self.create(obj, namespace=namespace)
        assert answer.status == 201, answer.message
        return answer.body

    async def patch(self, kind: str, name: str, patch: object, *, subresource: str = "") -> Answer:
        return await self.call("PATCH", self.path(kind, name, subresource=subresource), patch, content="application/merge-patch+json")

    async def apply(self, obj: dict[str, Any]) -> Answer:
        path = self.path(obj["kind"], obj["metadata"]["name"])
        return await self.call("PATCH", path, obj, query={"fieldManager": "me", "force": "true"}, content="application/apply-patch+yaml")

    async def delete(self, kind: str, name: str) -> Answer:
        return await self.call("DELETE", self.path(kind, name))

    async def install(self, crd: dict[str, Any]) -> None:
        """Create a CRD and wait until it is served."""
        await self.made(crd)
        crds = self.client.resource(GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions"))
        for _ in range(200):
            if conditions.is_true(await crds.get(crd["metadata"]["name"]), "Established"):
                return
            await self.clock.advance(0.05)
        raise AssertionError("the CRD was not established")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = VirtualClock()
    async with SimCluster.in_process("east", nodes=1, clock=clock) as cluster:
        yield World(cluster, clock)
