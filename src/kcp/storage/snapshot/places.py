"""Where snapshots are kept: a directory, or a prefix in a bucket of S3.

Before: `shipping`, `cli.snapshot`. After: `s3`, imported only for `s3://…`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

S3 = "s3://"


class PlaceError(Exception):
    """The place cannot be used, for now or at all; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    bytes: int


class Place(Protocol):
    """Calls block: run them in a thread where something else is to go on."""

    @property
    def where(self) -> str:
        """For people."""

    def entries(self) -> Sequence[Entry]:
        """Files there, in the order of their names. Raises PlaceError."""

    def beginning(self, name: str, size: int) -> bytes:
        """Raises PlaceError."""

    def fetch(self, name: str, path: Path) -> None:
        """Raises PlaceError."""

    def put(self, path: Path, name: str) -> None:
        """There under its name only once it is whole. Raises PlaceError."""

    def delete(self, name: str) -> None:
        """Raises PlaceError."""


@dataclass(frozen=True, slots=True)
class S3Options:
    """Credentials come as AWS' own programs take them: variables, ~/.aws/credentials, a web identity, the machine's role."""

    endpoint: str = ""
    """URL of another server than AWS'."""
    region: str = ""


def place_of(where: str, s3: S3Options) -> Place:
    """Raises PlaceError."""
    if where.startswith(S3):
        from kcp.storage.snapshot.s3 import Bucket

        return Bucket(where, s3)
    return Directory(Path(where))


class Directory:
    def __init__(self, path: Path) -> None:
        """Raises PlaceError."""
        if not path.is_dir():
            raise PlaceError(f"{path} is no directory")
        self.path = path

    @property
    def where(self) -> str:
        return str(self.path)

    def entries(self) -> Sequence[Entry]:
        files = [file for file in sorted(self.path.glob("*.*")) if file.is_file() and file.suffix != ".part"]
        return [Entry(file.name, file.stat().st_size) for file in files]

    def beginning(self, name: str, size: int) -> bytes:
        with (self.path / name).open("rb") as file:
            return file.read(size)

    def fetch(self, name: str, path: Path) -> None:
        try:
            shutil.copyfile(self.path / name, path)
        except OSError as error:
            raise PlaceError(f"{self.path / name}: {error.strerror}") from error

    def put(self, path: Path, name: str) -> None:
        part = self.path / f"{name}.part"
        try:
            shutil.copyfile(path, part)
            with part.open("rb+") as copy:
                os.fsync(copy.fileno())
            part.replace(self.path / name)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise PlaceError(f"{part}: {error.strerror}") from error

    def delete(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)
