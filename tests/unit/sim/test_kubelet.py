"""The kubelets know of a change from its writer before the watch brings it: they look again, and nothing is forgotten."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.sim.workloads.kubelet import KubeletReconciler
from kcp.sim.workloads.podbook import PodBook

KEY = ObjectKey(ClusterName(""), "default", "web")
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default", "uid": "1"},
    "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "x"}]},
}


def kubelet(book: PodBook, seen: dict[ObjectKey, dict[str, Any]], clock: VirtualClock) -> KubeletReconciler:
    unused = cast("Any", None)  # neither nodes nor the server are asked before the watch has caught up
    return KubeletReconciler(unused, book, seen.get, unused, clock, unused, 0.05)


@pytest.mark.parametrize("case", ["doomed", "created", "made anew"])
async def test_a_pod_that_the_watch_is_still_to_bring_is_looked_at_again(case: str) -> None:
    clock = VirtualClock()
    book = PodBook(clock)
    seen: dict[ObjectKey, dict[str, Any]] = {}
    if case == "doomed":
        seen[KEY] = POD
        book.on_event(KEY, None, POD)
        view = book.get(KEY)
        assert view is not None
        book.doom(view)
    else:
        book.assume(POD)
        if case == "made anew":
            seen[KEY] = {**POD, "metadata": {**POD["metadata"], "uid": "0"}}
    again_s = (await kubelet(book, seen, clock).reconcile(KEY)).requeue_after_s
    assert again_s is not None
    assert again_s < 0.1
