"""The log: what each line says, as text and as JSON; where it goes; rotation; a full disk; and that fluentd's configuration fits."""

from __future__ import annotations

import errno
import json
import logging
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from kcp.aio.logcontext import WORK
from kcp.aio.rotatingfile import RotatingFile
from kcp.aio.tracecontext import CURRENT, SpanContext
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apiserver.request import Request
from kcp.apiserver.requestinfo import parse
from kcp.cli.logs import LogOptions, reopen_files, setup_logging
from kcp.controller.controller import Item

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


async def no_body() -> bytes:
    return b""


def a_request() -> Request:
    path = "/clusters/root:work/apis/apps/v1/namespaces/default/deployments/web"
    made = Request("GET", path, "token=secret", {"authorization": "Bearer secret"}, no_body)
    made.info, made.audit_id = parse("GET", path, {}), "audit"
    made.info.cluster = ClusterName("c1")
    return made


@pytest.mark.parametrize("form", ["text", "json"])
def test_details_stand_beside_the_message(tmp_path: Path, form: str) -> None:
    setup_logging(LogOptions(format=form, file=tmp_path / "log"))
    logging.getLogger("kcp.x").info("created %s", "it", extra={"cluster": "root", "key": "a"})
    if form == "text":
        assert (tmp_path / "log").read_text().endswith("I kcp.x: created it cluster=root key=a\n")
    else:
        assert {"msg": "created it", "cluster": "root", "key": "a"}.items() <= lines(tmp_path / "log")[0].items()


def test_a_line_says_on_what_it_is_worked_and_in_which_trace(tmp_path: Path) -> None:
    setup_logging(LogOptions(format="json", file=tmp_path / "log"))
    CURRENT.set(SpanContext(5, 6))
    WORK.set(Item("placement", ObjectKey(ClusterName("c1"), "", "web")))
    logging.getLogger("kcp.x").warning("no")
    WORK.set(a_request())
    logging.getLogger("kcp.x").warning("no")
    CURRENT.set(None)
    WORK.set(None)
    first, second = lines(tmp_path / "log")
    assert {
        "controller": "placement",
        "cluster": "c1",
        "name": "web",
        "trace_id": f"{5:032x}",
        "span_id": f"{6:016x}",
    }.items() <= first.items()
    assert {
        "workspace": "root:work",
        "resource": "deployments.v1.apps",
        "namespace": "default",
        "name": "web",
        "verb": "get",
        "audit_id": "audit",
    }.items() <= second.items()
    assert "secret" not in str(second)
    assert datetime.fromisoformat(first["time"]).timestamp() * 1000 == pytest.approx(first["ts"], abs=1)


def test_a_trace_stands_in_text_too(tmp_path: Path) -> None:
    setup_logging(LogOptions(file=tmp_path / "log"))
    token = CURRENT.set(SpanContext(5, 6))
    logging.getLogger("kcp.x").warning("no")
    CURRENT.reset(token)
    assert f"no trace_id={5:032x} span_id={6:016x}\n" in (tmp_path / "log").read_text()


def test_the_log_goes_to_all_outputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(LogOptions(format="json", outputs=("stdout", f"file:{tmp_path}/kcp.log")))
    logging.getLogger("kcp.x").warning("here")
    shown = capsys.readouterr()
    assert (json.loads(shown.out)["msg"], shown.err) == ("here", "")
    assert lines(tmp_path / "kcp.log")[0]["msg"] == "here"


def test_the_outputs_are_standard_error_unless_told_otherwise() -> None:
    assert LogOptions().places() == ["stderr"]
    assert LogOptions(file=Path("/x")).places() == ["file:/x"]
    assert LogOptions(file=Path("/x"), outputs=("stdout", "file:/x")).places() == ["stdout", "file:/x"]
    assert list(LogOptions(format="xml", outputs=("syslog",), max_age_days=-1).problems()) == [
        "log format xml: must be one of text, json", "log output syslog: must be stdout, stderr or file:PATH",
        "size, age and number of log files: must not be negative",
    ]  # fmt: skip


@pytest.mark.parametrize(("verbosity", "shown"), [(0, 1), (1, 2), (2, 3), (3, 3), (4, 4), (5, 4)])
def test_the_level_says_how_much_is_logged(verbosity: int, shown: int, tmp_path: Path) -> None:
    setup_logging(LogOptions(verbosity=verbosity, format="json", file=tmp_path / "log"))
    for say in (logging.error, logging.warning, logging.info, logging.debug):
        say("x")
    assert len(lines(tmp_path / "log")) == shown


def test_a_full_file_is_rotated(tmp_path: Path) -> None:
    setup_logging(LogOptions(format="json", file=tmp_path / "log", max_bytes=1000, max_backups=2))
    for number in range(100):
        logging.getLogger("kcp").warning("line %d", number)
    logging.getLogger().handlers[0].close()
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 1000
    assert lines(tmp_path / "log")[-1]["msg"] == "line 99"


def test_a_file_that_was_moved_is_begun_anew(tmp_path: Path) -> None:
    setup_logging(LogOptions(file=tmp_path / "log"))
    (tmp_path / "log").rename(tmp_path / "log.1")
    reopen_files()
    logging.getLogger("kcp").warning("here")
    assert "here" in (tmp_path / "log").read_text()


def test_a_full_disk_stops_nothing_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging(LogOptions(format="json", file=tmp_path / "log"))
    logging.getLogger("kcp").warning("before")
    write = RotatingFile.write

    def torn(self: RotatingFile, given: list[bytes]) -> None:
        write(self, [given[0][:10]])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RotatingFile, "write", torn)
    logging.getLogger("kcp").warning("lost")
    monkeypatch.setattr(
        RotatingFile, "write", lambda _self, _given: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device"))
    )
    for _ in range(1000):
        logging.getLogger("kcp").warning("lost")
    monkeypatch.setattr(RotatingFile, "write", write)
    logging.getLogger("kcp").warning("after")
    said = capsys.readouterr().err
    assert said == f"the log {tmp_path}/log cannot be written: No space left on device; lines are lost until it can\n"
    first, _torn, told, last = (tmp_path / "log").read_text().splitlines()
    assert json.loads(first)["msg"] == "before"
    assert json.loads(told)["msg"] == "1001 lines of the log are lost: it could not be written"
    assert json.loads(last)["msg"] == "after"


def test_fluentd_reads_what_is_written(tmp_path: Path) -> None:
    """There is no fluentd from apt or pip: its configuration is checked against real lines by what it says of them."""
    text = (ROOT / "monitoring" / "fluentd" / "fluent.conf").read_text()
    opened = re.findall(r"^\s*<(\w+)", text, re.MULTILINE)
    assert sorted(opened) == sorted(re.findall(r"^\s*</(\w+)>", text, re.MULTILINE)), "every section ends"
    setup_logging(LogOptions(format="json", file=tmp_path / "log"))
    token, trace = WORK.set(a_request()), CURRENT.set(SpanContext(5, 6))
    logging.getLogger("kcp.x").warning("no")
    WORK.reset(token)
    CURRENT.reset(trace)
    (line,) = lines(tmp_path / "log")
    assert set(re.findall(r'record\["(\w+)"\]', text)) - set(line) == {"controller"}, "every field that it uses is there"
    time_key, form = (re.findall(rf"^ +{name} (.*)$", text, re.MULTILINE)[0] for name in ("time_key", "time_format"))
    datetime.strptime(line[time_key], form.replace("%N", "%f"))  # noqa: DTZ007 - only the form is looked at
    assert "path /var/log/kcp/*.log" in text
    assert "index_name kcp-logs" in text
