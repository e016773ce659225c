#!/usr/bin/env python3
"""Print what a chart makes, as `helm template` does, by Helm's own engine from PyPI (helm-python-sdk): no helm program is needed.

scripts/charts/render.py kcp-tmc --values charts/kcp-tmc/values-ha.yaml --set tmc.enabled=true --kind Role --kind RoleBinding
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parents[2]


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, as Helm does with several files."""
    both = {
        key: merged(below[key], value) if isinstance(value, dict) and isinstance(below.get(key), dict) else value
        for key, value in above.items()
    }
    return {**below, **both}


def values(files: list[Path], settings: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in files:
        found = merged(found, yaml.safe_load(file.read_text()) or {})
    for setting in settings:
        path, _, text = setting.partition("=")
        value: Any = yaml.safe_load(text)
        for part in reversed(path.split(".")):
            value = {part: value}
        found = merged(found, value)
    return found


def objects(chart: str, told: dict[str, Any], *, name: str, namespace: str) -> Iterator[dict[str, Any]]:
    files = helm_python.Chart.load(ROOT / "charts" / chart).render(told, name=name, namespace=namespace)
    for path, text in sorted(files.items()):
        if path.endswith(".yaml") and "/tests/" not in path:
            yield from filter(None, yaml.safe_load_all(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chart", choices=["kcp-tmc", "kcp-syncer"])
    parser.add_argument("--values", "-f", type=Path, action="append", default=[], metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--kind", action="append", default=[], help="only objects of this kind; repeatable")
    parser.add_argument("--name", default="", help="of the release; default the chart's")
    parser.add_argument("--namespace", "-n", default="kcp-system")
    told = parser.parse_args()
    found = objects(told.chart, values(told.values, told.set), name=told.name or told.chart, namespace=told.namespace)
    chosen = [obj for obj in found if not told.kind or obj["kind"] in told.kind]
    yaml.safe_dump_all(chosen, sys.stdout, sort_keys=False, explicit_start=True, width=140)


if __name__ == "__main__":
    main()
