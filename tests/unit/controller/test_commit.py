"""Committing a difference: which endpoint, which patch, and when nothing is sent."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson
import pytest

from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.client.rest import Client
from kcp.client.transport import RawRequest, RawResponse
from kcp.controller.commit import commit

OLD: JSONObject = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "web", "uid": "u1", "resourceVersion": "7", "generation": 1, "labels": {"a": "1"}, "finalizers": ["x"]},
    "spec": {"replicas": 1, "paused": True},
    "status": {"phase": "Active"},
}


class Recorder:
    """Answers `{}` and remembers what was asked."""

    def __init__(self) -> None:
        self.requests: list[RawRequest] = []

    async def request(self, request: RawRequest) -> RawResponse:
        self.requests.append(request)
        return RawResponse(200, {}, b'{"answered":true}')

    def stream(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, AsyncIterator[bytes]]]:
        raise AssertionError("no stream is needed")

    async def close(self) -> None: ...


async def committed(new: JSONObject) -> tuple[JSONObject, list[tuple[str, Any]]]:
    transport = Recorder()
    result = await commit(Client(transport).resource(GVR("", "v1", "namespaces")), OLD, new, field_manager="me")
    return result, [(f"{r.method} {r.path}", orjson.loads(r.body)) for r in transport.requests]


async def test_without_difference_nothing_is_sent() -> None:
    new = copy_json(OLD)
    new["metadata"] |= {"resourceVersion": "9", "generation": 5, "managedFields": [{}]}
    assert await committed(new) == (OLD, [])


async def test_change_of_spec_and_metadata_is_one_guarded_merge_patch() -> None:
    new = copy_json(OLD)
    new["spec"] = {"replicas": 2}
    del new["metadata"]["labels"]
    new["metadata"]["finalizers"].append("y")
    result, sent = await committed(new)
    assert result == {"answered": True}
    assert sent == [
        (
            "PATCH /api/v1/namespaces/web",
            {
                "spec": {"replicas": 2, "paused": None},
                "metadata": {"labels": None, "finalizers": ["x", "y"], "uid": "u1", "resourceVersion": "7"},
            },
        )
    ]


async def test_change_of_status_goes_to_the_status_endpoint() -> None:
    new = copy_json(OLD)
    new["status"]["phase"] = "Terminating"
    _, sent = await committed(new)
    assert sent == [
        ("PATCH /api/v1/namespaces/web/status", {"status": {"phase": "Terminating"}, "metadata": {"uid": "u1", "resourceVersion": "7"}})
    ]


async def test_change_of_both_is_refused() -> None:
    new = copy_json(OLD)
    new["status"]["phase"] = "Terminating"
    new["spec"]["replicas"] = 3
    with pytest.raises(ValueError, match="changed together"):
        await committed(new)
