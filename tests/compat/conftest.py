"""Servers for one module, a namespace for one test."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest
from tests.compat.servers import Server, control_plane, simulated_cluster
from tests.e2e.processes import Kubectl


@pytest.fixture(scope="module", autouse=True)
def kubectl_is_there() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl (Debian package kubernetes-client)")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A simulated cluster."""
    with simulated_cluster(tmp_path_factory.mktemp("cluster")) as server:
        yield server


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A workspace."""
    with control_plane(tmp_path_factory.mktemp("kcp")) as server:
        yield server


@pytest.fixture
def kubectl(cluster: Server, request: pytest.FixtureRequest) -> Kubectl:
    """kubectl in a namespace of the simulated cluster that belongs to the test."""
    return cluster.namespace(namespace_of(request))


def namespace_of(request: pytest.FixtureRequest) -> str:
    """A namespace name that tells the test."""
    name: str = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())
    return name[:60].strip("-")
