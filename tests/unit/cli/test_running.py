"""What every long-lived program does when it starts."""

from __future__ import annotations

import asyncio
import io
import os
import resource
import signal
from collections.abc import Iterator

import pytest

from kcp.cli.running import on_hangup, raise_file_limit


@pytest.fixture
def few_files() -> Iterator[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_program_may_open_as_many_files_as_its_user(few_files: int) -> None:
    raise_file_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (few_files, few_files)


async def test_a_hangup_is_a_signal_to_daemons_and_the_end_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()
    with on_hangup(asked.set):
        os.kill(os.getpid(), signal.SIGHUP)
        await asked.wait()
    monkeypatch.setattr("sys.stdin", Terminal())
    with on_hangup(asked.set):
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True
