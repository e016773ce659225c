"""What `kubectl kcp quickstart` makes: steps that are said and done one after the other. Doing them again makes what is missing.

Before: `plugin_quickstart`. After: the API.
Source: kcp staging cli/pkg/quickstart/scenarios.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol, TypeAlias

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_bind import BINDINGS, EXPORTS, is_bound
from kcp.cli.plugin_lookup import WORKSPACES, conditions_text
from kcp.cli.plugin_session import PluginError, Session
from kcp.cli.plugin_waiting import wait_until

SCHEMAS = GVR("apis.kcp.io", "v1alpha1", "apiresourceschemas")
COWBOYS = GVR("wildwest.dev", "v1alpha1", "cowboys")
LABEL, PREFIX_LABEL = "quickstart.kcp.io/managed", "quickstart.kcp.io/prefix"
_PROGRESS_EVERY = 25


@dataclass
class Demo:
    """One run: where, under which names, until when."""

    session: Session
    prefix: str
    clock: Clock
    deadline_s: float

    @property
    def organization(self) -> str:
        return f"root:{self.prefix}-org"

    @property
    def provider(self) -> str:
        return f"{self.organization}:{self.prefix}-provider"

    @property
    def consumer(self) -> str:
        return f"{self.organization}:{self.prefix}-consumer"

    @property
    def left_s(self) -> float:
        return self.deadline_s - self.clock.monotonic()

    async def workspace(self, path: str, type_: str) -> bool:
        """Make a workspace and wait until it is ready. Returns whether it was there before."""
        parent, _, name = path.rpartition(":")
        workspaces = self.session.client.cluster(parent).resource(WORKSPACES)
        metadata = {"name": name, "labels": {LABEL: "true", PREFIX_LABEL: self.prefix}}
        spec = {"type": {"name": type_, "path": "root"}}
        existed = False
        try:
            made = await workspaces.create({"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": metadata, "spec": spec})
        except AlreadyExists:
            made, existed = await workspaces.get(name), True
        waited = await wait_until(workspaces, made, lambda w: meta.nested(w, "status", "phase") == "Ready", self.clock, self.left_s)
        if not waited.is_done:
            raise PluginError(f'timed out waiting for workspace "{path}" to become ready{conditions_text(waited.obj)}')
        return existed

    async def told_workspace(self, path: str, type_: str) -> None:
        existed = await self.workspace(path, type_)
        self.session.say(f'  Workspace "{path.rpartition(":")[2]}" {"already exists" if existed else "created and ready"} at {path}')

    async def object(self, path: str, gvr: GVR, obj: JSONObject) -> None:
        kind, name = obj["kind"], meta.name(obj)
        try:
            await self.session.client.cluster(path).resource(gvr).create(obj)
            self.session.say(f'  {kind} "{name}" created')
        except AlreadyExists:
            self.session.say(f'  {kind} "{name}" already exists')


Step: TypeAlias = tuple[str, Callable[[Demo], Awaitable[None]]]


class Quickstart(Protocol):
    def steps(self, prefix: str) -> Sequence[Step]: ...

    def samples(self) -> Sequence[Step]: ...

    def summary(self, demo: Demo, *, with_samples: bool) -> str: ...

    def entrance(self, demo: Demo) -> str: ...


async def remove(demo: Demo) -> None:
    """Delete the organization, and with it all that is below."""
    name = demo.organization.rpartition(":")[2]
    workspaces = demo.session.client.cluster("root").resource(WORKSPACES)
    demo.session.say(f'Deleting organization workspace "{name}" with everything in it')
    try:
        held = await workspaces.get(name)
        if meta.labels(held).get(LABEL) != "true":
            raise PluginError(
                f'workspace "{name}" was not made by quickstart (label {LABEL}); delete it yourself: `kubectl ws delete {name}`'
            )
        left = await workspaces.delete(name, uid=meta.uid(held))
    except NotFound:
        demo.session.say("  It does not exist; nothing to do.")
        return
    if meta.deletion_timestamp(left):
        waited = await wait_until(workspaces, left, lambda _: False, demo.clock, demo.left_s)
        if not waited.is_gone:
            raise PluginError(f'timed out waiting for workspace "{name}" to terminate{conditions_text(waited.obj)}')
    demo.session.say("Cleanup complete.")


@dataclass
class ApiProvider:
    """A provider's workspace with an API, and a consumer's that is bound to it."""

    depth: int = 0
    count: int = 0
    seed: int = 0

    def steps(self, prefix: str) -> Sequence[Step]:
        return (
            (f'Creating organization workspace "{prefix}-org"', lambda demo: demo.told_workspace(demo.organization, "organization")),
            (f'Creating service provider workspace "{prefix}-provider"', lambda demo: demo.told_workspace(demo.provider, "universal")),
            ("Applying APIResourceSchema", lambda demo: demo.object(demo.provider, SCHEMAS, _SCHEMA)),
            ("Applying APIExport", lambda demo: demo.object(demo.provider, EXPORTS, _EXPORT)),
            (f'Creating consumer workspace "{prefix}-consumer"', lambda demo: demo.told_workspace(demo.consumer, "universal")),
            ("Creating APIBinding in consumer workspace", _bind_cowboys),
        )

    def samples(self) -> Sequence[Step]:
        return (("Creating a sample Cowboy", lambda demo: demo.object(demo.consumer, COWBOYS, _COWBOY)),)

    def summary(self, demo: Demo, *, with_samples: bool) -> str:
        prefix = demo.prefix
        return f"""
Quickstart complete! Here's what was created:

  Workspace hierarchy:
    root
    +-- {prefix}-org (organization)
        +-- {prefix}-provider (universal) - service provider
        |   +-- APIResourceSchema: {meta.name(_SCHEMA)}
        |   +-- APIExport: cowboys
        +-- {prefix}-consumer (universal) - API consumer
            +-- APIBinding: cowboys -> {demo.provider}:cowboys

  Try it out:
    kubectl ws :{demo.consumer}
{"" if with_samples else _TRY}    kubectl get cowboys

  Cleanup:
    kubectl kcp quickstart --cleanup --name-prefix {prefix}
"""

    def entrance(self, demo: Demo) -> str:
        return demo.consumer


async def _bind_cowboys(demo: Demo) -> None:
    export = {"path": demo.provider, "name": "cowboys"}
    wanted = {
        "apiVersion": BINDINGS.api_version,
        "kind": "APIBinding",
        "metadata": {"name": "cowboys"},
        "spec": {"reference": {"export": export}},
    }
    await demo.object(demo.consumer, BINDINGS, wanted)
    bindings = demo.session.client.cluster(demo.consumer).resource(BINDINGS)
    waited = await wait_until(bindings, await bindings.get("cowboys"), is_bound, demo.clock, demo.left_s)
    if not waited.is_done:
        raise PluginError(f'timed out waiting for APIBinding "cowboys" to become bound{conditions_text(waited.obj)}')


@dataclass
class Workspaces:
    """An organization with a tree of workspaces below it."""

    depth: int
    count: int
    seed: int

    def steps(self, prefix: str) -> Sequence[Step]:
        return (
            (f'Creating organization workspace "{prefix}-org"', lambda demo: demo.told_workspace(demo.organization, "organization")),
            (f"Creating {self.count} workspaces (max depth {self.depth}, seed {self.seed})", self._grow),
        )

    def samples(self) -> Sequence[Step]:
        return ()

    def shape(self, top: str, prefix: str) -> list[str]:
        """Paths in the order they are made; the same for the same seed."""
        random = Random(self.seed)  # noqa: S311 - a shape, not a secret
        nodes = [(top, 0)]
        for number in range(1, self.count + 1):
            parent, depth = random.choice([node for node in nodes if node[1] < self.depth])
            nodes.append((f"{parent}:{prefix}-ws-{number}", depth + 1))
        return [path for path, _ in nodes[1:]]

    async def _grow(self, demo: Demo) -> None:
        started_s = demo.clock.monotonic()
        paths = self.shape(demo.organization, demo.prefix)
        for number, path in enumerate(paths, 1):
            await demo.workspace(path, "universal")
            if number % _PROGRESS_EVERY == 0 or number == len(paths):
                took_s = max(demo.clock.monotonic() - started_s, 1e-3)
                demo.session.say(f"  Progress: {number}/{len(paths)} workspaces created ({number / took_s:.1f} ws/s)")

    def summary(self, demo: Demo, *, with_samples: bool) -> str:
        no_samples = "\n  There are no samples in this scenario.\n" if with_samples else ""
        return f"""
Quickstart complete! Here's what was created:

  Workspace hierarchy:
    root
    +-- {demo.prefix}-org (organization)
        +-- {self.count} child workspaces in a random tree (max depth {self.depth}, seed {self.seed})
{no_samples}
  Explore:
    kubectl ws :{demo.organization}
    kubectl ws tree

  Cleanup:
    kubectl kcp quickstart --scenario workspaces --cleanup --name-prefix {demo.prefix}
"""

    def entrance(self, demo: Demo) -> str:
        return demo.organization


SCENARIOS: dict[str, Callable[[int, int, int], Quickstart]] = {"api-provider": ApiProvider, "workspaces": Workspaces}

_SCHEMA: JSONObject = {
    "apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIResourceSchema", "metadata": {"name": "today.cowboys.wildwest.dev"},
    "spec": {
        "group": "wildwest.dev", "scope": "Namespaced",
        "names": {"plural": "cowboys", "singular": "cowboy", "kind": "Cowboy", "listKind": "CowboyList"},
        "versions": [{
            "name": "v1alpha1", "served": True, "storage": True, "subresources": {"status": {}},
            "additionalPrinterColumns": [{"name": "Intent", "type": "string", "jsonPath": ".spec.intent"}],
            "schema": {
                "type": "object", "description": "Somebody in the wild west.",
                "properties": {
                    "spec": {"type": "object", "properties": {"intent": {"type": "string", "description": "What this cowboy is up to."}}},
                    "status": {"type": "object", "properties": {"result": {"type": "string", "description": "What became of it."}}},
                },
            },
        }],
    },
}  # fmt: skip
_EXPORT: JSONObject = {
    "apiVersion": EXPORTS.api_version, "kind": "APIExport", "metadata": {"name": "cowboys"},
    "spec": {"resources": [{"group": "wildwest.dev", "name": "cowboys", "schema": "today.cowboys.wildwest.dev", "storage": {"crd": {}}}]},
}  # fmt: skip
_COWBOY: JSONObject = {
    "apiVersion": COWBOYS.api_version, "kind": "Cowboy", "metadata": {"name": "john-wayne", "namespace": "default"},
    "spec": {"intent": "good"},
}  # fmt: skip
_TRY = """\
    kubectl apply -f - <<EOF
    apiVersion: wildwest.dev/v1alpha1
    kind: Cowboy
    metadata: {name: john-wayne, namespace: default}
    spec: {intent: good}
    EOF
"""
