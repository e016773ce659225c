"""The log of a simulated pod: how many lines are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kcp.apimachinery.errors import BadRequest, Invalid

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World

LOG = "/api/v1/namespaces/default/pods/a/log"


@pytest.mark.parametrize(
    ("asked", "refusal", "text"),
    [
        ("²", BadRequest, 'strconv.ParseInt: parsing "²": invalid syntax'),
        ("9" * 20, BadRequest, f'strconv.ParseInt: parsing "{"9" * 20}": value out of range'),
        ("-1", Invalid, 'PodLogOptions "" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0'),
    ],
)
async def test_a_number_of_lines_that_is_none_is_refused(world: World, asked: str, refusal: type[Exception], text: str) -> None:
    await world.create(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    )
    with pytest.raises(refusal) as refused:
        await world.client.raw("GET", LOG, query={"tailLines": asked})
    assert text in str(refused.value)
