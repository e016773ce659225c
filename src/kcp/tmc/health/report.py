"""Shows what the monitor found: ComponentHealth objects in `root`, and `/healthz/tmc`.

Objects are written when a state or its message changes, not when it is looked at. `/healthz/tmc` tells more to whoever may list them.
Before: `server.tmc`. After: `monitor`, the API. Source for names: the TMC reference §2.2, §7, §8.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import orjson

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, NotFound, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.request import Request, Response
from kcp.client.rest import Client
from kcp.client.transport import TransportError
from kcp.registry.backend import UserInfo
from kcp.tmc.health.monitor import Monitor
from kcp.tmc.health.states import Check, Component, Status, counts, overall

log = logging.getLogger(__name__)

COMPONENT_HEALTHS = GVR("tmc.kcp.io", "v1alpha1", "componenthealths")
SYSTEM = Component("TMCSystem", "overall")
_MANAGER = "tmc-health"


def object_name(component: Component) -> str:
    """Of the ComponentHealth object.

    >>> object_name(Component("ClusterHealthTracker", "east-2abc"))
    'clusterhealthtracker.east-2abc'
    """
    return re.sub(r"[^a-z0-9.-]+", "-", f"{component.type}.{component.id}".lower()).strip("-.")[:253]


def summary(checks: Sequence[Check]) -> Check:
    """All components as one."""
    status = overall(checks)
    bad = [f"{check.component.id}: {check.message}" for check in checks if check.status is status and check.message]
    message = "" if status is Status.HEALTHY else "; ".join(bad[:3]) + (f"; and {len(bad) - 3} more" if len(bad) > 3 else "")
    return Check(SYSTEM, status, message, {key: str(count) for key, count in counts(checks).items()})


@dataclass(slots=True)
class Publisher:
    """Keeps the objects in step with what is shown."""

    root: Client
    clock: Clock
    _written: dict[str, tuple[Status, str]] | None = None

    async def publish(self, checks: Sequence[Check]) -> None:
        """A write that fails is made up for in the next round."""
        whole = [*checks, summary(checks)]
        try:
            await self._write(whole)
        except (StatusError, TransportError) as error:
            self._written = None
            log.warning("the health of components could not be written: %s", error)

    async def _write(self, checks: Sequence[Check]) -> None:
        resource = self.root.resource(COMPONENT_HEALTHS)
        if self._written is None:
            held = (await resource.list()).items
            self._written = {meta.name(obj): (_status(obj), meta.nested(obj, "status", "message", default="")) for obj in held}
        wanted = {object_name(check.component): check for check in checks}
        for name, check in wanted.items():
            before = self._written.get(name)
            if before == (check.status, check.message):
                continue
            obj = self._object(name, check)
            if before is not None and before[0] is check.status:
                del obj["status"]["lastTransitionTime"]
                await resource.patch(name, {"status": obj["status"]})
            else:
                await resource.apply(obj, field_manager=_MANAGER, force=True)
            self._written[name] = check.status, check.message
        for name in [name for name in self._written if name not in wanted]:
            try:
                await resource.delete(name)
            except NotFound:
                log.debug("gone already", extra={"key": name})
            del self._written[name]

    def _object(self, name: str, check: Check) -> JSONObject:
        return {
            "apiVersion": "tmc.kcp.io/v1alpha1",
            "kind": "ComponentHealth",
            "metadata": {"name": name},
            "spec": {"componentType": check.component.type, "componentID": check.component.id, "cluster": check.component.cluster},
            "status": {
                "overallHealth": str(check.status),
                "message": check.message,
                "lastTransitionTime": rfc3339(self.clock.now()),
                "details": dict(check.details),
            },
        }


def _status(obj: JSONObject) -> Status:
    told = meta.nested(obj, "status", "overallHealth", default="")
    return Status(told) if told in set(Status) else Status.UNKNOWN


@dataclass(slots=True)
class Endpoint:
    """`GET /healthz/tmc`: JSON; `?verbose` with every component. 503 while something is Unhealthy, so that probes see it.

    How it is, and how many components are how, anyone is told, as by every path below /healthz; which ones, whoever may list
    ComponentHealths in `root`.
    """

    monitor: Monitor
    clock: Clock
    may_list: Callable[[UserInfo], Awaitable[bool]]
    _headers: tuple[tuple[str, str], ...] = field(default=(("cache-control", "no-cache, private"),))

    async def handle(self, req: Request) -> Response:
        checks = self.monitor.checks()
        whole = summary(checks)
        sees_all = await self.may_list(req.user)
        if "verbose" in req.query and not sees_all:
            raise Forbidden(f'User "{req.user.name}" cannot list resource "componenthealths" in API group "tmc.kcp.io" in root')
        shown: dict[str, object] = {
            "status": str(whole.status), "message": whole.message if sees_all else "", "timestamp": rfc3339(self.clock.now()),
            "details": {key: int(value) for key, value in whole.details.items()},
        }  # fmt: skip
        if "verbose" in req.query:
            shown["components"] = [self._component(check) for check in checks]
        code = 503 if whole.status is Status.UNHEALTHY else 200
        return Response(code, orjson.dumps(shown, option=orjson.OPT_INDENT_2) + b"\n", "application/json", self._headers)

    def _component(self, check: Check) -> dict[str, object]:
        component = check.component
        return {
            "componentType": component.type,
            "componentID": component.id,
            "cluster": component.cluster,
            "status": str(check.status),
            "message": check.message,
            "details": dict(check.details),
            "durationSeconds": round(check.duration_s, 6),
            "sinceSeconds": round(self.monitor.since_s(component), 3),
        }
