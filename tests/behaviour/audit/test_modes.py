"""Modes of a whole server: refusing what cannot be recorded, sending later, and stopping without loss."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from tests.behaviour.audit.conftest import Recording

from kcp.aio.clock import SystemClock
from kcp.apiserver.audit.config import AuditConfig, Delivery, LogConfig
from kcp.apiserver.audit.policy import AuditError
from kcp.registry.backend import UserInfo
from kcp.server.compose import run_server
from kcp.server.options import Options

MAPS = "/clusters/root:w/api/v1/namespaces/default/configmaps"
RULES = ({"level": "None", "users": ["system:apiserver"]}, {"level": "Metadata"})


FULL = "/dev/full"
"""A file that can be opened, and on which there is never any space."""


async def test_blocking_strict_refuses_what_it_cannot_record(recording: Recording) -> None:
    async with recording(*RULES, log=LogConfig(path=FULL, delivery=Delivery(mode="blocking-strict"))) as recorded:
        refused = await recorded.ask("GET", MAPS)
        assert refused.status == 500
        assert orjson.loads(refused.body)["message"] == "Internal error occurred: failed to store audit event"
        scraped = await recorded.ask("GET", "/metrics", user=UserInfo("system:apiserver", ("system:masters",)))
        assert "apiserver_audit_requests_rejected_total 1.0" in scraped.body.decode()


async def test_blocking_answers_even_where_it_cannot_record(recording: Recording) -> None:
    async with recording(*RULES, log=LogConfig(path=FULL)) as recorded:
        assert (await recorded.ask("GET", MAPS)).status == 200
        scraped = await recorded.ask("GET", "/metrics", user=UserInfo("system:apiserver", ("system:masters",)))
        assert 'apiserver_audit_error_total{plugin="log"} 2.0' in scraped.body.decode()


async def test_what_waits_in_a_batch_is_written_when_the_server_stops(recording: Recording, tmp_path: Path) -> None:
    log = LogConfig(path=str(tmp_path / "audit.log"), delivery=Delivery(mode="batch", max_size=1_000, max_wait_s=3_600.0))
    async with recording(*RULES, log=log) as recorded:
        answer = await recorded.ask("GET", MAPS)
        assert recorded.of(answer) == []
    assert [event["stage"] for event in recorded.of(answer)] == ["RequestReceived", "ResponseComplete"]


async def test_controllers_are_recorded_as_the_users_they_are(recording: Recording) -> None:
    async with recording({"level": "Metadata", "users": ["system:apiserver"], "verbs": ["create"]}) as recorded:
        created = recorded.events(stage="ResponseComplete")
    assert {event["user"]["username"] for event in created} == {"system:apiserver"}
    assert any(event["objectRef"]["resource"] == "logicalclusters" for event in created)


@pytest.mark.parametrize(
    ("policy", "path", "fault"),
    [
        ("kind: Policy", "audit.log", "--audit-policy-file=.*: it must be of apiVersion audit.k8s.io/v1"),
        ('{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "None"}]}', "policy.yaml/log", "--audit-log-path=.*: "),
    ],
)
async def test_a_server_that_cannot_audit_as_told_does_not_start(tmp_path: Path, policy: str, path: str, fault: str) -> None:
    (tmp_path / "policy.yaml").write_text(policy)
    audit = AuditConfig(policy_file=tmp_path / "policy.yaml", log=LogConfig(path=str(tmp_path / path)))
    options = Options(root_directory=tmp_path / ".kcp", in_memory=True, audit=audit)
    with pytest.raises(AuditError, match=fault):
        async with run_server(options, clock=SystemClock(), with_socket=False):
            raise AssertionError("it started")


async def test_a_policy_without_a_backend_and_a_backend_without_a_policy_record_nothing(tmp_path: Path) -> None:
    audit = AuditConfig(log=LogConfig(path=str(tmp_path / "audit.log")))
    async with run_server(Options(root_directory=tmp_path / ".kcp", in_memory=True, audit=audit), clock=SystemClock(), with_socket=False):
        assert not (tmp_path / "audit.log").exists()
