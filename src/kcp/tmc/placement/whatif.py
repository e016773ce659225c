"""What if a cluster were lost, or more were there: changes to a scene, as `kubectl tmc preview --what-if` says them.

    lose=eu-1           the SyncTarget eu-1 is silent for longer than any eviction time; patterns and lists: lose=eu-*,us-1
    lose=zone=a         all whose label or cell `zone` says a
    add=3xlarge         three more clusters of size large, empty and ready; add=2xeu-1: two of the shape, labels and cells of eu-1
    add=3xlarge:region=eu,tier=gold     with these labels

Before: `kubectl tmc preview`. After: `preview.Scene`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from kcp.apimachinery.keys import ClusterName
from kcp.tmc.model.kinds import Placement
from kcp.tmc.model.names import sync_target_key
from kcp.tmc.placement.preview import Ground, Scene
from kcp.tmc.placement.snapshot import Fleet, Target

_GIB = float(1 << 30)
SIZES: Mapping[str, Mapping[str, float]] = {
    "small": {"cpu": 4.0, "memory": 16 * _GIB, "pods": 110.0},
    "medium": {"cpu": 16.0, "memory": 64 * _GIB, "pods": 440.0},
    "large": {"cpu": 64.0, "memory": 256 * _GIB, "pods": 1760.0},
}
"""Clusters of 1, 4 and 16 nodes of 4 CPUs and 16 GiB."""
LOST = "lost (what if)"
MOST_ADDED = 1000
_ADD = re.compile(r"(?:(?P<number>\d+)x)?(?P<shape>[a-z0-9][-a-z0-9.]*)(?::(?P<labels>.+))?")


class WhatIfError(ValueError):
    """A supposition that means nothing; the message says what would."""


@dataclass(frozen=True, slots=True)
class Lose:
    """Args: label: of which `patterns` are values; "": names of SyncTargets."""

    patterns: tuple[str, ...]
    label: str = ""

    def holds(self, target: Target) -> bool:
        text = target.topology(self.label) if self.label else target.name
        return any(fnmatchcase(text, pattern) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Add:
    number: int
    shape: str
    labels: Mapping[str, str]


def parse(text: str) -> Lose | Add:
    """Raises: WhatIfError.

    >>> parse("lose=eu-1,us-*")
    Lose(patterns=('eu-1', 'us-*'), label='')
    >>> parse("add=3xlarge:region=eu")
    Add(number=3, shape='large', labels={'region': 'eu'})
    """
    verb, _, rest = text.partition("=")
    if verb == "lose" and rest:
        label, sign, values = rest.partition("=")
        return Lose(_words(values), label) if sign else Lose(_words(rest))
    found = _ADD.fullmatch(rest) if verb == "add" else None
    if found is None:
        raise WhatIfError(f'"{text}" is no supposition: write lose=eu-1, lose=zone=a, add=3xlarge, or add=2xeu-1:region=eu')
    labels = dict(word.split("=", 1) for word in _words(found["labels"] or "") if "=" in word)
    number = int(found["number"] or 1)
    if not 0 < number <= MOST_ADDED:
        raise WhatIfError(f'"{text}": between 1 and {MOST_ADDED} clusters can be added')
    return Add(number, found["shape"], labels)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def suppose(scene: Scene, what: Sequence[Lose | Add]) -> Scene:
    """The scene if all of that were so. Raises: WhatIfError if there is no such cluster or size."""
    for one in what:
        scene = _lose(scene, one) if isinstance(one, Lose) else _add(scene, one)
    return scene


def _lose(scene: Scene, what: Lose) -> Scene:
    lost = {t.key for ground in scene.grounds.values() for t in ground.targets if what.holds(t)}
    if not lost:
        said = f"{what.label}={','.join(what.patterns)}" if what.label else ",".join(what.patterns)
        raise WhatIfError(f"lose={said}: no SyncTarget is that; there are {_known(scene)}")

    def after(target: Target) -> Target:
        return replace(target, ready=False, not_ready_reason=LOST, not_ready_for_s=float("inf")) if target.key in lost else target

    grounds = {path: replace(g, targets=Fleet(after(t) for t in g.targets)) for path, g in scene.grounds.items()}
    return replace(scene, grounds=grounds)


def _add(scene: Scene, what: Add) -> Scene:
    home, model = _model(scene, what)
    taken = {t.name for t in scene.grounds[home].targets}
    free = (name for i in range(1, len(taken) + what.number + 1) if (name := f"{what.shape}-new-{i}") not in taken)
    labels = {**model.labels, **what.labels}
    fresh = [
        replace(
            model, key=sync_target_key(ClusterName(f"what-if:{home}"), name), name=name, labels=labels, ready=True, not_ready_reason="",
            not_ready_for_s=0.0, unschedulable=False, evicting=False, evicts_in_s=None, used=dict.fromkeys(model.allocatable, 0.0),
        )
        for name, _ in zip(free, range(what.number), strict=False)
    ]  # fmt: skip
    ground = scene.grounds[home]
    added = Ground(Fleet.of([*ground.targets, *fresh]), ground.locations)
    return replace(scene, grounds={**scene.grounds, home: added})


def _model(scene: Scene, what: Add) -> tuple[str, Target]:
    """Which workspace gets the clusters, and what they are like."""
    for home, ground in scene.grounds.items():
        for target in ground.targets:
            if target.name == what.shape:
                return home, replace(target, taints=())
    said = f"add={what.number}x{what.shape}"
    if what.shape not in SIZES:
        raise WhatIfError(f"{said}: neither a size ({', '.join(SIZES)}) nor a SyncTarget; there are {_known(scene)}")
    homes = {scene.home_of(t, Placement.of(obj, ())) for t in scene.towns for obj in t.placements.values()} & set(scene.grounds)
    if len(homes) != 1:
        raise WhatIfError(f"{said}: say where, by naming a SyncTarget whose shape they have; there are {_known(scene)}")
    return homes.pop(), Target("", "", {}, ready=True, allocatable=SIZES[what.shape])


def _known(scene: Scene) -> str:
    return ", ".join(sorted(set(scene.names.values()))) or "none"
