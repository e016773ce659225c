"""What the product depends on when it runs, and through what, with versions and licences as the packages state them.

python scripts/build/dependencies.py
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib import metadata

from packaging.requirements import Requirement
from rich.console import Console
from rich.tree import Tree

PRODUCT = "kcp-tmc"


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(name: str, extras: Iterable[str] = ()) -> Iterator[Requirement]:
    """Of an installed distribution, as far as they concern this environment."""
    for text in metadata.requires(name) or ():
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def needed(name: str = PRODUCT) -> dict[str, list[str]]:
    """Every distribution below `name`, each with those that ask for it."""
    found: dict[str, list[str]] = {}
    open_ = [(name, frozenset[str]())]
    while open_:
        parent, extras = open_.pop()
        for requirement in requirements(parent, extras):
            child = canonical(requirement.name)
            if child not in found:
                open_.append((child, frozenset(requirement.extras)))
            found.setdefault(child, []).append(canonical(parent))
    return found


def licence(name: str) -> str:
    about = metadata.metadata(name)
    if stated := about.get("License-Expression"):
        return str(stated)
    classified = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or () if c.startswith("License ::")]
    return ", ".join(classified) or (about.get("License") or "not stated").splitlines()[0][:60]


def main() -> None:
    found = needed()
    tree = Tree(f"{PRODUCT} {metadata.version(PRODUCT)}: {len(found)} distributions")
    direct = sorted(name for name, parents in found.items() if PRODUCT in parents)
    for name in direct:
        branch = tree.add(f"{name} {metadata.version(name)} [dim]{licence(name)}[/dim]")
        for below in sorted(child for child, parents in found.items() if name in parents and child not in direct):
            shared = "" if found[below] == [name] else f" [dim]also of {', '.join(sorted(set(found[below]) - {name}))}[/dim]"
            branch.add(f"{below} {metadata.version(below)} [dim]{licence(below)}[/dim]{shared}")
    Console().print(tree)


if __name__ == "__main__":
    main()
