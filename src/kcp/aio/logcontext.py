"""What the running task works on, so that every line it logs says so.

Before: the API's filters and controllers set it. After: `cli.logs` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Protocol


class Work(Protocol):
    """Anything that can be worked on."""

    def log_fields(self) -> Mapping[str, str]:
        """Asked only when a line is written."""


WORK: ContextVar[Work | None] = ContextVar("kcp_work", default=None)
