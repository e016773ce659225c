"""Grafana's dashboards: made from dashboards.yaml, complete, and over metrics that exist. That each query has data is seen in e2e."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kcp.tmc.metrics.families import FAMILIES

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "monitoring" / "grafana").glob("*.json"))


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dashboards", ROOT / "scripts" / "dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(file: Path) -> Any:
    return json.loads(file.read_text())


def test_files_are_what_the_script_makes() -> None:
    assert {file: file.read_text() for file in FILES} == dict(builder().dashboards())


def test_the_dashboards_of_the_reference_are_there() -> None:
    titles = {load(file)["title"] for file in FILES}
    assert titles >= {"TMC System Overview", "TMC Sync Operations", "TMC Health Monitoring", "TMC Syncer"}
    assert ROOT / "monitoring" / "grafana" / "tmc-overview.json" in FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_do_not_overlap_and_fill_their_rows(file: Path) -> None:
    cells: set[tuple[int, int]] = set()
    panels = load(file)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        own = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & own, panel["title"]
        cells |= own
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_queries_ask_for_metrics_that_are_there(file: Path) -> None:
    known = {name for family in FAMILIES for name in (family.name, family.alias)}
    for panel in load(file)["panels"]:
        for target in panel["targets"]:
            asked = set(re.findall(r"\b(?:tmc|syncer)_[a-z_]+", target["expr"]))
            assert {re.sub("_(bucket|count|sum)$", "", name) if name not in known else name for name in asked} <= known, panel["title"]
