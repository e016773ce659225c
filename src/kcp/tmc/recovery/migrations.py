"""The strategy for migrations: have it looked at again; if that does not get it on, have it undone.

Before: `controller`. After: the Migration, and the controller that takes it on or back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.keys import ClusterName
from kcp.client.rest import Client
from kcp.tmc.errors import ErrorType, TMCError
from kcp.tmc.migration.model import MIGRATIONS, Migration, Phase
from kcp.tmc.recovery.model import Done, NeedsPerson, Recovery, Step, Waiting


@dataclass(frozen=True, slots=True)
class ResumeOrUndo:
    for_cluster: Callable[[ClusterName], Client]
    resume: Callable[[], None]
    """End the waits of the migration controller."""

    async def step(self, recovery: Recovery) -> Step:
        subject = recovery.subject
        if subject.gvr is None or subject.gvr.group_resource != MIGRATIONS.group_resource:
            error = TMCError(ErrorType.CONFIGURATION, "spec.resource must name a Migration", operation="recover")
            return NeedsPerson(error, ["name the Migration: kubectl tmc recover migration/NAME"])
        resource = self.for_cluster(recovery.key.cluster).resource(MIGRATIONS)
        try:
            obj = await resource.get(subject.name, namespace=subject.namespace)
        except NotFound as error:
            raise TMCError(ErrorType.RESOURCE_NOT_FOUND, f"{subject} does not exist", operation="recover") from error
        migration = Migration.of(obj)
        if migration.phase in (Phase.COMPLETED, Phase.ROLLED_BACK):
            return Done(f"it is {migration.phase}")
        message = str(meta.nested(obj, "status", "message", default=migration.phase))
        error_found = TMCError(ErrorType.MIGRATION_FAILURE, message, migration.target, "recover", retryable=True)
        if migration.phase is Phase.FAILED:
            return NeedsPerson(error_found, self.next_steps(recovery, error_found))
        if recovery.attempts < 2 or migration.is_to_be_undone:  # noqa: PLR2004 - the first attempt resumes, the second undoes
            self.resume()
            return Waiting(error_found, ["had it looked at again"])
        await resource.patch(subject.name, {"spec": {"rollback": True}}, namespace=subject.namespace)
        return Waiting(error_found, ["had it undone"])

    def next_steps(self, recovery: Recovery, error: TMCError) -> list[str]:
        return [error.hint, f"`kubectl describe migration {recovery.subject.name}` says how far it came and what it waits for"]
