"""README.md and values.schema.json of each chart are what its values.yaml says; every value is described."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from tests.delivery.charts import CHARTS, ROOT


def _document() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chart_documents", ROOT / "scripts" / "charts" / "document.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


DOCUMENT = _document()


@pytest.mark.parametrize("path", sorted(DOCUMENT.made()), ids=lambda p: str(p.relative_to(ROOT)))
def test_what_is_generated_is_current(path: Path) -> None:
    assert path.is_file(), "run `make chart-docs`"
    assert path.read_text() == DOCUMENT.made()[path], "run `make chart-docs`"


@pytest.mark.parametrize("chart", DOCUMENT.CHARTS)
def test_every_value_is_described(chart: str) -> None:
    silent = [leaf.name for leaf in DOCUMENT.leaves((CHARTS / chart / "values.yaml").read_text()) if not leaf.text]
    assert silent == []
