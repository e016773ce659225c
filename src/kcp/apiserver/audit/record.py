"""One audited request: what is known of it so far, and the events made of that.

Before: `auditor`; handlers and admission add to it. After: the backends, which get `Event`s.
Source: k8s.io/apiserver/pkg/audit/{request,context}.go, pkg/apis/audit/v1/types.go (names of the fields).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

import orjson

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.audit.policy import NAMES, Audited, Level
from kcp.apiserver.request import Request, RequestInfo
from kcp.registry.backend import Notes, UserInfo

_LONGEST_AGENT = 1024
_LONG_RUNNING = frozenset(("attach", "exec", "log", "portforward", "proxy"))
_PLAIN_PATH = re.compile(r"[\w/:.*~,;=@+$!'()-]*", re.ASCII)
_TOLD_OF_STATUS = ("status", "message", "reason", "details", "code")


@dataclass(frozen=True, slots=True)
class Event:
    """One stage of one request, encoded once for all backends."""

    stage: str
    level: Level
    fields: Mapping[str, Any]
    """Without kind and apiVersion; objects are ready-made JSON (`orjson.Fragment`)."""
    raw: bytes
    """`fields` as JSON, on one line."""

    @classmethod
    def of(cls, stage: str, level: Level, fields: Mapping[str, Any]) -> Event:
        return cls(stage, level, fields, orjson.dumps(fields))

    def cut(self) -> Event:
        """Without what was sent and answered. Source: k8s.io/apiserver/plugin/pkg/audit/truncate/truncate.go."""
        kept = {name: value for name, value in self.fields.items() if name not in ("requestObject", "responseObject")}
        kept["annotations"] = {**kept.get("annotations", {}), "audit.k8s.io/truncated": "true"}
        return Event.of(self.stage, self.level, kept)


@dataclass(slots=True, eq=False)
class Record:
    """What is known of a request so far; steps of the request path add to it."""

    id: str
    says: Audited
    info: RequestInfo
    received: str
    """RFC 3339 with microseconds."""
    fixed: JSONObject
    """What is known from the start."""
    notes: Notes
    """Annotations; the first value of a key stays."""
    reference: JSONObject | None
    """`objectRef`."""
    impersonated: UserInfo | None = None
    sent: bytes = b""
    """The object of the request, as JSON."""
    answered: bytes = b""
    status: JSONObject = field(default_factory=dict)
    """A Status that was answered, as far as events tell of it."""
    waiting: list[asyncio.Future[bool]] = field(default_factory=list)
    """Events that must be written before the answer is sent."""

    @property
    def is_long_running(self) -> bool:
        """Whether the beginning of its answer is a stage of its own. Source: k8s.io/kubernetes/cmd/kube-apiserver/app/server.go."""
        return self.info.verb in ("watch", "proxy") or self.info.subresource in _LONG_RUNNING

    @property
    def wants_answer(self) -> bool:
        """Whether a body that is answered is to be recorded."""
        return self.says.level >= Level.RESPONSE and self.info.is_resource and not self.is_long_running

    def take_object(self, obj: JSONObject) -> None:
        """What the request brought, before anything is changed in it."""
        reference, held = self.reference, meta.metadata(obj)
        if reference is None:
            return
        if isinstance(held, dict):
            for name, source in (("namespace", "namespace"), ("name", "name"), ("uid", "uid"), ("resourceVersion", "resourceVersion")):
                if name not in reference and held.get(source):
                    reference[name] = held[source]
        self.take_patch(obj)

    def take_patch(self, patch: Any) -> None:
        """Any JSON value."""
        if self.says.level >= Level.REQUEST and self.info.is_resource:
            self.sent = orjson.dumps(_without_managed_fields(patch) if self.says.omits_managed_fields else patch)

    def take_passed_on(self, body: bytes) -> None:
        """What goes on to another server, which alone can say whether it is right; only JSON is shown."""
        if self.says.level < Level.REQUEST or not body:
            return
        try:
            sent = orjson.loads(body)
        except orjson.JSONDecodeError:
            return  # nor could upstream show it: the event goes without
        if self.info.verb in ("create", "update") and isinstance(sent, dict):
            self.take_object(sent)
        else:
            self.take_patch(sent)

    def take_answer(self, body: bytes) -> None:
        """What is answered, as JSON, whatever form it is sent in."""
        if self.info.verb.startswith("delete") and body.startswith(b'{"kind":"Status"'):
            self.take_status(orjson.loads(body))
        if self.says.level < Level.RESPONSE or not self.info.is_resource:
            return
        if self.says.omits_managed_fields and b'"managedFields"' in body:
            body = orjson.dumps(_without_managed_fields(orjson.loads(body)))
        body = body.rstrip()
        self.answered = orjson.dumps(orjson.loads(body)) if b"\n" in body else body

    def take_status(self, status: Mapping[str, Any]) -> None:
        self.status = {name: status[name] for name in _TOLD_OF_STATUS if status.get(name)}

    def event(self, stage: str, now: str, code: int = 0) -> Event:
        """Args: code: of the answer; 0 where there is none yet."""
        level = self.says.level
        fields: JSONObject = {"level": NAMES[level], "auditID": self.id, "stage": stage, **self.fixed}
        if self.impersonated is not None:
            fields["impersonatedUser"] = shown_user(self.impersonated)
        if self.reference is not None:
            fields["objectRef"] = dict(self.reference)
        if code or self.status:
            fields["responseStatus"] = {"metadata": {}, **self.status, "code": code or self.status.get("code", 0)}
        if self.sent:
            fields["requestObject"] = orjson.Fragment(self.sent)
        if self.answered:
            fields["responseObject"] = orjson.Fragment(self.answered)
        fields["requestReceivedTimestamp"], fields["stageTimestamp"] = self.received, now
        if self.notes:
            fields["annotations"] = dict(self.notes)
        return Event.of(stage, level, fields)


def opened(req: Request, info: RequestInfo, user: UserInfo | None, says: Audited, audit_id: str, now: str) -> Record:
    """The record of a request as it comes in. Source: audit/request.go, LogRequestMetadata."""
    fixed: JSONObject = {"requestURI": _uri(req), "verb": info.verb, "user": shown_user(user) if user is not None else {}}
    if sources := source_ips(req):
        fixed["sourceIPs"] = sources
    if agent := req.headers.get("user-agent", ""):
        fixed["userAgent"] = agent if len(agent) <= _LONGEST_AGENT else f"{agent[:_LONGEST_AGENT]}...TRUNCATED"
    return Record(audit_id, says, info, now, fixed, Notes(has_bodies=says.level >= Level.REQUEST), _reference(info))


def _reference(info: RequestInfo) -> JSONObject | None:
    if not info.is_resource:
        return None
    told = {
        "resource": info.resource.partition(":")[0], "namespace": info.namespace, "name": info.name, "apiGroup": info.group,
        "apiVersion": info.version, "subresource": info.subresource,
    }  # fmt: skip
    return {name: value for name, value in told.items() if value}


def shown_user(user: UserInfo) -> JSONObject:
    """As `authentication.k8s.io/v1 UserInfo`."""
    shown: JSONObject = {"username": user.name}
    if user.uid:
        shown["uid"] = user.uid
    if user.groups:
        shown["groups"] = user.groups
    if user.extra:
        shown["extra"] = user.extra
    return shown


def _uri(req: Request) -> str:
    path = req.path if _PLAIN_PATH.fullmatch(req.path) else quote(req.path, safe="/:.*~,;=@+$!'()-")
    return f"{path}?{req.query_string}" if req.query_string else path


def source_ips(req: Request) -> list[str]:
    """Where a request says it comes from, through which proxies, and where it really comes from, last.

    Source: k8s.io/apimachinery/pkg/util/net/http.go, SourceIPs.
    """
    found: list[str] = []
    if forwarded := req.headers.get("x-forwarded-for"):
        found += [part for part in map(str.strip, forwarded.split(",")) if _is_address(part)]
    real = req.headers.get("x-real-ip", "").strip()
    if real and real not in found and _is_address(real):
        found.append(real)
    if req.peer_address and (not found or found[-1] != req.peer_address):
        found.append(req.peer_address)
    return found


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _without_managed_fields(value: Any) -> Any:
    """An object, list or Table without metadata.managedFields; what is given stays as it is."""
    if not isinstance(value, dict):
        return value
    shown = dict(value)
    held = shown.get("metadata")
    if isinstance(held, dict) and "managedFields" in held:
        shown["metadata"] = {name: part for name, part in held.items() if name != "managedFields"}
    if isinstance(items := shown.get("items"), list):
        shown["items"] = [_without_managed_fields(item) for item in items]
    if isinstance(rows := shown.get("rows"), list):
        shown["rows"] = [{**row, "object": _without_managed_fields(row.get("object"))} for row in rows]
    return shown


def micros(instant: datetime) -> str:
    """A time in UTC as `metav1.MicroTime` prints it; on the path of every audited request, where strftime costs ten times as much."""
    return instant.isoformat(timespec="microseconds")[:26] + "Z"
