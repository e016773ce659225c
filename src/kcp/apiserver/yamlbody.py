"""YAML bodies as JSON values: no dates, no tags, string keys, and repeated keys noticed. Imported only when a YAML body comes.

Before: `body`. Source: sigs.k8s.io/yaml (YAMLToJSON), whose scalars are those of JSON.
"""

from __future__ import annotations

from typing import Any

import yaml

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _JsonLoader(_Loader):  # type: ignore[misc]  # the C loader where PyYAML was built with it
    """Makes only values that JSON has."""

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self.path: list[str] = []
        self.duplicates: list[str] = []


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[str, Any]:
    loader.flatten_mapping(node)
    made: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = _key(loader.construct_object(key_node, deep=True))
        loader.path.append(f".{key}" if loader.path else key)
        if key in made:
            loader.duplicates.append("".join(loader.path))
        made[key] = _value(loader, value_node)
        loader.path.pop()
    return made


def _sequence(loader: Any, node: yaml.SequenceNode) -> list[Any]:
    made = []
    for index, value_node in enumerate(node.value):
        loader.path.append(f"[{index}]")
        made.append(_value(loader, value_node))
        loader.path.pop()
    return made


def _value(loader: Any, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node)
    if isinstance(node, yaml.SequenceNode):
        return _sequence(loader, node)
    return loader.construct_object(node, deep=True)


def _key(key: Any) -> str:
    """A mapping's key as JSON writes it."""
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)


def _text(loader: Any, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


_JsonLoader.add_constructor("tag:yaml.org,2002:timestamp", _text)


def load(raw: bytes) -> tuple[Any, tuple[str, ...]]:
    """The one document in `raw`, and the paths of keys that it has twice. Raises yaml.YAMLError, also for more documents."""
    loader = _JsonLoader(raw)
    try:
        node = loader.get_single_node()
        value = None if node is None else _value(loader, node)
        return value, tuple(dict.fromkeys(loader.duplicates))
    finally:
        loader.dispose()
