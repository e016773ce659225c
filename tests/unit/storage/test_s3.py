"""Snapshots in a bucket, over S3's own protocol: what a directory does, and what is said of faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.s3 import BUCKET, CREDENTIALS, S3

from kcp.storage.snapshot.places import Directory, PlaceError, S3Options, place_of


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    server = S3().start()
    yield server
    server.stop()


@pytest.fixture
def options(server: S3, monkeypatch: pytest.MonkeyPatch) -> S3Options:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return S3Options(server.endpoint, "us-east-1")


@pytest.mark.parametrize("prefix", ["", "/etcd", "/a/b/"])
def test_a_bucket_does_what_a_directory_does(options: S3Options, tmp_path: Path, prefix: str) -> None:
    (tmp_path / "there").mkdir()
    file = tmp_path / "file"
    file.write_bytes(b"x" * 10_000_000)
    for place in (place_of(f"s3://{BUCKET}{prefix}", options), Directory(tmp_path / "there")):
        names = ["kcp-2-r2.snapshot", "kcp-1-r1.snapshot", "kcp-1-r1.000-001.changes"]
        for name in names:
            place.put(file, name)
        found = place.entries()
        assert [entry.name for entry in found if entry.name in names] == sorted(names)
        assert {entry.bytes for entry in found if entry.name in names} == {10_000_000}
        assert place.beginning(names[0], 100) == b"x" * 100
        place.fetch(names[0], tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == file.read_bytes()
        for name in names:
            place.delete(name)
        assert not {entry.name for entry in place.entries()} & set(names)


def test_faults_say_what_and_where(options: S3Options, tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match=f"s3://nowhere-{BUCKET}/x: .*bucket does not exist"):
        place_of(f"s3://nowhere-{BUCKET}/x", options).entries()
    with pytest.raises(PlaceError, match=f"s3://{BUCKET}/gone: Object does not exist"):
        place_of(f"s3://{BUCKET}", options).fetch("gone", tmp_path / "gone")
    with pytest.raises(PlaceError, match="must be s3://BUCKET/PREFIX"):
        place_of("s3:///x", options)
    with pytest.raises(PlaceError, match="--s3-endpoint=nonsense"):
        place_of("s3://a", S3Options("nonsense"))
    with pytest.raises(PlaceError, match="cannot be reached"):
        place_of(f"s3://{BUCKET}", S3Options("http://127.0.0.1:1", "us-east-1")).entries()
