"""What was sent and is not shown yet: not sent again, for a moment."""

from __future__ import annotations

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.syncer.downstream import APPLIED_ANNOTATION
from kcp.tmc.syncer.sent import Sent

KEY = ObjectKey(ClusterName("c"), "default", "web")


def made(version: str) -> JSONObject:
    return {"metadata": {"name": "web", "annotations": {APPLIED_ANNOTATION: version}}}


def test_what_is_on_its_way_is_not_sent_again_until_it_is_shown() -> None:
    sent = Sent(VirtualClock())
    sent.taken(KEY, made("1"))
    assert sent.is_to_be_shown(KEY, made("1"))
    sent.shown(KEY, made("0"))  # an older event of the copy
    assert sent.is_to_be_shown(KEY, made("1"))
    sent.shown(KEY, made("1"))
    assert not sent.is_to_be_shown(KEY, made("1"))
    assert len(sent) == 0


def test_a_copy_that_is_gone_is_made_again() -> None:
    sent = Sent(VirtualClock())
    sent.taken(KEY, made("1"))
    sent.shown(KEY, None)
    assert not sent.is_to_be_shown(KEY, made("1"))


def test_another_state_is_sent() -> None:
    sent = Sent(VirtualClock())
    sent.taken(KEY, made("1"))
    assert not sent.is_to_be_shown(KEY, made("2"))


async def test_a_watch_that_says_nothing_is_not_waited_for_long() -> None:
    clock = VirtualClock()
    sent = Sent(clock)
    sent.taken(KEY, made("1"))
    await clock.advance(1.5)
    assert not sent.is_to_be_shown(KEY, made("1"))
