"""Reading one's own writes: until the informer catches up, and not a moment longer."""

from __future__ import annotations

import orjson
import pytest

from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject, copy_json, resource_version
from kcp.client.rest import Client
from kcp.client.transport import RawRequest, RawResponse
from kcp.tenancy import kinds
from kcp.tenancy.fresh import FreshReads

KEY = ObjectKey(ClusterName("root"), "", "w")


def workspace(version: str, phase: str = "", **metadata: object) -> JSONObject:
    obj: JSONObject = {
        "metadata": {"name": "w", "uid": "u", "resourceVersion": version, "annotations": {"kcp.io/cluster": "root"}, **metadata}
    }
    return {**obj, "status": {"phase": phase}} if phase else obj


class Mirror:
    gvr: GVR = kinds.WORKSPACES

    def __init__(self) -> None:
        self.seen: JSONObject | None = workspace("1")

    def get(self, key: ObjectKey) -> JSONObject | None:
        found: JSONObject | None = copy_json(self.seen)
        return found

    def version_of(self, key: ObjectKey) -> str | None:
        return resource_version(self.seen) if self.seen is not None else None


class Server:
    """Answers the next write."""

    answer: JSONObject | NotFound

    async def request(self, request: RawRequest) -> RawResponse:
        if isinstance(self.answer, NotFound):
            return RawResponse(404, {}, orjson.dumps(self.answer.to_status()))
        return RawResponse(200, {}, orjson.dumps(self.answer))

    def stream(self, request: RawRequest):  # type: ignore[no-untyped-def]
        raise AssertionError("nothing is watched")

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def mirror() -> Mirror:
    return Mirror()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def fresh(mirror: Mirror, server: Server) -> FreshReads:
    return FreshReads(mirror, Client(server))


async def write(fresh: FreshReads, server: Server, answer: JSONObject) -> JSONObject:
    server.answer = answer
    old = fresh.get(KEY)
    assert old is not None
    return await fresh.commit(old, {**old, "status": {"phase": "changed by " + answer["metadata"]["resourceVersion"]}})


def version(fresh: FreshReads) -> str:
    found = fresh.get(KEY)
    assert found is not None
    return str(found["metadata"]["resourceVersion"])


async def test_write_shows_at_once_and_while_the_mirror_lags(fresh: FreshReads, mirror: Mirror, server: Server) -> None:
    await write(fresh, server, workspace("2", "a"))
    assert version(fresh) == "2"
    await write(fresh, server, workspace("3", "b"))
    assert version(fresh) == "3"
    mirror.seen = workspace("2", "a")
    assert version(fresh) == "3"


async def test_mirror_wins_once_it_has_anything_else(fresh: FreshReads, mirror: Mirror, server: Server) -> None:
    await write(fresh, server, workspace("2", "a"))
    mirror.seen = workspace("7", "by somebody else")
    assert version(fresh) == "7"
    assert fresh.statistics() == {"remembered": 0}


async def test_what_is_read_is_the_callers_to_change(fresh: FreshReads, server: Server) -> None:
    await write(fresh, server, workspace("2", "a"))
    first = fresh.get(KEY)
    assert first is not None
    first["status"]["phase"] = "scribbled"
    second = fresh.get(KEY)
    assert second is not None
    assert second["status"]["phase"] == "a"


async def test_object_that_lost_its_last_finalizer_is_gone(fresh: FreshReads, mirror: Mirror, server: Server) -> None:
    await write(fresh, server, workspace("2", "a", deletionTimestamp="2026-01-01T00:00:00Z"))
    assert fresh.get(KEY) is None
    mirror.seen = None
    assert fresh.get(KEY) is None
    assert fresh.statistics() == {"remembered": 0}


async def test_object_that_had_gone_before_the_write_is_gone(fresh: FreshReads, server: Server) -> None:
    server.answer = NotFound("gone")
    old = fresh.get(KEY)
    assert old is not None
    assert await fresh.commit(old, {**old, "status": {"phase": "x"}}) == old
    assert fresh.get(KEY) is None


async def test_no_difference_writes_and_remembers_nothing(fresh: FreshReads) -> None:
    old = fresh.get(KEY)
    assert old is not None
    assert await fresh.commit(old, copy_json(old)) is old
    assert fresh.statistics() == {"remembered": 0}
