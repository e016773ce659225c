"""The log of a simulated pod: what its command prints, how much of it is asked for."""

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


async def test_a_log_is_what_the_command_prints(world: World) -> None:
    script = 'echo one; sleep 10; echo "two of $HOSTNAME"; sleep 1000'
    container = {"name": "c", "image": "busybox", "command": ["sh", "-c", script]}
    await world.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [container]}})

    async def said(**query: str) -> str:
        return (await world.client.raw("GET", LOG, query=query)).body.decode()

    await world.clock.advance(3)
    assert await said() == "one\n"
    await world.clock.advance(10)
    assert await said() == "one\ntwo of a\n"
    assert await said(tailLines="1") == "two of a\n"
    assert await said(limitBytes="5") == "one\nt"
    assert await said(sinceSeconds="5") == "two of a\n"
    assert (await said(timestamps="true")).splitlines()[0].endswith("Z one")
