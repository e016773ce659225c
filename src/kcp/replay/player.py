"""Plays a scenario: carries out its steps at their times, looks at the fleet after each and every half minute, and says what does not hold.

The same scenario plays the same to the last write: `Outcome.digest` is equal.
Before: `cli.sim_replay`, tests. After: `fleet`, `invariants`.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import heapq
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kcp.aio.clock import Clock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, NotFound, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import ResourceClient
from kcp.client.transport import TransportError
from kcp.replay import invariants
from kcp.replay.bounds import BoundsWatch
from kcp.replay.exclusion import ExclusionWatch
from kcp.replay.fleet import Fleet, run_fleet
from kcp.replay.invariants import DEPLOYMENTS, FOREIGN, FOREIGN_NAMESPACE, NAMESPACE, PATIENCE_S, DeletionWatch, Violation
from kcp.replay.ledger import Ledger
from kcp.replay.scenario import CONTROL_PLANE, Scenario, Step
from kcp.sim.faults import Fault
from kcp.tmc.model.kinds import SYNC_TARGETS
from kcp.tmc.model.wishes import EXCLUSIVE

CONFIG_MAPS, NAMESPACES = GVR("", "v1", "configmaps"), GVR("", "v1", "namespaces")
LOOK_EVERY_S = 30.0
_REST_LOOK_S = 2.0
EVICTION_S = 30
"""In chapters: how long a cluster may be silent before its work goes elsewhere, so that minutes hold what takes an hour otherwise."""
_TRY_AGAIN_S = 1.0
_ENDING = "mend"
_SELDOM = (20_000, 20, 50)
"""Thresholds of the garbage collector."""


@dataclass
class Outcome:
    """What a replay showed."""

    violations: list[Violation] = field(default_factory=list)
    played: list[tuple[float, str]] = field(default_factory=list)
    """(time, step) as carried out, mendings included."""
    looks: int = 0
    calm_looks: int = 0
    """Of them at a fleet that had come to rest, when all invariants are checked."""
    digest: str = ""
    """Of everything that was seen; the same for the same scenario."""


Report = Callable[[float, str], None]
"""Told of each step: (time in seconds, text)."""


async def play(scenario: Scenario, directory: Path, clock: Clock, *, report: Report = lambda _at, _text: None) -> Outcome:
    """Args: directory: for certificates. clock: virtual, unless somebody wants to wait for a day.

    Raises nothing for what goes wrong in the fleet: that is a violation.
    """
    seed = scenario.seed * 1009 + 1
    async with run_fleet(directory, clock, scenario.clusters, seed=seed, number_of_clusters=scenario.number_of_clusters) as fleet:
        async with _Player(scenario, fleet, report).playing() as player:
            await player.play()
            return player.outcome


async def play_chapters(
    chapters: Sequence[Scenario], directory: Path, clock: Clock, *, report: Report = lambda _at, _text: None
) -> list[Outcome]:
    """Short scenarios, one after another in one fleet: each begins once all has come to rest after the one before.

    A chapter that leaves the fleet otherwise is the last: what follows would be found broken for no fault of its own.
    Args: chapters: of the same clusters. Returns: of those that were played.
    """
    first, outcomes = chapters[0], list[Outcome]()
    with _collected_seldom():
        async with run_fleet(
            directory, clock, first.clusters, seed=first.seed * 1009 + 1, number_of_clusters=first.number_of_clusters, eviction_s=EVICTION_S
        ) as fleet, _Player(first, fleet, report).playing() as player:  # fmt: skip
            for chapter in chapters:
                await player.begin(chapter)
                outcomes.append(await player.play_to_rest())
                if outcomes[-1].violations:
                    break
    return outcomes


@contextmanager
def _collected_seldom() -> Iterator[None]:
    """Chapters in a row leave little garbage in circles; looking for it as often as Python does is a sixth of their time."""
    before = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class _Player:
    def __init__(self, scenario: Scenario, fleet: Fleet, report: Report) -> None:
        self._scenario, self._fleet, self._report = scenario, fleet, report
        self._clock = fleet.clock
        self._ledger = Ledger()
        self._deletions = DeletionWatch(fleet, self._ledger)
        self._exclusion = ExclusionWatch(fleet, self._ledger)
        self._bounds = BoundsWatch(fleet, self._ledger, max((step.for_s for step in scenario.steps), default=0.0))
        self._acts: asyncio.Queue[Step] = asyncio.Queue()
        self._order = itertools.count()
        self._due: list[tuple[float, int, str, Step]] = []
        self._seen = hashlib.sha256()
        self._known: set[str] = set()
        self._started_s = self._clock.monotonic()
        self.outcome = Outcome()

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[_Player]:
        for cluster in self._fleet.clusters.values():
            client = cluster.observer()
            await client.resource(NAMESPACES).create(_object("v1", "Namespace", FOREIGN_NAMESPACE))
            await client.resource(DEPLOYMENTS).create(_deployment(FOREIGN, 1, "theirs:1"), namespace=FOREIGN_NAMESPACE)
        async with Supervisor("player") as tasks:
            tasks.spawn(self._deletions.follow_originals(), name="originals")
            for name in self._fleet.clusters:
                tasks.spawn(self._deletions.follow(name), name=f"deletions in {name}")
                tasks.spawn(self._exclusion.follow(name), name=f"pods in {name}")
                tasks.spawn(self._bounds.follow(name), name=f"replicas in {name}")
            tasks.spawn(self._work(), name="user")
            yield self

    async def play(self) -> None:
        for step in self._scenario.steps:
            self._plan(step.at_s, step.verb, step)
        self._plan(0.0, "look", Step(0.0, "look"))
        while self._due and self._due[0][0] <= self._scenario.duration_s:
            await self._next()
        await self._end()
        self.outcome.digest = self._seen.hexdigest()[:16]

    async def begin(self, chapter: Scenario) -> None:
        """Go on in the same fleet, at a new zero of time."""
        self._scenario, self.outcome = chapter, Outcome()
        self._started_s = self._clock.monotonic()
        self._due.clear()
        self._known.clear()
        self._ledger.meddled.clear()
        self._ledger.unwatched.clear()
        self._ledger.stir(0.0)

    async def play_to_rest(self) -> Outcome:
        """The steps; then as long as it takes to come to rest, which is `PATIENCE_S` at most."""
        for step in self._scenario.steps:
            self._plan(step.at_s, step.verb, step)
        while self._due and self._due[0][0] <= self._scenario.duration_s:
            await self._next()
        await self._mend_all()
        ends_s = self._now_s() + PATIENCE_S
        while self._now_s() < ends_s and any(await self._unrest()):
            await self._clock.sleep(_REST_LOOK_S)
        await self._look(at_rest=True)
        self.outcome.digest = self._seen.hexdigest()[:16]
        return self.outcome

    async def _unrest(self) -> list[tuple[str, str]]:
        view = await invariants.look(self._fleet)
        return list(invariants.at_rest(view, self._ledger, self._scenario.number_of_clusters))

    def _plan(self, at_s: float, verb: str, step: Step) -> None:
        heapq.heappush(self._due, (at_s, next(self._order), verb, step))

    def _now_s(self) -> float:
        return self._clock.monotonic() - self._started_s

    async def _next(self) -> None:
        at_s, _, verb, step = heapq.heappop(self._due)
        await self._clock.sleep(at_s - self._now_s())
        if verb == "look":
            self._plan(at_s + LOOK_EVERY_S, "look", step)
        elif verb == _ENDING:
            await self._mend(step)
        elif step.is_fault:
            await self._break(step)
        else:
            self._tell(str(step))
            await self._act(step)
        await self._look()

    async def _end(self) -> None:
        """Everything mended, and time to come to rest; then all must hold."""
        await self._mend_all()
        await self._clock.sleep(PATIENCE_S)
        await self._look()

    async def _mend_all(self) -> None:
        for target in list(self._ledger.faults):
            await self._mend(Step(self._now_s(), self._ledger.faults[target], target))
        for cluster in sorted(self._ledger.cordoned):
            await self._acts.put(Step(self._now_s(), "uncordon", cluster))
        await self._acts.join()
        self._ledger.stir(self._now_s())

    # Faults

    async def _break(self, step: Step) -> None:
        self._tell(str(step))
        held = self._ledger.faults.get(step.target)
        if held is not None:
            await self._mend(Step(step.at_s, held, step.target))
        self._ledger.faults[step.target] = step.verb
        self._plan(self._now_s() + step.for_s, _ENDING, step)
        if step.verb == "stop-syncer":
            await self._fleet.stop_syncer(step.target)
            self._ledger.unwatched.add(step.target)
        elif step.verb == "cut-off":
            self._fleet.cut_off(step.target)
        else:
            await self._fleet.set_fault(step.target, Fault(step.verb), amount=step.amount)

    async def _mend(self, step: Step) -> None:
        if self._ledger.faults.get(step.target) != step.verb:
            return  # another fault has taken its place
        self._tell(f"{_ENDING} {step.target}, which had {step.verb}")
        if step.verb == "stop-syncer":
            self._fleet.start_syncer(step.target)
        elif step.verb == "cut-off":
            self._fleet.cuts[step.target].restore()
        else:
            await self._fleet.set_fault(step.target, Fault.NONE, amount=0.0)
        del self._ledger.faults[step.target]
        self._ledger.stir(self._now_s())

    # Users and meddlers

    async def _act(self, step: Step) -> None:
        self._ledger.stir(self._now_s())
        if step.verb in ("drift", "remove-copy"):
            await self._meddle(step)
        else:
            if step.name and step.verb != "config":
                self._ledger.pending[step.name] += 1
            await self._acts.put(step)

    async def _work(self) -> None:
        """The user, who does one thing after the other, and tries again until the server has answered."""
        while True:
            step = await self._acts.get()
            while True:
                try:
                    await self._do(step)
                    break
                except (TransportError, StatusError):
                    await self._clock.sleep(_TRY_AGAIN_S)
            if step.name in self._ledger.pending:
                self._ledger.pending[step.name] -= 1
                self._ledger.pending += Counter()  # drops what has come to nothing
            self._ledger.stir(self._now_s())
            self._acts.task_done()

    async def _do(self, step: Step) -> None:
        user, wanted = self._fleet.user(), self._ledger.wanted
        deployments = user.resource(DEPLOYMENTS)
        if step.verb == "deploy" and step.name not in wanted:
            await _made(deployments, _deployment(step.name, step.replicas, "web:1", step.exclusive))
            self._ledger.want(step.name, step.replicas)
            if step.exclusive:
                self._ledger.exclusive[step.name] = step.exclusive
            else:
                self._ledger.exclusive.pop(step.name, None)
        elif step.verb in ("scale", "deploy") and step.name in wanted:
            await deployments.patch(step.name, {"spec": {"replicas": step.replicas}}, namespace=NAMESPACE)
            self._ledger.want(step.name, step.replicas)
        elif step.verb == "image" and step.name in wanted:
            image = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": f"web:{step.replicas + 2}"}]}}}}
            await deployments.patch(step.name, image, namespace=NAMESPACE)
        elif step.verb == "delete" and step.name in wanted:
            await _gone(deployments.delete(step.name, namespace=NAMESPACE))
            del wanted[step.name]
        elif step.verb == "config":
            await _made(user.resource(CONFIG_MAPS), _config(step.name))
        elif step.verb in ("cordon", "uncordon"):
            await user.resource(SYNC_TARGETS).patch(step.target, {"spec": {"unschedulable": step.verb == "cordon"}})
            (self._ledger.cordoned.add if step.verb == "cordon" else self._ledger.cordoned.discard)(step.target)

    async def _meddle(self, step: Step) -> None:
        """Somebody in a cluster changes or removes a copy that is not theirs."""
        resource = self._fleet.clusters[step.target].observer().resource(DEPLOYMENTS)
        copies = [obj for obj in (await resource.list()).items if meta.name(obj) == step.name]
        for copy in copies:
            self._ledger.meddled[step.target, step.name] = self._now_s()
            with suppress(StatusError):  # a full disk stops meddlers too
                await self._change_copy(resource, copy, step)

    @staticmethod
    async def _change_copy(resource: ResourceClient, copy: JSONObject, step: Step) -> None:
        if step.verb == "drift":
            await resource.patch(step.name, {"spec": {"replicas": step.replicas + 7}}, namespace=meta.namespace(copy))
        else:
            await resource.delete(step.name, namespace=meta.namespace(copy))

    # Looking

    async def _look(self, *, at_rest: bool = False) -> None:
        """Args: at_rest: it has come to rest, or had its time."""
        now_s, ledger = self._now_s(), self._ledger
        if ledger.faults.get(CONTROL_PLANE) == Fault.KILL.value and self._fleet.control_plane.server is not None:
            return  # it is on its way up
        unsure = frozenset(ledger.pending)  # what is answered while we look may be in what we see or not
        view = await invariants.look(self._fleet)
        found = [*invariants.always(view, ledger, unsure), *self._deletions.found, *self._exclusion.found, *self._bounds.found]
        for watch in (self._deletions, self._exclusion, self._bounds):
            watch.found.clear()
        self.outcome.looks += 1
        if at_rest or ledger.is_calm(now_s, PATIENCE_S):
            self.outcome.calm_looks += 1
            found += invariants.at_rest(view, ledger, self._scenario.number_of_clusters)
        for invariant, detail in found:
            if detail not in self._known:  # told once, when it is first seen
                self._known.add(detail)
                self.outcome.violations.append(Violation(round(now_s, 3), invariant, detail))
                self._tell(f"VIOLATION {invariant}: {detail}")
        self._remember(view)

    def _remember(self, view: invariants.View) -> None:
        for cluster, copies in sorted(view.copies.items()):
            for copy in sorted(copies, key=meta.name):
                line = f"{self._now_s():.3f} {cluster} {meta.name(copy)} {copy['spec']['replicas']} {meta.resource_version(copy)}"
                self._seen.update(line.encode())

    def _tell(self, text: str) -> None:
        self.outcome.played.append((self._now_s(), text))
        self._report(self._now_s(), text)


async def _gone(deletion: Awaitable[Any]) -> None:
    try:
        await deletion
    except NotFound:  # likewise
        return


async def _made(resource: ResourceClient, obj: JSONObject) -> None:
    """Raises AlreadyExists while one of that name is still on its way out."""
    try:
        await resource.create(obj, namespace=NAMESPACE)
    except AlreadyExists:
        held = await resource.get(meta.name(obj), namespace=NAMESPACE)
        if meta.deletion_timestamp(held):
            raise
        # Otherwise an earlier attempt made it, and its answer was lost.


def _object(api_version: str, kind: str, name: str, **parts: Any) -> JSONObject:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **parts}


def _deployment(name: str, replicas: int, image: str, exclusive: str = "") -> JSONObject:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    deployment = _object("apps/v1", "Deployment", name, spec=spec)
    if exclusive:
        meta.set_annotation(deployment, EXCLUSIVE, exclusive)
    return deployment


def _config(name: str) -> JSONObject:
    return _object("v1", "ConfigMap", name, data={"key": "value"})
