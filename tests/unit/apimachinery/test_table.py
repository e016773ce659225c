"""Tables: shape, declared columns, typed cells, ages. Source of the expectations: customresource/tableconvertor tests, duration_test.go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.table import AGE, NAME, Column, build_table, columns_from_crd, human_duration

NOW = datetime(2026, 1, 2, tzinfo=UTC)
WEB = {
    "kind": "Widget",
    "metadata": {"name": "web", "creationTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {"size": 3, "flag": True, "list": ["a", "b"], "when": "2026-01-01T23:59:00Z", "ratio": 0.5},
}


def test_table_has_upstreams_shape() -> None:
    table = build_table([WEB], (), now=NOW, resource_version="7", continue_="next", remaining=2)
    assert table["kind"] == "Table"
    assert table["apiVersion"] == "meta.k8s.io/v1"
    assert table["metadata"] == {"resourceVersion": "7", "continue": "next", "remainingItemCount": 2}
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Age"]
    (row,) = table["rows"]
    assert row["cells"] == ["web", "24h"]
    assert row["object"] == {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": WEB["metadata"]}


@pytest.mark.parametrize(("include", "expected"), [("None", None), ("Object", WEB)])
def test_rows_carry_what_was_asked_for(include: str, expected: object) -> None:
    assert build_table([WEB], (NAME,), now=NOW, include_object=include)["rows"][0]["object"] == expected  # type: ignore[arg-type]


def test_declared_columns_are_typed_and_absent_values_null() -> None:
    declared: list[JSONObject] = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Flag", "type": "boolean", "jsonPath": ".spec.flag", "priority": 1},
        {"name": "Ratio", "type": "number", "jsonPath": ".spec.ratio"},
        {"name": "When", "type": "date", "jsonPath": ".spec.when"},
        {"name": "All", "type": "string", "jsonPath": ".spec.list[*]"},
        {"name": "List", "type": "string", "jsonPath": ".spec.list"},
        {"name": "Gone", "type": "string", "jsonPath": ".spec.gone"},
        {"name": "Wrong", "type": "integer", "jsonPath": ".spec.list"},
    ]
    table = build_table([WEB], columns_from_crd(declared), now=NOW)
    assert table["rows"][0]["cells"] == ["web", 3, True, 0.5, "60s", "a", '["a","b"]', None, None]
    assert table["columnDefinitions"][2]["priority"] == 1


def test_name_is_added_only_where_no_column_is_called_so() -> None:
    last = (Column("Type", json_path=".kind"), Column("Name", getter=lambda obj, _: obj["metadata"]["name"]))
    assert [c["name"] for c in build_table([], last, now=NOW)["columnDefinitions"]] == ["Type", "Name"]
    assert [c["name"] for c in build_table([], (AGE,), now=NOW)["columnDefinitions"]] == ["Name", "Age"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (185, "3m5s"), (599, "9m59s"), (600, "10m"), (10799, "179m"),
        (10800, "3h"), (11160, "3h6m"), (28800, "8h"), (172799, "47h"), (172800, "2d"), (176400, "2d1h"), (691200, "8d"),
        (86400 * 729, "729d"), (86400 * 730, "2y"), (86400 * 800, "2y70d"), (86400 * 3000, "8y"),
    ],
)  # fmt: skip
def test_durations_read_as_kubectl_prints_them(seconds: int, text: str) -> None:
    assert human_duration(timedelta(seconds=seconds)) == text


def test_an_object_without_creation_time_has_no_age_and_a_bad_one_says_so() -> None:
    assert build_table([{"metadata": {"name": "a"}}], (), now=NOW)["rows"][0]["cells"] == ["a", None]
    odd = {"metadata": {"name": "a", "creationTimestamp": "yesterday"}}
    assert build_table([odd], (), now=NOW)["rows"][0]["cells"] == ["a", "<invalid>"]
