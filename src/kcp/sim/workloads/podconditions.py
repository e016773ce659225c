"""The five conditions that a kubelet keeps on a pod.

Pure. Before: `podlife`. Source: pkg/kubelet/status/generate.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kcp.aio.clock import rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.meta import JSONObject


def mark(pod: Mapping[str, Any], status: JSONObject, *, uninitialized: Sequence[str], now: datetime) -> None:
    """Bring the conditions of `status` in line with its phase and its containers. Args: uninitialized: init containers still to be done."""
    phase = status["phase"]
    done = phase == "Succeeded"
    unready = [] if done else [c["name"] for c in status.get("containerStatuses") or () if not c["ready"]]
    contained = _ready("ContainersReady", phase, unready, uninitialized)
    ready = ("Ready", *contained[1:]) if contained[1] != "True" else _gated(pod, status)
    begun = any("running" in c["state"] for k in ("containerStatuses", "initContainerStatuses") for c in status.get(k) or ())
    ended = phase in ("Succeeded", "Failed")
    initialized = ("Initialized", "True", "PodCompleted" if done else "", "")
    if uninitialized and not done:
        initialized = _because("Initialized", "ContainersNotInitialized", "incomplete", uninitialized)
    for kind, value, reason, message in (
        ("PodReadyToStartContainers", "True" if begun or not ended else "False", "", ""),
        initialized,
        ready,
        contained,
        ("PodScheduled", "True", "", ""),
    ):
        condition = conditions.build(kind, value, reason=reason, message=message, now=rfc3339(now))
        if meta.generation(pod):
            condition["observedGeneration"] = meta.generation(pod)
        conditions.set_condition({"status": status}, condition)


_Told = tuple[str, str, str, str]


def _ready(kind: str, phase: str, unready: Sequence[str], uninitialized: Sequence[str]) -> _Told:
    if phase == "Succeeded":
        return kind, "False", "PodCompleted", ""
    if phase == "Failed":
        return kind, "False", "PodFailed", ""
    if uninitialized:
        return _because(kind, "ContainersNotReady", "unready", unready or uninitialized)
    return _because(kind, "ContainersNotReady", "unready", unready) if unready else (kind, "True", "", "")


def _because(kind: str, reason: str, word: str, names: Sequence[str]) -> _Told:
    return kind, "False", reason, f"containers with {word} status: [{' '.join(names)}]"


def _gated(pod: Mapping[str, Any], status: Mapping[str, Any]) -> _Told:
    """Ready, as far as the readiness gates of others allow it. Source: KEP-580."""
    told = []
    for gate in meta.nested(pod, "spec", "readinessGates", default=()):
        kind = gate.get("conditionType", "")
        held = conditions.get({"status": status}, kind)
        if held is None:
            told.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif held.get("status") != "True":
            told.append(f'the status of pod readiness gate "{kind}" is not "True", but {held.get("status")}')
    return ("Ready", "False", "ReadinessGatesNotReady", ", ".join(told)) if told else ("Ready", "True", "", "")
