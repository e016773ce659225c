"""The documents are true: paths they name exist, the map is short, every dependency is explained."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import pytest

from kcp.cli.kcp import start_command
from kcp.cli.ops import ops_group
from kcp.cli.settingsflags import shown
from kcp.cli.workload_syncer import main as syncer_command
from kcp.server.settings import SETTINGS

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_in_a_document_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", document.read_text())
    missing = [t for t in targets if not (document.parent / t).exists()]
    assert missing == []


def test_the_map_is_at_most_80_lines() -> None:
    assert len((ROOT / "AGENTS.md").read_text().splitlines()) <= 80


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(spec for extra in project["optional-dependencies"].values() for spec in extra)]
    text = (ROOT / "docs" / "dependencies.md").read_text()
    unexplained = [name for spec in wanted if (name := re.split(r"[><=~\[]", spec)[0]) and f"`{name}`" not in text]
    assert unexplained == []


def test_every_console_script_is_documented() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    text = (ROOT / "README.md").read_text()
    assert [s for s in scripts if f"`{s}`" not in text] == []


def test_packages_of_the_house_are_in_the_map() -> None:
    text = (ROOT / "AGENTS.md").read_text()
    packages = [p.name for p in (ROOT / "src" / "kcp").iterdir() if (p / "__init__.py").exists()]
    assert [p for p in packages if f"{p}/" not in text] == []


def test_every_option_of_the_server_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    flags = {flag for parameter in start_command.params for flag in parameter.opts}
    assert sorted(f for f in flags if f"`{f}`" not in text) == []


def test_every_option_of_the_syncer_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    flags = {flag for parameter in syncer_command.params for flag in parameter.opts}
    assert sorted(f for f in flags if f"`{f}`" not in text) == []


def test_every_option_of_the_runbook_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    flags = {flag for command in ops_group.commands.values() for parameter in command.params for flag in parameter.opts}
    assert sorted(f for f in flags if f"`{f}`" not in text) == []


_SETTINGS = re.compile(r"(<!-- settings: .*? -->\n).*?(<!-- end of settings -->)", re.DOTALL)


def _table_of_settings() -> str:
    lines = ["| flag | variable | field of the file | default | meaning |", "|---|---|---|---|---|"]
    for setting in SETTINGS:
        told = shown(setting, setting.default)
        meaning = setting.help.removeprefix("TMC: ") + (f" ({', '.join(setting.words)})" if setting.words else "")
        live = " Without a restart." if setting.is_live else ""
        cells = f"`{setting.flag}`", f"`{setting.env}`", f"`{setting.path}`", f"`{told}`" if told else "none", meaning + live
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _with_table(text: str) -> str:
    return _SETTINGS.sub(lambda found: f"{found[1]}{_table_of_settings()}{found[2]}", text)


def test_the_table_of_settings_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    assert _with_table(text) == text, "run: python -m tests.test_docs"


_TOLD_DEFAULT = re.compile(r"\s*\[default: (.*)\]")
"""Of a flag whose default is not a value, in its help."""
_FLAGS = ROOT / "docs" / "flags.md"
_HEAD = """# Every flag

Made of the code by `python -m tests.test_docs`, and so as `--help` has it. TMC's flags, their variables and the fields of the file:
[settings.md](settings.md#tmc-of-kcp-start), where also stands what the others are about.
"""


def _flags_document() -> str:
    tmc = {setting.flag for setting in SETTINGS}
    of_the_server = [p for p in start_command.params if isinstance(p, click.Option) and not tmc.intersection(p.opts)]
    of_the_syncer = [p for p in syncer_command.params if isinstance(p, click.Option)]
    prefix = syncer_command.context_settings.get("auto_envvar_prefix", "")
    return "\n".join((
        _HEAD, *_table_of_flags("kcp start", of_the_server, ""), "", *_table_of_flags("workload-syncer", of_the_syncer, prefix), ""
    ))  # fmt: skip


def _table_of_flags(command: str, options: Iterable[click.Option], prefix: str) -> Iterator[str]:
    """Args: prefix: of the variable of a flag that names none; "": it has none."""
    yield from (f"## `{command}`", "", "| flag | variable | default | meaning |", "|---|---|---|---|")
    for option in sorted(options, key=lambda o: o.opts[0]):
        variable = option.envvar or (f"{prefix}_{option.name}".upper() if prefix and option.expose_value else "")
        text = option.help or "Taken, and said to have no effect."
        told = _TOLD_DEFAULT.search(text)
        cells = (
            ", ".join(f"`{flag}`" for flag in option.opts), f"`{variable}`" if variable else "",
            told[1] if told else _default_of(option), _TOLD_DEFAULT.sub("", text).replace("|", "\\|"),
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def _default_of(option: click.Option) -> str:
    if option.required:
        return "required"
    value = option.to_info_dict()["default"]
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    value = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
    return f"`{value}`" if value not in (None, "") else "none"


def test_the_list_of_flags_is_that_of_the_code() -> None:
    assert _FLAGS.read_text() == _flags_document(), "run: python -m tests.test_docs"


if __name__ == "__main__":
    page = ROOT / "docs" / "settings.md"
    page.write_text(_with_table(page.read_text()))
    _FLAGS.write_text(_flags_document())
