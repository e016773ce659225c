"""What every long-lived program does when it starts."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from kcp.cli.running import raise_file_limit


@pytest.fixture
def few_files() -> Iterator[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_program_may_open_as_many_files_as_its_user(few_files: int) -> None:
    raise_file_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (few_files, few_files)
