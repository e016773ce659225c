"""Taints that move work get the time from which tolerations count; others, and times that are there, are left alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from kcp.tmc.health.synctargets import decide

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def stamped(*taints: dict[str, Any]) -> list[dict[str, Any]]:
    obj = {"metadata": {"name": "east", "annotations": {"kcp.io/cluster": "c"}}, "spec": {"taints": list(taints)}}
    wanted, _ = decide(obj, now=NOW, seen=NOW, threshold_s=60.0, server_url="https://kcp", monitored=True)
    found: list[dict[str, Any]] = wanted["spec"]["taints"]
    return found


def test_a_no_execute_taint_gets_its_time_once() -> None:
    early = "2025-01-01T00:00:00Z"
    found = stamped(
        {"key": "a", "effect": "NoExecute"}, {"key": "b", "effect": "NoSchedule"}, {"key": "c", "effect": "NoExecute", "timeAdded": early}
    )
    assert [t.get("timeAdded") for t in found] == ["2026-01-01T00:00:00Z", None, early]
