"""Runs, inside the server, a syncer for each SyncTarget with `spec.workloadCluster.credentials.secretRef`.

Before: `server.tmc`. After: `tmc.syncer`, with the server's own client above and the kubeconfig's below.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from kcp.aio.clock import Clock, rfc3339
from kcp.aio.metrics import Meter
from kcp.aio.supervisor import Supervisor, retry_forever
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.kubeconfig import KubeConfigEntry, KubeConfigError
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tmc.errors import ErrorType
from kcp.tmc.model.kinds import SYNC_TARGETS, SYNCER_READY
from kcp.tmc.model.names import RECOVERY_REQUEST_ANNOTATION
from kcp.tmc.push.credentials import entry_of
from kcp.tmc.syncer.engine import Syncer
from kcp.tmc.syncer.identity import Identity
from kcp.tmc.syncer.metrics import SyncerMetrics
from kcp.tmc.syncer.record import Record
from kcp.tmc.syncer.settings import SyncerConfig
from kcp.tracing.tracer import Tracer

log = logging.getLogger(__name__)

SECRETS = GVR("", "v1", "secrets")
HOLDER = "kcp-server"
"""Of the epoch lease: a `workload-syncer` of the same target stands by."""


def secret_of(target: JSONObject) -> ObjectKey | None:
    """The Secret with the kubeconfig of a target's cluster, in its own workspace; None: somebody else runs its syncer."""
    ref = meta.nested(target, "spec", "workloadCluster", "credentials", "secretRef", default={})
    if not ref.get("name") or meta.deletion_timestamp(target):
        return None
    return ObjectKey(meta.cluster(target), ref.get("namespace") or "default", ref["name"])


class _Running(NamedTuple):
    made_of: tuple[str, ...]
    """Changes when it must be started anew."""
    task: asyncio.Task[None]


@dataclass(slots=True)
class PushReconciler:
    """Keys are those of SyncTargets."""

    target: Callable[[ObjectKey], JSONObject | None]
    secret: Callable[[ObjectKey], JSONObject | None]
    server: Client
    """The kcp server, base path ""."""
    supervisor: Supervisor
    clock: Clock
    config: SyncerConfig
    meter: Meter
    tracer: Tracer | None = None
    _running: dict[ObjectKey, _Running] = field(default_factory=dict)

    async def reconcile(self, key: ObjectKey) -> Result:
        target = self.target(key)
        reference = secret_of(target) if target is not None else None
        if target is None or reference is None:
            await self._stop(key)
            return Result()
        secret = self.secret(reference)
        endpoint = meta.nested(target, "spec", "workloadCluster", "endpoint", default="")
        asked = meta.annotations(target).get(RECOVERY_REQUEST_ANNOTATION, "")
        anew = asked if asked.startswith("authenticate:") else ""  # a recovery wants the Secret to be read again
        made_of = (meta.uid(target), str(reference), endpoint, meta.resource_version(secret) if secret is not None else "", anew)
        if key in self._running and self._running[key].made_of == made_of:
            return Result()
        await self._stop(key)
        try:
            if secret is None:
                raise KubeConfigError(f"Secret {reference.namespace}/{reference.name} does not exist in the SyncTarget's workspace")
            entry = entry_of(secret, endpoint)
        except KubeConfigError as error:
            await self._tell(target, str(error))
            return Result()
        identity = Identity(key.cluster, key.name, meta.uid(target))
        self._running[key] = _Running(made_of, self._start(identity, entry))
        return Result()

    def _start(self, identity: Identity, entry: KubeConfigEntry) -> asyncio.Task[None]:
        async def serve() -> None:
            record = Record(self.clock, SyncerMetrics(self.meter, identity.name, str(identity.cluster)))
            try:
                await serve_as(record)
            finally:
                record.close()

        async def serve_as(record: Record) -> None:
            async with entry.connect(clock=self.clock, user_agent="workload-syncer/cluster") as downstream:
                syncer = Syncer(identity, self.server, downstream, self.clock, self.config, record, HOLDER, tracer=self.tracer)
                await syncer.run()

        what = f"syncer of {identity.cluster}|{identity.name}"
        return self.supervisor.spawn(retry_forever(serve, sleep=self.clock.sleep, what=what), name=what)

    async def _stop(self, key: ObjectKey) -> None:
        running = self._running.pop(key, None)
        if running is not None:
            running.task.cancel()
            await asyncio.wait([running.task])

    async def _tell(self, target: JSONObject, problem: str) -> None:
        """Why no syncer runs, where the syncer itself would say it."""
        wanted: JSONObject = meta.copy_json(target)
        now = rfc3339(self.clock.now())
        reason = str(ErrorType.CLUSTER_CONFIGURATION)
        condition = conditions.build(SYNCER_READY, conditions.FALSE, reason=reason, message=problem, severity="Error", now=now)
        conditions.set_condition(wanted, condition)
        await commit(self.server.cluster(meta.cluster(target)).resource(SYNC_TARGETS), target, wanted)


def build_push_controller(
    informers: InformerFactory,
    server: Client,
    supervisor: Supervisor,
    *,
    clock: Clock,
    config: SyncerConfig,
    meter: Meter,
    tracer: Tracer | None = None,
) -> Controller:
    """Args: supervisor: of the syncers."""
    targets, secrets = informers.informer(SYNC_TARGETS), informers.informer(SECRETS)

    def of_secret(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return [meta.key(target) for target in targets.list(cluster=ClusterName(key.cluster)) if secret_of(target) == key]

    reconciler = PushReconciler(targets.get, secrets.get, server, supervisor, clock, config, meter, tracer)
    controller: Controller = Controller("tmc-push", reconciler.reconcile, clock=clock, workers=2)
    controller.watch(targets)
    controller.watch(secrets, of_secret)
    return controller
