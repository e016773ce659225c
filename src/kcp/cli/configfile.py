"""The `--config` files of `kcp start`: TMCConfiguration, YAML or JSON, with the fields of `server.settings` and the reference's others.

Several files are one configuration; what a later one says counts. Faults are gathered, with the place of each, and told together.
Before: `settingsflags`. After: `server.settings`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kcp.cli.logs import LEVELS
from kcp.server.settings import IGNORED, SETTINGS, WITHOUT_EFFECT

Value = Any  # of YAML

KIND = "TMCConfiguration"
GATES = "core.featureFlags"
LEVELS_AT = frozenset({"core.logLevel", "logging.level"})
_ALSO = {f"logging.rotation.{name}": f"logging.logRotation.{name}" for name in ("maxSize", "maxAge", "maxBackups")}
"""Other names for fields."""
_BY_PATH = {setting.path: setting for setting in SETTINGS}
_MAPS = frozenset({GATES, "health.alertThresholds", "resources.transformationPolicies", "resources.validationPolicies"})
"""Fields whose value is a map."""


@dataclass(slots=True)
class Configuration:
    """What the files say."""

    values: dict[str, Value] = field(default_factory=dict)
    """By the parameter of the command."""
    places: dict[str, str] = field(default_factory=dict)
    """Parameter → file and field, for messages."""
    faults: list[str] = field(default_factory=list)
    without_effect: list[str] = field(default_factory=list)
    """What to say of fields that change nothing."""


def read(files: Sequence[Path]) -> Configuration:
    found = Configuration()
    for path in files:
        _read_one(path, found)
    return found


def _read_one(path: Path, found: Configuration) -> None:
    import yaml

    try:
        document = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError) as error:
        found.faults.append(f"--config={path}: cannot be read: {getattr(error, 'strerror', None) or error}")
        return
    except yaml.YAMLError as error:
        found.faults.append(f"--config={path}: is not YAML: {' '.join(str(error).split())}")
        return
    if not isinstance(document, dict):
        found.faults.append(f"--config={path}: must hold fields, such as core, placement and health")
        return
    if document.get("kind", KIND) != KIND:
        found.faults.append(f"--config={path}: kind: must be {KIND}")
    for name, value in _leaves({key: part for key, part in document.items() if key not in IGNORED}):
        _take(name, value, path, found)


def _take(name: str, value: Value, path: Path, found: Configuration) -> None:
    place = f"--config={path}: {name}"
    name = _ALSO.get(name, name)
    if name in WITHOUT_EFFECT:
        found.without_effect.append(f"{name} ({WITHOUT_EFFECT[name]})")
    elif name in LEVELS_AT:
        _take_level(value, place, found)
    elif name == GATES:
        _take_gates(value, place, found)
    elif name not in _BY_PATH:
        found.faults.append(f"{place}: there is no such field")
    elif value is not None:
        parameter = _BY_PATH[name].parameter
        try:
            found.values[parameter] = _BY_PATH[name].parse(value)
        except ValueError as error:
            found.faults.append(f"{place}: {error}")
        found.places[parameter] = place


def _take_level(value: Value, place: str, found: Configuration) -> None:
    if str(value) not in LEVELS:
        found.faults.append(f"{place}: must be one of {', '.join(LEVELS)}")
        return
    found.values["verbosity"] = LEVELS[str(value)]
    found.places["verbosity"] = place


def _take_gates(value: Value, place: str, found: Configuration) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(said, bool) for said in value.values()):
        found.faults.append(f"{place}: must name feature gates, each true or false")
        return
    found.values["feature_gates"] = ",".join(f"{gate}={str(said).lower()}" for gate, said in value.items())
    found.places["feature_gates"] = place


def _leaves(tree: Mapping[Any, Value], prefix: str = "") -> Iterator[tuple[str, Value]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name not in _MAPS:
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value
