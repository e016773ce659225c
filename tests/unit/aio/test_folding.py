"""`Fold`: few series of many labels, none of which ever falls."""

from __future__ import annotations

from random import Random

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kcp.aio.exposition import scrape
from kcp.aio.folding import Fold
from kcp.aio.metrics import Histogram, Meter, counter, gauge, histogram

FOLD = Fold(most=2, often=3, rest={"colour": "other"})
THINGS = counter("things_total", "Things.", ("colour", "size"), fold=FOLD)
WAITS = histogram("wait_seconds", "Waits.", ("colour",), buckets=(0.1, 1.0), fold=FOLD)
HELD = gauge("held", "Held.", ("colour",), fold=FOLD)
COARSE = histogram("coarse_seconds", "Waits.", ("colour",), buckets=(1.0,))


def shown(meter: Meter) -> dict[str, float]:
    """Sample by its line's beginning, without the process's own."""
    families = text_string_to_metric_families(scrape(meter.text).decode())
    return {
        f"{s.name}{','.join(map(str, s.labels.values()))}": s.value
        for family in families
        for s in family.samples
        if not s.name.startswith("process_")
    }


def test_what_is_counted_often_has_a_name_of_its_own_and_the_rest_are_together() -> None:
    meter = Meter()
    meter.count(THINGS, "red", "big", by=5)
    meter.count(THINGS, "blue", "big", by=2)
    meter.count(THINGS, "green", "big", by=1)
    assert shown(meter) == {"things_totalred,big": 5, "things_totalother,big": 3}


def test_names_go_to_the_largest_of_those_that_come_at_once() -> None:
    meter = Meter()
    for size, colour in enumerate(("red", "blue", "green", "white"), start=3):
        meter.count(THINGS, colour, "big", by=size)
    assert shown(meter) == {"things_totalgreen,big": 5, "things_totalwhite,big": 6, "things_totalother,big": 7}


def test_what_was_counted_with_the_rest_stays_there_when_a_name_is_given() -> None:
    meter = Meter()
    meter.count(THINGS, "red", "big", by=2)
    assert shown(meter) == {"things_totalother,big": 2}
    meter.count(THINGS, "red", "big", by=2)
    assert shown(meter) == {"things_totalother,big": 4, "things_totalred,big": 0}
    meter.count(THINGS, "red", "big", by=2)
    assert shown(meter) == {"things_totalother,big": 4, "things_totalred,big": 2}


def test_histograms_are_folded_bucket_by_bucket() -> None:
    meter = Meter()
    for seconds in (0.05, 0.5):
        meter.observe(WAITS, seconds, "red")
    shown(meter)
    for seconds in (0.05, 5.0):
        meter.observe(WAITS, seconds, "red")
    shown(meter)
    meter.observe(WAITS, 0.7, "red")
    found = shown(meter)
    assert [found[f"wait_seconds_bucketred,{bound}"] for bound in ("0.1", "1", "+Inf")] == [0, 1, 1]
    assert [found[f"wait_seconds_bucketother,{bound}"] for bound in ("0.1", "1", "+Inf")] == [2, 3, 4]
    assert found["wait_seconds_sumred"] == pytest.approx(0.7)
    assert found["wait_seconds_sumother"] == 5.6


def test_no_series_ever_falls_and_the_sum_is_true_whatever_comes() -> None:
    meter, random, last, total = Meter(), Random(4), dict[str, float](), 0
    for _ in range(60):
        for _ in range(random.randrange(12)):
            meter.count(THINGS, f"c{min(random.randrange(30), random.randrange(30))}", random.choice(("big", "small")))
            total += 1
        found = shown(meter)
        assert sum(found.values()) == total
        assert all(found[name] >= value for name, value in last.items())
        assert len(found) <= FOLD.most + 2
        last = found


def test_a_part_that_begins_anew_has_its_name_still() -> None:
    meter, value = Meter(), {"red": 2.0}
    meter.show(THINGS, lambda: [((colour, "big"), count) for colour, count in value.items()])
    for count in (2.0, 6.0, 1.0):
        value["red"] = count
        found = shown(meter)
    assert found == {"things_totalred,big": 1}


def test_of_gauges_the_largest_have_names() -> None:
    meter = Meter()
    values = {"red": 1.0, "blue": 9.0, "green": 4.0, "white": 2.0}
    meter.show(HELD, lambda: [((colour,), value) for colour, value in values.items()])
    assert shown(meter) == {"heldblue": 9, "heldgreen": 4, "heldother": 3}
    values["white"] = 20.0
    assert shown(meter) == {"heldwhite": 20, "heldblue": 9, "heldother": 5}


def test_a_histogram_is_shown_with_the_buckets_of_its_family() -> None:
    meter, held = Meter(), Histogram((0.1, 1.0, 5.0))
    for seconds in (0.05, 0.5, 3.0, 7.0):
        held.observe(seconds)
    meter.show_histograms(COARSE, lambda: [(("red",), held)])
    found = shown(meter)
    assert [found[f"coarse_seconds_bucketred,{bound}"] for bound in ("1", "+Inf")] == [2, 4]
    assert found["coarse_seconds_countred"] == 4
