"""Some requests to every endpoint of both servers, the same ones every time. `make fuzz` goes on where this ends.

Every answer is held to `target.Answer.check`: below 500, a Status for each error, nothing unexpected in the log, a second of processor time.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.fuzz import target
from tests.fuzz.endpoints import Endpoint, Requests, discover, samples, schema_of
from tests.fuzz.target import Target

COUNT = 25
"""Requests for each resource and version."""


def answers(server: Target, endpoints: list[Endpoint]) -> Counter[int]:
    found: Counter[int] = Counter()
    for endpoint in endpoints:
        Requests(server, endpoint, seed=36).run(COUNT, on_answer=lambda answer: found.update([answer.status]))
    return found


def test_every_endpoint_of_a_simulated_cluster_answers_whatever_it_is_sent() -> None:
    with target.simulated() as server:
        found = answers(server, discover(server, ""))
    assert found[200] > 150
    assert found[422] > 60


def test_every_endpoint_of_a_workspace_answers_whatever_it_is_sent(tmp_path: Path) -> None:
    with target.kcp(tmp_path) as server:
        found = answers(server, discover(server, "/clusters/root"))
    assert found[200] > 50
    assert found[422] > 25


def test_the_samples_are_valid() -> None:
    """What is made out of an invalid object would never get past its first check."""
    with target.simulated() as server:
        for endpoint in discover(server, ""):
            sample = samples().get((endpoint.gvk.group, endpoint.gvk.kind))
            if sample is not None:
                schema = schema_of(endpoint.gvk)
                assert schema is not None, endpoint.gvk
                assert not schema.validate({"metadata": {}, **sample, "apiVersion": endpoint.gvk.api_version}), endpoint.gvk
