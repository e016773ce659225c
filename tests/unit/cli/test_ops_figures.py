"""Figures of one run and of the run before: what is read of /metrics, what is counted since, and the file that keeps them."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from kcp.cli.ops_figures import Figures, FiguresError, Run, quantile_s, read_runs, run_of, since, write_runs

TEXT = """\
process_start_time_seconds 5.0
apiserver_request_total{code="200",verb="GET"} 98.0
apiserver_request_total{code="503",verb="GET"} 2.0
apiserver_storage_objects{resource="deployments.apps"} 7.0
apiserver_request_sli_duration_seconds_bucket{le="0.1",verb="GET"} 99.0
apiserver_request_sli_duration_seconds_bucket{le="+Inf",verb="GET"} 100.0
apiserver_request_sli_duration_seconds_bucket{le="0.1",verb="WATCH"} 0.0
"""


def test_a_run_holds_what_was_counted_and_is_there() -> None:
    run = run_of(Figures(TEXT), "daily", "2026-01-01T00:00:00Z")
    assert (run.counters["requests"], run.counters["failed requests"], run.gauges["Deployments"]) == (100.0, 2.0, 7.0)
    assert run.latencies == {"GET": {"0.1": 99.0, "+Inf": 100.0}}, "watches are long by nature"
    assert quantile_s(run.latencies["GET"], 0.99) == 0.1
    assert quantile_s(run.latencies["GET"], 0.999) == inf


def test_what_was_counted_since_begins_anew_with_the_server() -> None:
    now = run_of(Figures(TEXT), "daily", "2026-01-02T00:00:00Z")
    before = Run("2026-01-01T00:00:00Z", "daily", 5.0, {"requests": 60.0}, {}, {"GET": {"0.1": 90.0, "+Inf": 90.0}})
    lately = since(now, before)
    assert lately.counters["requests"] == 40.0
    assert lately.latencies == {"GET": {"0.1": 9.0, "+Inf": 10.0}}
    assert since(now, Run("2026-01-01T00:00:00Z", "daily", 4.0, {"requests": 60.0})) is now


def test_runs_are_kept_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "figures"
    assert read_runs(path) == []
    run = run_of(Figures(TEXT), "daily", "2026-01-02T00:00:00Z")
    write_runs(path, [run] * 500)
    assert read_runs(path) == [run] * 400, "the newest of a year"
    for text in ("not json", "[]", '{"at": "2026"}'):
        path.write_text(text)
        with pytest.raises(FiguresError, match="no file of figures"):
            read_runs(path)
    with pytest.raises(FiguresError):
        write_runs(tmp_path / "none" / "figures", [run])
