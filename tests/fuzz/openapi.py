"""Requests that schemathesis makes out of an OpenAPI document, of valid and of invalid data; the same ones for the same seed.

Before: `tests/e2e/test_schemathesis`. After: schemathesis, hypothesis.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.core.result import Err

_STREAMS = "/watch/"


def cases(document: dict[str, Any], *, every: int = 1, examples: int = 1, start: int = 36) -> Iterator[Any]:
    """For each `every`th operation that answers at once, `examples` of valid and as many of invalid requests."""
    operations = [_understood(found) for found in schemathesis.openapi.from_dict(document).get_all_operations()]
    for operation in [one for one in operations if _STREAMS not in one.path][::every]:
        for mode in schemathesis.GenerationMode:
            yield from _examples(operation.as_strategy(generation_mode=mode), examples, start)


def _understood(found: Any) -> Any:
    """Raises what is wrong with the document there."""
    if isinstance(found, Err):
        raise found.err()
    return found.ok()


def _examples(strategy: Any, count: int, start: int) -> list[Any]:
    found: list[Any] = []

    @seed(start)
    @settings(max_examples=count + 1, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=strategy)
    def collect(case: Any) -> None:
        case.query.pop("watch", None)  # a stream answers in its own time
        found.append(case)

    collect()
    return found[-count:]  # the first one is the simplest there is
