"""The view of a SyncTarget is made once and given again until something it was made of changes."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.request import Request
from kcp.registry.backend import UserInfo
from kcp.tmc.view.syncer import SyncerViews
from kcp.tmc.view.target import TargetView

REQUEST = cast("Request", type("AnyRequest", (), {"user": UserInfo("syncer"), "headers": {}})())


class World:
    """What a view is made of."""

    def __init__(self) -> None:
        self.targets: dict[str, JSONObject] = {"east": {"metadata": {"name": "east", "uid": "1", "resourceVersion": "1"}, "spec": {}}}
        self.exports = 0
        self.asked = 0
        self.allowed = True

    def view(self) -> TargetView:
        return TargetView(
            name="syncer",
            build=SyncerViews(cast("Any", None), cast("Any", None), VirtualClock(), lambda: "https://kcp").build,
            target=self.target,
            exported=lambda *_: [],
            may_sync=self.may_sync,
            resolve=lambda path: ClusterName("c1") if path == "root:a" else None,
            version=lambda key: ((self.targets.get(key.name) or {}).get("metadata", {}).get("resourceVersion"), self.exports),
        )

    def target(self, key: ObjectKey) -> JSONObject | None:
        self.asked += 1
        return self.targets.get(key.name)

    async def may_sync(self, *_: object) -> bool:
        return self.allowed


async def test_the_same_view_is_given_until_target_or_exports_change() -> None:
    world = World()
    syncer = world.view()
    first = await syncer.view(("root:a", "east", "1"), REQUEST)
    assert await syncer.view(("root:a", "east", "1"), REQUEST) is first
    assert world.asked == 1
    world.exports += 1
    second = await syncer.view(("root:a", "east", "1"), REQUEST)
    assert second is not first
    world.targets["east"]["metadata"]["resourceVersion"] = "2"
    assert await syncer.view(("root:a", "east", "1"), REQUEST) is not second


async def test_permission_is_asked_each_time() -> None:
    world = World()
    syncer = world.view()
    await syncer.view(("root:a", "east", "1"), REQUEST)
    world.allowed = False
    with pytest.raises(Forbidden):
        await syncer.view(("root:a", "east", "1"), REQUEST)


async def test_a_target_that_went_or_was_made_anew_is_not_served_from_what_was_held() -> None:
    world = World()
    syncer = world.view()
    await syncer.view(("root:a", "east", "1"), REQUEST)
    world.targets["east"]["metadata"] |= {"uid": "2", "resourceVersion": "3"}
    with pytest.raises(NotFound, match="--sync-target-uid=2"):
        await syncer.view(("root:a", "east", "1"), REQUEST)
    del world.targets["east"]
    with pytest.raises(NotFound):
        await syncer.view(("root:a", "east", "2"), REQUEST)
