"""What a Job's spec says about failures and successes: sets of indexes as text, podFailurePolicy, successPolicy, restarts and delays.

Pure. Before: `job`. Source: pkg/controller/job/{indexed_job_utils,pod_failure_policy,success_policy,backoff_utils}.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from kcp.aio.clock import parse_rfc3339
from kcp.apimachinery import meta
from kcp.sim.workloads.podview import PodView

_INDEX = re.compile(r"[0-9]{1,10}")
_FIRST_DELAY_S, _LONGEST_DELAY_S = 10.0, 600.0
"""Before a failed pod is replaced, doubled with each failure. Source: DefaultJobPodFailureBackOff, MaxJobPodFailureBackOff."""


def as_text(indexes: Iterable[int]) -> str:
    """Indexes as `status.completedIndexes` says them.

    >>> as_text([0, 1, 2, 5, 7, 8])
    '0-2,5,7,8'
    """
    parts: list[list[int]] = []
    for index in sorted(indexes):
        if parts and parts[-1][-1] == index - 1:
            parts[-1].append(index)
        else:
            parts.append([index])
    texts = (f"{p[0]}-{p[-1]}" if len(p) > 2 else ",".join(map(str, p)) for p in parts)
    return ",".join(texts)


def from_text(text: str, completions: int) -> set[int]:
    """The reverse; indexes that the Job no longer has are left out.

    >>> sorted(from_text("0-2,5,9", 8))
    [0, 1, 2, 5]
    """
    found: set[int] = set()
    for part in filter(None, (text or "").split(",")):
        first, _, last = part.partition("-")
        if _INDEX.fullmatch(first) and (not last or _INDEX.fullmatch(last)):
            found.update(range(int(first), min(int(last or first) + 1, completions)))
    return found


def action_for(policy: Mapping[str, Any] | None, pod: Mapping[str, Any]) -> tuple[str, str]:
    """What the policy says of a failed pod: Count, Ignore, FailIndex or FailJob; and why, for FailJob."""
    for number, rule in enumerate((policy or {}).get("rules") or ()):
        action = str(rule.get("action"))
        if rule.get("onExitCodes") is not None:
            ended = _matching_container(pod, rule["onExitCodes"])
            if ended is not None:
                code = ended["state"]["terminated"]["exitCode"]
                who = f"Container {ended['name']} for pod {meta.namespace(pod)}/{meta.name(pod)}"
                return action, f"{who} failed with exit code {code} matching {action} rule at index {number}"
        elif (kind := _matching_condition(pod, rule.get("onPodConditions") or ())) is not None:
            return action, f"Pod {meta.namespace(pod)}/{meta.name(pod)} has condition {kind} matching {action} rule at index {number}"
    return "Count", ""


def _matching_container(pod: Mapping[str, Any], wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
    status = pod.get("status") or {}
    for container in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        code = meta.nested(container, "state", "terminated", "exitCode", default=0)
        if not code or wanted.get("containerName") not in (None, container.get("name")):
            continue
        if (code in (wanted.get("values") or ())) == (wanted.get("operator") == "In"):
            return container  # type: ignore[no-any-return]
    return None


def _matching_condition(pod: Mapping[str, Any], patterns: Sequence[Mapping[str, Any]]) -> str | None:
    for condition in meta.nested(pod, "status", "conditions", default=()):
        for pattern in patterns:
            if condition.get("type") == pattern.get("type") and condition.get("status") == (pattern.get("status") or "True"):
                return str(condition["type"])
    return None


def is_success(policy: Mapping[str, Any] | None, succeeded: set[int], completions: int) -> str:
    """The message of the first rule of a successPolicy that the succeeded indexes fulfil, or ""."""
    for number, rule in enumerate((policy or {}).get("rules") or () if succeeded else ()):
        count = rule.get("succeededCount")
        if rule.get("succeededIndexes") is not None:
            required = from_text(rule["succeededIndexes"], completions)
            there = len(required & succeeded)
            if required and (there == len(required) or (count is not None and there >= count)):
                return f"Matched rules at index {number}"
        elif count is not None and len(succeeded) >= count:
            return f"Matched rules at index {number}"
    return ""


def delay_s(pods: Sequence[PodView], now: datetime) -> float:
    """Seconds before the next pod may be made: the more failures since the last success, the longer. Source: backoffRecord."""
    last_success = max((p.ended for p in pods if p.phase == "Succeeded"), default="")
    failures = sorted(p.ended for p in pods if p.phase == "Failed" and p.ended > last_success)
    if not failures:
        return 0.0
    wait_s = min(_FIRST_DELAY_S * 2 ** min(len(failures) - 1, 10), _LONGEST_DELAY_S)
    return max((parse_rfc3339(failures[-1]) + timedelta(seconds=wait_s) - now).total_seconds(), 0.0)


def has_restarted_too_often(spec: Mapping[str, Any], pods: Iterable[PodView]) -> bool:
    """Whether containers that are restarted in place have used up backoffLimit. Source: pastBackoffLimitOnFailure."""
    if meta.nested(spec, "template", "spec", "restartPolicy") != "OnFailure":
        return False
    limit = spec.get("backoffLimit", 6)
    restarts = sum(p.all_restarts for p in pods if p.phase in ("Running", "Pending"))
    return bool(restarts > 0 if limit == 0 else restarts >= limit)
