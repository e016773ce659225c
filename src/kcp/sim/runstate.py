"""Which simulated clusters run on this machine: one small file each, so that `kcp sim kill east` finds `east` from any terminal.

Before: `cli.sim` and the sandbox write and read them. After: files in `.kcp/sim/`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

DEFAULT_DIRECTORY = Path(".kcp/sim")


class UnknownCluster(Exception):
    """No running simulated cluster has this name; the message says which there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterRecord:
    """What another process needs to reach a simulated cluster."""

    name: str
    pid: int
    url: str
    """Of the Kubernetes API."""
    control_url: str
    """Of the fault switches; goes on answering while the cluster is killed."""
    kubeconfig: str
    """Absolute path of a file with admin credentials."""
    nodes: int
    started: str
    """RFC 3339."""
    labels: Mapping[str, str] = field(default_factory=dict)
    data_dir: str = ""
    """"" for a cluster that forgets everything when it ends."""

    @property
    def is_alive(self) -> bool:
        """Whether its process is there. Another process may have its number by now; then connecting tells."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True  # it is there, and another user's
        return True


class NameTaken(Exception):
    """A simulated cluster of this name runs already; the message says where and what to do."""


def check_free(name: str, directory: Path = DEFAULT_DIRECTORY) -> None:
    """Raises NameTaken: a second cluster of a name would take the first one's place in this directory, and its kubeconfig."""
    held = _read(directory / f"{name}.json")
    if held is not None and held.is_alive and held.pid != os.getpid():
        raise NameTaken(
            f'simulated cluster "{name}" runs already (process {held.pid}, {held.url}): end it, choose another name, '
            "or keep this one's state elsewhere with --state-dir"
        )


def announce(record: ClusterRecord, directory: Path = DEFAULT_DIRECTORY) -> Path:
    """Write the file of a cluster, replacing that of an earlier one of its name."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{record.name}.json"
    temporary = directory / f".{record.name}.json.{os.getpid()}"
    temporary.write_bytes(orjson.dumps(asdict(record), option=orjson.OPT_INDENT_2))
    temporary.replace(path)
    return path


def withdraw(record: ClusterRecord, directory: Path = DEFAULT_DIRECTORY) -> None:
    """Remove the file of a cluster that ends, unless another process has taken its name since."""
    held = _read(directory / f"{record.name}.json")
    if held is not None and held.pid == record.pid:
        (directory / f"{record.name}.json").unlink(missing_ok=True)


def running(directory: Path = DEFAULT_DIRECTORY) -> list[ClusterRecord]:
    """Clusters whose process is there, in order of name. Files left behind by ended ones are removed."""
    found = []
    for path in sorted(directory.glob("*.json")) if directory.is_dir() else ():
        record = _read(path)
        if record is None:
            continue
        if record.is_alive:
            found.append(record)
        else:
            path.unlink(missing_ok=True)
    return found


def find(name: str, directory: Path = DEFAULT_DIRECTORY) -> ClusterRecord:
    """The running cluster of this name. Raises: UnknownCluster."""
    present = running(directory)
    for record in present:
        if record.name == name:
            return record
    names = ", ".join(r.name for r in present) or "none"
    raise UnknownCluster(
        f'no simulated cluster "{name}" runs here (running, by {directory}: {names}); '
        "start one with `kcp sim cluster NAME`, or name the directory of its state with --state-dir"
    )


def _read(path: Path) -> ClusterRecord | None:
    """A record; None for a file that is gone or not one."""
    try:
        return ClusterRecord(**orjson.loads(path.read_bytes()))
    except (OSError, orjson.JSONDecodeError, TypeError):
        return None
