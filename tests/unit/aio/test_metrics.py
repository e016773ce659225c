"""`Meter`: counts, histograms, what is read at scrapes, bounded labels, aliases, forgetting; nothing is kept while it is off."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kcp.aio.exposition import scrape
from kcp.aio.metrics import MOST_NAMED, Meter, counter, gauge, histogram

THINGS = counter("things_total", "Things.", ("colour",))
WAITS = histogram("wait_seconds", "Waits.", ("colour",), buckets=(0.1, 1.0))
HELD = gauge("held_total", "Held.", ("space", "state"), many=("space",), alias="held")


def text(meter: Meter) -> list[str]:
    return [
        line for line in scrape(meter.text).decode().splitlines() if not line.removeprefix("# HELP ").startswith(("process_", "# TYPE p"))
    ]


def test_counts_and_histograms_are_shown_by_their_labels() -> None:
    meter = Meter()
    meter.count(THINGS, "red")
    meter.count(THINGS, "red", by=2)
    meter.observe(WAITS, 0.5, "blue")
    shown = text(meter)
    assert 'things_total{colour="red"} 3.0' in shown
    assert ['wait_seconds_bucket{colour="blue",le="0.1"} 0.0', 'wait_seconds_bucket{colour="blue",le="1"} 1.0'] == shown[-5:-3]
    assert not any("_created" in line for line in shown), "a series that never changes"


def test_a_family_without_numbers_is_not_shown() -> None:
    meter = Meter()
    meter.show(HELD, lambda: ())
    assert text(meter) == []


def test_what_is_read_at_a_scrape_is_added_up_by_labels_until_it_ends() -> None:
    meter = Meter()
    end = meter.show(HELD, lambda: [(("a", "ok"), 1.0)])
    meter.show(HELD, lambda: [(("a", "ok"), 2.0)])
    assert 'held{space="a",state="ok"} 3.0' in text(meter)
    end()
    assert 'held{space="a",state="ok"} 2.0' in text(meter)


def test_a_gauge_whose_name_breaks_the_rules_is_shown_without_type_beside_its_clean_name() -> None:
    meter = Meter()
    meter.show(HELD, lambda: [(("a", "ok"), 1.0)])
    shown = text(meter)
    assert {"# TYPE held_total untyped", "# TYPE held gauge", 'held_total{space="a",state="ok"} 1.0'} <= set(shown)


def test_series_of_what_users_make_are_bounded_and_the_rest_is_counted_together() -> None:
    meter, spaces = Meter(), 1000
    meter.show(HELD, lambda: [((f"space{number}", "ok"), 1.0) for number in range(spaces)])
    values = [line for line in text(meter) if line.startswith("held{")]
    assert len(values) == MOST_NAMED + 1
    assert f'held{{space="other",state="ok"}} {spaces - MOST_NAMED:.1f}' in values


def test_names_of_spaces_that_are_gone_are_free_for_others() -> None:
    meter, names = Meter(), [f"old{number}" for number in range(MOST_NAMED)]
    meter.show(HELD, lambda: [((name, "ok"), 1.0) for name in names])
    text(meter)
    names[:] = ["new"]
    assert [line for line in text(meter) if line.startswith("held{")] == ['held{space="new",state="ok"} 1.0']


def test_counters_of_what_users_make_are_bounded_too() -> None:
    meter, made = Meter(), counter("made_total", "Made.", ("space",), many=("space",))
    for number in range(1000):
        meter.count(made, f"space{number}")
        meter.count(made, f"space{number}")
    values = [line for line in text(meter) if line.startswith("made_total{")]
    assert len(values) == MOST_NAMED + 1
    assert sum(float(line.rsplit(" ", 1)[1]) for line in values) == 2000


def test_what_was_counted_of_a_cluster_that_is_gone_is_forgotten() -> None:
    meter = Meter()
    for colour in ("red", "blue"):
        meter.count(THINGS, colour)
        meter.observe(WAITS, 1.0, colour)
    meter.forget("colour", "red")
    assert not any("red" in line for line in text(meter))
    assert any("blue" in line for line in text(meter))


def test_a_meter_that_is_off_keeps_nothing() -> None:
    meter = Meter(is_on=False)
    meter.count(THINGS, "red")
    meter.observe(WAITS, 1.0, "red")
    meter.show(HELD, lambda: [(("a", "ok"), 1.0)])
    assert text(meter) == []


def test_wrong_labels_are_an_error_where_they_are_first_used() -> None:
    with pytest.raises(ValueError, match="things_total has labels"):
        Meter().count(THINGS, "red", "green")


def test_odd_texts_and_numbers_are_read_back_as_they_were() -> None:
    meter, odd = Meter(), 'a "b" \\ c\nd'
    meter.count(counter("odd_total", "Odd \\ text\nof two lines."), by=float("inf"))
    meter.count(THINGS, odd)
    found = {family.name: family for family in text_string_to_metric_families(scrape(meter.text).decode())}
    assert found["things"].samples[0].labels == {"colour": odd}
    assert found["odd"].samples[0].value == float("inf")
    assert found["odd"].documentation == "Odd \\ text\nof two lines."
    assert "process_resident_memory_bytes" in found


def test_the_text_is_that_of_the_library() -> None:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, UntypedMetricFamily

    meter = Meter()
    meter.count(THINGS, "red", by=1e21)
    meter.observe(WAITS, 0.5, "blue")
    meter.show(HELD, lambda: [(("a", "ok"), 0.1)])
    things = CounterMetricFamily("things", THINGS.help, labels=THINGS.labels)
    things.add_metric(("red",), 1e21)
    waits = HistogramMetricFamily("wait_seconds", WAITS.help, labels=WAITS.labels)
    waits.add_metric(("blue",), [("0.1", 0.0), ("1", 1.0), ("+Inf", 1.0)], 0.5)
    held: list[UntypedMetricFamily | GaugeMetricFamily] = [
        UntypedMetricFamily("held_total", "Held. The same as held.", labels=HELD.labels),
        GaugeMetricFamily("held", HELD.help, labels=HELD.labels),
    ]
    for family in held:
        family.add_metric(("a", "ok"), 0.1)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(type("Families", (), {"collect": lambda _: [things, waits, *held]})())
    assert scrape(meter.text).startswith(generate_latest(registry))


def test_each_scrape_shows_what_is_new_and_nothing_of_what_is_gone() -> None:
    meter, held = Meter(), {("a", "ok"): 1.0}
    meter.show(HELD, held.items)
    for name in ("le", "before le", "z"):
        meter.observe(histogram("d_seconds", "D.", ("le_", "z"), buckets=(1.0,)), 0.5, name, name)
    first = text(meter)
    assert text(meter) == first
    meter.observe(histogram("d_seconds", "D.", ("le_", "z"), buckets=(1.0,)), 2.0, "z", "z")
    held.clear()
    held[("b", "ok")] = 2.0
    shown = text(meter)
    assert 'held{space="b",state="ok"} 2.0' in shown
    assert not any('space="a"' in line for line in shown)
    assert {'d_seconds_bucket{le="+Inf",le_="z",z="z"} 2.0', 'd_seconds_sum{le_="z",z="z"} 2.5'} <= set(shown)
    assert 'd_seconds_count{le_="le",z="le"} 1.0' in shown
