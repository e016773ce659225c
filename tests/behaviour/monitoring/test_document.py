"""docs/monitoring.md tells of every metric and every alert that there is."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "monitoring.md"


def test_the_table_is_what_the_code_measures() -> None:
    spec = importlib.util.spec_from_file_location("metrics_table", ROOT / "scripts" / "metrics_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert DOCUMENT.read_text() == module.document(DOCUMENT.read_text()), "run python scripts/metrics_table.py"


def test_every_alert_is_explained() -> None:
    text = DOCUMENT.read_text()
    rules = (ROOT / "monitoring" / "prometheus" / "rules").glob("*.yaml")
    groups = [group for file in rules for group in yaml.safe_load(file.read_text())["groups"]]
    assert not [rule["alert"] for group in groups for rule in group["rules"] if f"`{rule['alert']}`" not in text]
