"""Makes Grafana's dashboards from monitoring/grafana/dashboards.yaml: `python scripts/dashboards.py` writes the JSON files beside it.

JSON for Grafana is long and alike from panel to panel; what differs stands in the YAML file. A test fails while the two are apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parents[1] / "monitoring" / "grafana"
_COLUMNS = 24
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_SIZES = {"stat": (4, 4), "table": (12, 8), "timeseries": (12, 8)}
"""Width and height."""


def dashboards() -> Iterator[tuple[Path, str]]:
    """File and text of each."""
    for described in yaml.safe_load((HERE / "dashboards.yaml").read_text()):
        yield HERE / described["file"], json.dumps(dashboard(described), indent=2, sort_keys=True) + "\n"


def dashboard(described: Mapping[str, Any]) -> dict[str, Any]:
    variable = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus", "hide": 0}
    return {
        "uid": described["file"].removesuffix(".json"),
        "title": described["title"],
        "tags": ["kcp", "tmc"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [variable]},
        "annotations": {"list": []},
        "panels": list(_panels(described["panels"])),
    }


def _panels(described: list[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Placed from left to right, row by row."""
    x = y = row = 0
    for number, panel in enumerate(described, start=1):
        width, height = panel.get("width", _SIZES[panel["kind"]][0]), _SIZES[panel["kind"]][1]
        if x + width > _COLUMNS:
            x, y, row = 0, y + row, 0
        yield _panel(number, panel, {"x": x, "y": y, "w": width, "h": height})
        x, row = x + width, max(row, height)


def _panel(number: int, panel: Mapping[str, Any], place: Mapping[str, int]) -> dict[str, Any]:
    is_table = panel["kind"] == "table"
    targets = [
        {"refId": chr(ord("A") + index), "datasource": _DATASOURCE, "expr": expression, "legendFormat": legend}
        | ({"format": "table", "instant": True} if is_table else {})
        for index, (expression, legend) in enumerate(panel["queries"].items())
    ]
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if "bad_from" in panel:
        steps.append({"color": "red", "value": panel["bad_from"]})
    defaults = {"unit": panel.get("unit", "short"), "thresholds": {"mode": "absolute", "steps": steps}}
    return {
        "id": number,
        "title": panel["title"],
        "type": panel["kind"],
        "datasource": _DATASOURCE,
        "gridPos": dict(place),
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }


if __name__ == "__main__":
    for file, text in dashboards():
        file.write_text(text)
