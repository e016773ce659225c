"""Metrics of work queues, under the names that Kubernetes' dashboards and alerts ask for.

Before: `server.compose`, the syncer's and the simulated cluster's. After: the queues, which are read at each scrape.
Source: k8s.io/component-base/metrics/prometheus/workqueue/metrics.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kcp.aio.folding import Fold
from kcp.aio.metrics import Histogram, Labels, Meter, counter, gauge, histogram, merged
from kcp.controller.controller import Controller
from kcp.controller.workqueue import BUCKETS_S

_NAME = ("name",)
_QUEUES = Fold(most=50, rest={"name": "other"})
_BUSY = Fold(most=6, often=100, rest={"name": "other"})
DEPTH = gauge("workqueue_depth", "Current depth of workqueue.", _NAME, fold=_QUEUES)
ADDS = counter("workqueue_adds_total", "Total number of adds handled by workqueue.", _NAME, fold=_QUEUES)
RETRIES = counter("workqueue_retries_total", "Total number of retries handled by workqueue.", _NAME, fold=_QUEUES)
UNFINISHED = gauge(
    "workqueue_unfinished_work_seconds", "Seconds of work in progress that is not yet in work_duration.", _NAME, fold=_QUEUES
)
LONGEST = gauge(
    "workqueue_longest_running_processor_seconds", "Seconds that the longest running processor has been running.", _NAME, fold=_QUEUES
)
QUEUE_DURATION = histogram("workqueue_queue_duration_seconds", "How long an item stays in workqueue.", _NAME, buckets=BUCKETS_S, fold=_BUSY)
WORK_DURATION = histogram("workqueue_work_duration_seconds", "How long processing an item takes.", _NAME, buckets=BUCKETS_S, fold=_BUSY)

QUEUES = (DEPTH, ADDS, RETRIES, UNFINISHED, LONGEST, QUEUE_DURATION, WORK_DURATION)


def show_queues(meter: Meter, running: Callable[[], Iterable[Controller[Any]]]) -> None:
    """One series for each name of controllers; none for a queue that was never used, and times of work while there is any."""

    def used() -> Iterator[Controller[Any]]:
        return (controller for controller in running() if controller.statistics()["adds"])

    def read(value: Callable[[Controller[Any]], float]) -> Callable[[], list[tuple[Labels, float]]]:
        return lambda: [((controller.name,), value(controller)) for controller in used()]

    def at_work(of: Callable[[Iterable[float]], float]) -> Callable[[], list[tuple[Labels, float]]]:
        def times() -> list[tuple[Labels, float]]:
            found = ((controller.name, [*controller.queue.in_work_s()]) for controller in used())
            return [((name,), of(seconds)) for name, seconds in found if seconds]

        return times

    def held(value: Callable[[Controller[Any]], Histogram]) -> Callable[[], Iterable[tuple[Labels, Histogram]]]:
        return lambda: merged((((controller.name,), value(controller)) for controller in used()), BUCKETS_S).items()

    meter.show(DEPTH, read(lambda controller: controller.statistics()["depth"]))
    meter.show(ADDS, read(lambda controller: controller.statistics()["adds"]))
    meter.show(RETRIES, read(lambda controller: controller.statistics()["retries"]))
    meter.show(UNFINISHED, at_work(sum))
    meter.show(LONGEST, at_work(max))
    meter.show_histograms(QUEUE_DURATION, held(lambda controller: controller.queue.waits))
    meter.show_histograms(WORK_DURATION, held(lambda controller: controller.queue.works))
