"""Log lines say which object they are about, as text and as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from kcp.cli.flags import setup_logging


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)


@pytest.mark.parametrize("form", ["text", "json"])
def test_details_stand_beside_the_message(tmp_path: Path, form: str) -> None:
    setup_logging(2, form=form, file=tmp_path / "log")
    logging.getLogger("kcp.x").info("created %s", "it", extra={"cluster": "root", "key": "a"})
    line = (tmp_path / "log").read_text()
    if form == "text":
        assert line.endswith("I kcp.x: created it cluster=root key=a\n")
    else:
        assert {"msg": "created it", "cluster": "root", "key": "a"}.items() <= json.loads(line).items()
