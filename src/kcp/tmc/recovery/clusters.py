"""Strategies for clusters: reconnect and probe, authenticate and verify permissions, sync from truth.

Before: `controller`. After: the cluster's syncer, asked by `requests`; in push mode also the cluster itself, with its Secret's kubeconfig.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kcp.aio.clock import Clock
from kcp.aio.deadline import within
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound, StatusError
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.client.kubeconfig import KubeConfigError
from kcp.client.rest import Client
from kcp.client.transport import TransportError
from kcp.tmc.errors import ErrorType, TMCError, classify
from kcp.tmc.model.kinds import HEARTBEAT_HEALTHY, READY, SYNC_TARGETS, SYNCER_READY
from kcp.tmc.permissions import missing_permissions
from kcp.tmc.push.controller import SECRETS, secret_of
from kcp.tmc.push.credentials import entry_of
from kcp.tmc.recovery.model import Done, NeedsPerson, Recovery, Step, Waiting
from kcp.tmc.recovery.requests import Action, ask, is_answered, is_asked, is_well
from kcp.tmc.recovery.requests import missing_permissions as told_missing

_PROBE_S = 5.0


@dataclass(frozen=True, slots=True)
class Clusters:
    """What the strategies of this module look at."""

    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def target(self, recovery: Recovery) -> JSONObject:
        """As the server has it now. Raises TMCError if there is none of this name."""
        name = recovery.subject.cluster
        try:
            return await self.for_cluster(recovery.key.cluster).resource(SYNC_TARGETS).get(name)
        except NotFound as error:
            raise TMCError(ErrorType.CONFIGURATION, f'there is no SyncTarget "{name}" in this workspace', name, "recover") from error

    async def ask(self, recovery: Recovery, target: JSONObject, action: Action) -> list[str]:
        """Once for each attempt. Returns what was done."""
        if not is_asked(target, action, recovery.request):
            await ask(self.for_cluster(recovery.key.cluster), recovery.subject.cluster, action, recovery.request)
        return [f"asked the syncer of {recovery.subject.cluster} to {action}"]

    async def probe(self, recovery: Recovery, target: JSONObject, *, permissions: bool) -> tuple[list[str], TMCError | None]:
        """In push mode: ask the cluster itself, with the Secret as it is now. Returns what was done and found, and what is wrong."""
        reference, name = secret_of(target), recovery.subject.cluster
        if reference is None:
            return [], None
        endpoint = meta.nested(target, "spec", "workloadCluster", "endpoint", default="")
        try:
            secret = await self.for_cluster(reference.cluster).resource(SECRETS).get(reference.name, namespace=reference.namespace)
            entry = entry_of(secret, endpoint)
        except (NotFound, KubeConfigError) as error:
            return [f"read Secret {reference.namespace}/{reference.name}"], TMCError(
                ErrorType.CLUSTER_CONFIGURATION, str(error), name, "probe"
            )
        actions = [f"probed {entry.endpoint.server} with the kubeconfig of Secret {reference.namespace}/{reference.name}"]
        try:
            async with entry.connect(clock=self.clock, user_agent="tmc-recovery") as client:
                await within(self.clock, _PROBE_S, client.raw("GET", "/version"))
                missing = await within(self.clock, _PROBE_S, missing_permissions(client)) if permissions else []
        except (StatusError, TransportError, TimeoutError) as error:
            return actions, classify(error, cluster=name, operation="probe")
        return actions, _lacks(missing, name) if missing else None


def _lacks(missing: list[str], name: str) -> TMCError:
    return TMCError(ErrorType.RESOURCE_PERMISSION, f"its identity may not {', '.join(missing[:10])}", name, "verify")


def _problem(target: JSONObject, kind: ErrorType) -> TMCError:
    """What is wrong with the cluster, as its SyncTarget says it."""
    name = meta.name(target)
    if breakers := [b for b in meta.nested(target, "status", "circuitBreakers", default=()) if b.get("state") == "Open"]:
        return TMCError(
            ErrorType.CLUSTER_UNAVAILABLE, f"{breakers[0]['operation']}: {breakers[0].get('message', '')}", name, "recover", retryable=True
        )
    for condition in (SYNCER_READY, HEARTBEAT_HEALTHY, READY):
        found = conditions.get(target, condition) or {}
        if found.get("status") == "False":
            reason = found.get("reason", "")
            kind = ErrorType(reason) if reason in set(ErrorType) else kind
            return TMCError(kind, str(found.get("message") or reason), name, "recover", retryable=True)
    return TMCError(kind, "its syncer has not answered yet", name, "recover", retryable=True)


def _who_to_ask(target: JSONObject | None, name: str) -> list[str]:
    if target is not None and conditions.is_false(target, HEARTBEAT_HEALTHY):
        return [
            f"start the syncer of {name} again: its heartbeat has stopped",
            f"`kubectl kcp workload sync {name} --help` says how it is deployed",
        ]
    return [
        f"see whether the API server of {name} runs, and whether its syncer reaches it",
        f"`kubectl describe synctarget {name}` says what it answers",
    ]


@dataclass(frozen=True, slots=True)
class Connectivity:
    """Reconnect and probe."""

    clusters: Clusters

    async def step(self, recovery: Recovery) -> Step:
        target = await self.clusters.target(recovery)
        if is_asked(target, Action.RECONNECT, recovery.request):
            return (
                Done(f"{recovery.subject.cluster} answers and takes work")
                if is_well(target)
                else Waiting(_problem(target, recovery.error_type))
            )
        actions, error = await self.clusters.probe(recovery, target, permissions=False)
        if error is not None and error.type in (ErrorType.CLUSTER_AUTHENTICATION, ErrorType.CLUSTER_CONFIGURATION):
            return NeedsPerson(error, self.next_steps(recovery, error), actions)
        actions += await self.clusters.ask(recovery, target, Action.RECONNECT)
        return Waiting(error or _problem(target, recovery.error_type), actions)

    def next_steps(self, recovery: Recovery, error: TMCError) -> list[str]:
        return [error.hint, *_who_to_ask(None, recovery.subject.cluster)]


@dataclass(frozen=True, slots=True)
class Authentication:
    """Use the credentials as they are now, and verify what they may do."""

    clusters: Clusters

    async def step(self, recovery: Recovery) -> Step:
        target = await self.clusters.target(recovery)
        name = recovery.subject.cluster
        if not is_asked(target, Action.AUTHENTICATE, recovery.request):
            actions, error = await self.clusters.probe(recovery, target, permissions=True)
            if error is not None and not error.retryable:
                return NeedsPerson(error, self.next_steps(recovery, error), actions)
            actions += await self.clusters.ask(recovery, target, Action.AUTHENTICATE)
            return Waiting(error or _problem(target, recovery.error_type), actions)
        if is_answered(target, recovery.request):
            if missing := told_missing(target):
                error = _lacks(missing, name)
                return NeedsPerson(error, self.next_steps(recovery, error), ["verified permissions"])
            if is_well(target):
                return Done(f"the credentials of {name} are accepted and suffice", ["verified permissions"])
        return Waiting(_problem(target, recovery.error_type))

    def next_steps(self, recovery: Recovery, error: TMCError) -> list[str]:
        name = recovery.subject.cluster
        if error.type is ErrorType.RESOURCE_PERMISSION:
            return [f"in {name}, bind the syncer's identity to a ClusterRole with these verbs", "then: kubectl tmc recover " + name]
        return [
            f"renew the credentials of {name}: the Secret that its SyncTarget names, or the syncer's --cluster-kubeconfig",
            "both are read again when they change; `kubectl tmc recover " + name + " --strategy ClusterAuth` verifies them",
        ]


@dataclass(frozen=True, slots=True)
class Resync:
    """Bring a cluster into line with what its workspaces say."""

    clusters: Clusters

    async def step(self, recovery: Recovery) -> Step:
        target = await self.clusters.target(recovery)
        if not is_asked(target, Action.RESYNC, recovery.request):
            return Waiting(_problem(target, recovery.error_type), await self.clusters.ask(recovery, target, Action.RESYNC))
        if is_answered(target, recovery.request) and is_well(target):
            return Done(f"every object of {recovery.subject.cluster} was looked at and put in line")
        return Waiting(_problem(target, recovery.error_type))

    def next_steps(self, recovery: Recovery, error: TMCError) -> list[str]:
        return [error.hint, *_who_to_ask(None, recovery.subject.cluster)]
