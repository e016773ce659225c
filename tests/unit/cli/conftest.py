"""A kubeconfig on disk, and a transport that answers from a table."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from kcp.apimachinery.errors import Forbidden, NotFound, StatusError
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_flags import ConnectionFlags
from kcp.cli.plugin_session import Session, open_session
from kcp.client import kubeconfig
from kcp.client.rest import Client
from kcp.client.transport import RawRequest, RawResponse

Open = Callable[[], Session]


class Table:
    """Answers GETs from `answers` (a document or an error by path), POSTs with what was sent, watches with `events`."""

    def __init__(self) -> None:
        self.answers: dict[str, JSONObject | StatusError] = {}
        self.created: JSONObject | StatusError | None = None
        self.events: list[JSONObject] = []
        self.requests: list[str] = []

    async def request(self, request: RawRequest) -> RawResponse:
        self.requests.append(f"{request.method} {request.path}")
        answer = self.created if request.method == "POST" else self.answers.get(request.path)
        if answer is None:
            answer = NotFound.of(GroupResource("", "things"), request.path)
        if isinstance(answer, StatusError):
            return RawResponse(answer.code, {}, orjson.dumps(answer.to_status()))
        return RawResponse(200, {}, orjson.dumps(answer))

    @asynccontextmanager
    async def stream(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, AsyncIterator[bytes]]]:
        self.requests.append(f"WATCH {request.path}")

        async def frames() -> AsyncIterator[bytes]:
            for event in self.events:
                yield orjson.dumps(event) + b"\n"

        yield RawResponse(200, {}, b""), frames()

    async def close(self) -> None:
        """Nothing is open."""

    def workspace(self, path: str, *, phase: str = "Ready", type_: str = "universal") -> JSONObject:
        """Serve a Workspace, and its logical cluster if it is ready. Returns the Workspace."""
        parent, _, name = path.rpartition(":")
        spec = {"type": {"name": type_, "path": "root"}, "URL": f"https://h/clusters/{path}"}
        obj: JSONObject = {"metadata": {"name": name, "resourceVersion": "5"}, "spec": spec, "status": {"phase": phase}}
        collection = f"/clusters/{parent}/apis/tenancy.kcp.io/v1alpha1/workspaces"
        self.answers[f"{collection}/{name}"] = obj
        held = self.answers.setdefault(collection, {"kind": "WorkspaceList", "metadata": {"resourceVersion": "9"}, "items": []})
        assert isinstance(held, dict)
        held["items"].append(obj)
        if phase == "Ready":
            self.cluster(path, type_)
        return obj

    def cluster(self, path: str, type_: str) -> None:
        annotations = {"kcp.io/path": path, "internal.tenancy.kcp.io/type": f"root:{type_}"}
        self.answers[f"/clusters/{path}/apis/core.kcp.io/v1alpha1/logicalclusters/cluster"] = {
            "metadata": {"name": "cluster", "annotations": annotations},
            "status": {"phase": "Ready"},
        }

    def forbid(self, path: str) -> None:
        for suffix in ("/apis/core.kcp.io/v1alpha1/logicalclusters/cluster", "/apis"):
            self.answers[f"/clusters/{path}{suffix}"] = Forbidden("no")


@pytest.fixture
def table() -> Table:
    made = Table()
    made.cluster("root", "root")
    return made


@pytest.fixture
def config(tmp_path: Path) -> Path:
    document = kubeconfig.empty()
    kubeconfig.put(document, "clusters", "root", {"server": "https://h/clusters/root"})
    kubeconfig.put(document, "contexts", "root", {"cluster": "root", "user": "kcp-admin"})
    kubeconfig.put(document, "users", "kcp-admin", {"token": "t"})
    document["current-context"] = "root"
    path = tmp_path / "admin.kubeconfig"
    kubeconfig.save(path, document)
    return path


@pytest.fixture
def open_(config: Path, table: Table) -> Open:
    """Start a command as kubectl would: from what the kubeconfig says now."""

    def opened() -> Session:
        session = open_session(ConnectionFlags(kubeconfig=str(config)), {})
        session.client = Client(table)
        session.out, session.err = io.StringIO(), io.StringIO()
        return session

    return opened


def printed(session: Session) -> str:
    assert isinstance(session.out, io.StringIO)
    return session.out.getvalue()
