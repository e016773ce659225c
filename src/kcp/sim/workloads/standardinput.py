"""What was typed into a container by those who attached to it: an annotation of its pod, so that its program can be told anew at any time.

Pure. Before: `programs`, `sim.attaching`. After: nothing.
Source: k8s.io/api/core/v1/types.go (Container.stdin, stdinOnce).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from kcp.apimachinery import meta

ANNOTATION = "sim.kcp.io/stdin"
"""JSON: container → `StandardInput`."""
MOST = 16_384
"""Characters of it that are kept."""


@dataclass(frozen=True, slots=True)
class StandardInput:
    run: int = 0
    """Which run of the container it was for: the number of restarts before."""
    text: str = ""
    ended_s: float | None = None
    """Seconds after the start when it ended; None: it may go on."""
    code: int | None = None
    """With which exit code a shell ended that somebody typed into; None of anything else."""

    @property
    def is_open(self) -> bool:
        return self.ended_s is None

    def typed(self, text: str) -> StandardInput:
        return replace(self, text=(self.text + text)[:MOST])


def input_of(pod: Mapping[str, Any], container: str, run: int) -> StandardInput:
    """What this run of a container has read, nothing so far where nobody typed."""
    held = _held(pod).get(container)
    if not isinstance(held, dict) or held.get("run") != run:
        return StandardInput(run)
    ended_s, code = held.get("ended_s"), held.get("code")
    return StandardInput(
        run,
        str(held.get("text") or ""),
        float(ended_s) if isinstance(ended_s, (int, float)) else None,
        code if isinstance(code, int) else None,
    )


def with_input(pod: Mapping[str, Any], container: str, now: StandardInput) -> str:
    """The annotation with this input of a container."""
    return orjson.dumps({**_held(pod), container: asdict(now)}).decode()


def _held(pod: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = orjson.loads(meta.annotations(pod).get(ANNOTATION, "{}"))
    except orjson.JSONDecodeError:
        return {}  # somebody else wrote it: nobody has typed anything
    return found if isinstance(found, dict) else {}
