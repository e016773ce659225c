#!/usr/bin/env python3
"""Make each chart's README.md and values.schema.json out of its values.yaml.

Run by `make chart-docs`; tests/unit/delivery/test_chart_documents.py fails when what is there differs from what this makes.
A value is described by the comment behind it. The comment may begin with its type in parentheses: `(string)`, `(int-or-string)`,
`(enum: a, b)`; `(map)` and `(list)` are not looked into. Values of null are short forms: the schema allows null for them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHARTS = ("kcp-syncer", "kcp-tmc")
OF_THE_OTHER = {
    "kcp-tmc": {"syncer": {"type": "object", "description": "Of chart kcp-syncer: one file may serve both"}},
    "kcp-syncer": {},
}
_TYPES = {"string": "string", "bool": "boolean", "int": "integer", "map": "object", "list": "array"}
_SCALARS = {"tag:yaml.org,2002:bool": "boolean", "tag:yaml.org,2002:int": "integer", "tag:yaml.org,2002:str": "string"}
_LOADER = yaml.SafeLoader


@dataclass(frozen=True)
class Leaf:
    """One value that can be given."""

    path: tuple[str, ...]
    node: yaml.Node
    kind: str
    """What stands in parentheses, or ""."""
    text: str

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def default(self) -> Any:
        loader = _LOADER("")
        return loader.construct_object(self.node, deep=True)


def leaves(text: str) -> Iterator[Leaf]:
    root = yaml.compose(text, Loader=_LOADER)
    assert isinstance(root, yaml.MappingNode)
    yield from _below(root, (), text.splitlines())


def _below(node: yaml.MappingNode, path: tuple[str, ...], lines: list[str]) -> Iterator[Leaf]:
    for key, value in node.value:
        here = (*path, key.value)
        told = re.search(r"\s#\s(.*)$", lines[key.start_mark.line])
        kind, text = re.match(r"(?:\(([^)]*)\)\s*)?(.*)", told[1] if told else "").groups()
        if isinstance(value, yaml.MappingNode) and value.value and not kind:
            yield from _below(value, here, lines)
        else:
            yield Leaf(here, value, kind or "", text)


def schema_of(leaf: Leaf) -> dict[str, Any]:
    """JSON schema of one value."""
    found: dict[str, Any] = {"description": leaf.text} if leaf.text else {}
    if leaf.kind.startswith("enum:"):
        words = [word.strip().strip('"') for word in leaf.kind.removeprefix("enum:").split(",")]
        return {**found, "enum": words}
    if leaf.kind == "int-or-string":
        return {**found, "type": ["integer", "string"]}
    kind = _TYPES.get(leaf.kind) or _type(leaf.node)
    return {**found, "type": [kind, "null"] if leaf.default is None else kind}


def _type(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "object"
    return "array" if isinstance(node, yaml.SequenceNode) else _SCALARS[node.tag]


def schema(chart: str, text: str) -> str:
    tree: dict[str, Any] = {"$schema": "http://json-schema.org/draft-07/schema#", "title": f"Values of chart {chart}", **_closed()}
    for leaf in leaves(text):
        place = tree
        for part in leaf.path[:-1]:
            place = place["properties"].setdefault(part, _closed())
        place["properties"][leaf.path[-1]] = schema_of(leaf)
    tree["properties"].update(OF_THE_OTHER[chart])
    if chart == "kcp-syncer":
        for name in ("config", "resources"):
            tree["properties"]["kcp"]["properties"][name] = {"type": "object", "description": "Of chart kcp-tmc: one file may serve both"}
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def _closed() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def readme(chart: Path, text: str) -> str:
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    rows = [f"| `{leaf.name}` | {_shown(leaf)} | {leaf.text.replace('|', chr(92) + '|')} |" for leaf in leaves(text)]
    table = "\n".join(["| value | default | meaning |", "|---|---|---|", *rows])
    head = f"# {about['name']}\n\n{about['description']}. Version {about['version']}, Kubernetes {about['kubeVersion'].removesuffix('-0')}."
    guide = (chart / "guide.md").read_text().strip()
    return f"<!-- Made by `make chart-docs` of guide.md and values.yaml. -->\n{head}\n\n{guide}\n\n## Values\n\n{table}\n"


def _shown(leaf: Leaf) -> str:
    value = leaf.default
    if value is None:
        return ""
    shown = value if isinstance(value, str) and value else json.dumps(value)
    return "see values.yaml" if len(shown) > 60 or "\n" in shown else f"`{shown}`"


def made() -> dict[Path, str]:
    """Every file that this makes, with its content."""
    found: dict[Path, str] = {}
    for name in CHARTS:
        chart = ROOT / "charts" / name
        text = (chart / "values.yaml").read_text()
        found[chart / "README.md"] = readme(chart, text)
        found[chart / "values.schema.json"] = schema(name, text)
    return found


def main() -> None:
    for path, text in made().items():
        path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
