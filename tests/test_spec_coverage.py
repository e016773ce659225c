"""docs/spec-coverage.md is true and whole: what it names is there, and no line of the two guides is left out of it.

The guides themselves are beside the repository where it is worked on; without them the facts that the table keeps are what is looked at.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from tests.guides import ROOT, TABLE, Row, guides, rows

GUIDES = ROOT.parent / "shared" / "spec"
NAMES = "building-kcp-with-tmc.md", "tmc-next-steps-for-production.md"
LOGGING = {
    "logging:", "level: info", "format: json", "outputs:", "- stdout", "- file:/var/log/kcp/kcp.log", "logRotation:", "maxSize: 100MB",
    "maxAge: 30", "maxBackups: 10",
}  # fmt: skip
WORD_FOR_WORD = {
    "10. Alerting and Notifications": ("monitoring/alertmanager/alertmanager.yaml", {"- api_url: 'YOUR_SLACK_WEBHOOK_URL'"}),
    "9. Comprehensive Logging": ("monitoring/fluentd/fluent.conf", {"format json", *LOGGING}),
}
"""Section of the plan for production → the file that has its lines, but for these."""
_NAMED_IN_A_COMMENT = re.compile(r"(?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:ya?ml|sh|json)\b")


def test_both_guides_are_in_the_table() -> None:
    assert tuple(guides()) == NAMES
    assert all(held for sections in guides().values() for held in sections.values()), "no section without a row"
    assert sum(len(row.facts) for row in rows()) > 400


def test_every_row_names_tests_that_are_there_or_says_why_there_are_none() -> None:
    faults = [f"{TABLE.name}:{row.line}: {fault}" for row in rows() for fault in _faults(row)]
    assert faults == []


def _faults(row: Row) -> Iterator[str]:
    if not row.facts or not row.here:
        yield "a fact, and where it is"
    if not row.tests and not row.shown.startswith("no test: "):
        yield "tests by link and name, or `no test: ` and the reason"
    for path, name in row.tests:
        if not re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text() if (ROOT / path).is_file() else "", re.MULTILINE):
            yield f"{path} has no {name}"


def test_make_knows_every_target_of_the_guides() -> None:
    commands = {fact for row in rows() for fact in row.facts if fact.startswith("make ")}
    words = {word for command in commands for word in re.sub(r'"[^"]*"|&&|\$\(.*?\)|\S+=\S*', " ", command).split()}
    targets = sorted(word for word in words if word != "make" and not word.startswith("-"))
    assert len(targets) > 25
    done = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("section", WORD_FOR_WORD)
def test_files_of_the_guides_have_their_lines(section: str) -> None:
    path, others = WORD_FOR_WORD[section]
    here = [_plain(line) for line in (ROOT / path).read_text().splitlines()]
    facts = [fact for row in guides()[NAMES[1]][section] for fact in row.facts if not fact.endswith(".yaml")]
    assert [fact for fact in facts if fact not in here and fact not in others] == []
    assert others <= set(facts)


@dataclass
class Section:
    """What stands under one heading of a guide, without the words in between."""

    code: list[tuple[int, str]] = field(default_factory=list)
    """Lines of code with their numbers, as `_plain` leaves them."""
    items: list[tuple[int, str]] = field(default_factory=list)
    """Items of lists."""
    named: list[tuple[int, str]] = field(default_factory=list)
    """What is in backticks, linked, or a file in a comment of the code."""
    text: str = ""


def _plain(line: str) -> str:
    r"""A line of code without what only holds lines together.

    >>> _plain("│   ├── values.yaml"), _plain("  --namespace a \\"), _plain('schedule: "0 2 * * *"  # Daily')
    ('values.yaml', '--namespace a', 'schedule: "0 2 * * *"')
    """
    return re.sub(r"\s{2,}# .*$| \\$", "", line.strip(" │├└─")).strip()


def sections(text: str) -> dict[str, Section]:
    found: dict[str, Section] = {}
    section, is_code = Section(), False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            is_code = not is_code
        elif heading := None if is_code else re.match(r"#{2,} +(.*)", line):
            section = found.setdefault(heading[1], Section())
        elif is_code:
            _take_code(section, number, line)
        else:
            _take_words(section, number, line)
        section.text += f"{line if is_code else line.replace('**', '')}\n"
    return found


def _take_code(section: Section, number: int, line: str) -> None:
    if not line.lstrip().startswith("#"):
        section.code += [(number, plain)] if (plain := _plain(line)) else []
    elif not line.startswith("#!"):
        section.named += [(number, name) for name in _NAMED_IN_A_COMMENT.findall(line)]


def _take_words(section: Section, number: int, line: str) -> None:
    section.named += [(number, name) for name in re.findall(r"`([^`]+)`|\]\(([^)]+)\)", line) for name in name if name]
    if item := re.match(r"(?:- \[ \]|-|\d+\.) +(.*)", line):
        words = item[1].replace("**", "")
        section.items.append((number, words))
        section.named += [(number, word.strip("():,.`")) for word in words.split() if re.search(r"\d", word)]


def left_out(guide: str, text: str, table: dict[str, list[Row]]) -> Iterator[str]:
    for heading, section in sections(text).items():
        facts = [fact for row in table.get(heading, ()) for fact in row.facts]
        rest = iter(facts)
        for number, line in section.code:
            if line not in rest:
                yield f"{guide}:{number}: no row for, or not in this order: {line}"
                return
        for number, words in section.items:
            if not any(fact in words for fact in facts):
                yield f"{guide}:{number}: no row for: {words}"
        for number, name in section.named:
            if not any(name in fact for fact in facts):
                yield f"{guide}:{number}: no row for: {name}"
        yield from (f"{guide}: {heading}: not said there: {fact}" for fact in facts if fact not in section.text)
    yield from (f"{guide}: there is no section {heading}" for heading in table.keys() - sections(text).keys())


@pytest.mark.parametrize("guide", NAMES)
def test_no_line_of_a_guide_is_left_out(guide: str) -> None:
    if not GUIDES.is_dir():
        pytest.skip("needs the guides in ../shared/spec")
    assert list(left_out(guide, (GUIDES / guide).read_text(), guides()[guide])) == []


def test_a_line_that_is_left_out_is_named_with_its_place() -> None:
    text = "## A\n```bash\n# see x/y.sh\nmake a\nmake b\n```\n- uses `c` for 5 s\n"
    kept = Row(1, ("make a", "x/y.sh", "`c`"), "here", "no test: none")
    assert list(left_out("g.md", text, {"A": [kept]})) == ["g.md:5: no row for, or not in this order: make b"]
    whole = Row(1, ("make a", "make b", "x/y.sh"), "here", "no test: none")
    assert list(left_out("g.md", text, {"A": [whole]})) == [
        "g.md:7: no row for: uses `c` for 5 s", "g.md:7: no row for: c", "g.md:7: no row for: 5",
    ]  # fmt: skip
