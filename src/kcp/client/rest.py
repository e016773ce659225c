"""`Client`: one endpoint of a Kubernetes API, its resources and their verbs, whatever the transport.

Answers of 400 and above are raised as the same `StatusError` classes that a server raises; an unreachable server is a `TransportError`.
Before: `controller.informer`, reconcilers, TMC, CLI. After: a `transport.Transport`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self
from urllib.parse import quote

import orjson

from kcp.aio.clock import Clock, SystemClock
from kcp.aio.tracecontext import CURRENT, HEADER
from kcp.apimachinery.errors import StatusError, Unauthorized, from_status
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject, name, namespace, resource_version
from kcp.client.discovery import APIResource, Discovered
from kcp.client.frames import WatchEvent, decode
from kcp.client.transport import RawRequest, RawResponse, Transport, decode_object
from kcp.tracing.revisions import WANTED

__all__ = ["APIResource", "Client", "ObjectList", "PatchType", "ResourceClient", "WatchEvent"]

PAGE_SIZE = 500
"""Objects per page of a followed list. Source: k8s.io/client-go/tools/pager."""
_MAX_RETRIES = 5
_MAX_RETRY_AFTER_S = 30.0
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})

_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


class PatchType(StrEnum):
    """How a patch body is to be read; the value is its content type."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class ObjectList:
    items: list[JSONObject]
    resource_version: str
    """The state that the list shows; a watch may start here."""
    continue_token: str = ""
    """Not empty: there is a further page."""


class Client:
    """One endpoint: a server, or a workspace or virtual workspace of it. Clients of one transport share its connections."""

    def __init__(
        self, transport: Transport, base_path: str = "", *, clock: Clock | None = None, user_agent: str = "kcp", origin: str = ""
    ) -> None:
        """Args: base_path: put before every path, such as `/clusters/root`. origin: where the credentials come from, for messages."""
        self.transport = transport
        self.base_path = base_path.rstrip("/")
        self.user_agent = user_agent
        self.origin = origin
        self._clock = clock or SystemClock()
        self._discovered = Discovered()

    def cluster(self, path: str) -> Client:
        """The same endpoint for a workspace: a path, a cluster name, or `*`. Replaces a workspace already in the base path.

        >>> Client(transport, "/services/x/clusters/root").cluster("*").base_path                              # doctest: +SKIP
        '/services/x/clusters/*'
        """
        head, found, last = self.base_path.rpartition("/clusters/")
        base = head if found and "/" not in last else self.base_path
        return self.at(f"{base}/clusters/{path}" if path else base)

    def at(self, base_path: str) -> Client:
        """The same server under another base path."""
        return Client(self.transport, base_path, clock=self._clock, user_agent=self.user_agent, origin=self.origin)

    def resource(self, gvr: GVR, *, metadata_only: bool = False) -> ResourceClient:
        """Args: metadata_only: reads answer PartialObjectMetadata, a fraction of the bytes."""
        return ResourceClient(self, gvr, metadata_only=metadata_only)

    async def discover(self) -> Sequence[APIResource]:
        """Every served version of every resource; the same object while the server has nothing new to say.

        Raises: StatusError, TransportError.
        """
        return await self._discovered.ask(lambda path, headers: self.raw("GET", path, headers=headers))

    async def raw(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> RawResponse:
        """One request to `base_path + path`.

        429 and 503 answers with Retry-After are tried again, for methods that may be repeated, at most 5 times and 30 s apart.
        Raises: StatusError for 400 and above, TransportError.  Source: k8s.io/client-go/rest/with_retry.go.
        """
        request = self.request(method, path, query=query, headers=headers, body=body)
        response = await self.transport.request(request)
        for _ in range(_MAX_RETRIES if method in _IDEMPOTENT else 0):
            wait_s = _retry_after_s(response)
            if wait_s is None:
                break
            await self._clock.sleep(wait_s)
            response = await self.transport.request(request)
        if response.status >= 400:
            raise self.error_of(response)
        return response

    def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> RawRequest:
        sent = {"user-agent": self.user_agent, **(headers or {})}
        if (span := CURRENT.get()) is not None:
            sent[HEADER] = str(span)
        return RawRequest(method, self.base_path + path, query or {}, sent, body)

    def error_of(self, response: RawResponse) -> StatusError:
        """The error that an answer of 400 or above stands for."""
        try:
            status = orjson.loads(response.body)
        except orjson.JSONDecodeError:
            status = None
        if not isinstance(status, dict) or status.get("kind") != "Status":
            status = {"message": response.body[:2000].decode(errors="replace").strip()}
        if response.status == Unauthorized.code and self.origin:
            told = status.get("message") or "Unauthorized"
            status = {**status, "message": f"{told}: the server does not accept the credentials of {self.origin}; renew them there"}
        error = from_status(response.status, status)
        error.retry_after_s = error.retry_after_s or int(_retry_after_s(response) or 0)
        return error

    async def close(self) -> None:
        """Close the transport, for all clients that share it."""
        await self.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


def _retry_after_s(response: RawResponse) -> float | None:
    """Seconds that a 429 or 503 asks to wait; None for other answers and those that do not say."""
    if response.status not in {429, 503}:
        return None
    told = response.headers.get("retry-after", "")
    return min(float(told), _MAX_RETRY_AFTER_S) if told.isdigit() else None


class ResourceClient:
    """The verbs of one resource. A namespace of "" means cluster-scoped, or for reads of collections: all namespaces."""

    def __init__(self, client: Client, gvr: GVR, *, metadata_only: bool = False) -> None:
        self.client = client
        self.gvr = gvr
        self._metadata_only = metadata_only

    async def get(self, name: str, *, namespace: str = "", subresource: str = "") -> JSONObject:
        return await self._send("GET", self._path(namespace, name, subresource))

    async def list(
        self, *, namespace: str = "", label_selector: str = "", field_selector: str = "", limit: int = 0, resource_version: str = ""
    ) -> ObjectList:
        """All objects, every page followed; `limit` ends the list early, after that many objects."""
        items: list[JSONObject] = []
        page_size = min(limit, PAGE_SIZE) if limit else PAGE_SIZE
        pages = self.pages(
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            limit=page_size,
            resource_version=resource_version,
        )
        async with aclosing(pages):
            async for page in pages:
                items.extend(page.items)
                if limit and len(items) >= limit:
                    return ObjectList(items[:limit], page.resource_version, page.continue_token)
        return ObjectList(items, page.resource_version)

    async def pages(
        self, *, namespace: str = "", label_selector: str = "", field_selector: str = "", limit: int = PAGE_SIZE, resource_version: str = ""
    ) -> AsyncGenerator[ObjectList, None]:
        """The pages of one consistent list, at least one. Raises Expired when a continue token outlived its revision: list again."""
        query = _selectors(label_selector, field_selector)
        if resource_version:
            query["resourceVersion"] = resource_version
        if limit:
            query["limit"] = str(limit)
        while True:
            page = _as_list(await self._send("GET", self._path(namespace), query=query, accept=self._list_accept))
            yield page
            if not page.continue_token:
                return
            query = {**query, "continue": page.continue_token}
            query.pop("resourceVersion", None)

    async def create(
        self,
        obj: JSONObject,
        *,
        namespace: str | None = None,
        name: str = "",
        subresource: str = "",
        field_manager: str = "",
        dry_run: bool = False,
    ) -> JSONObject:
        """Args: namespace: None for the object's own. name, subresource: to post to a subresource, such as `token`."""
        path = self._path(_namespace(obj, namespace), name, subresource)
        return await self._send("POST", path, query=_write_query(field_manager, dry_run=dry_run), body=obj)

    async def update(
        self, obj: JSONObject, *, namespace: str | None = None, subresource: str = "", field_manager: str = "", dry_run: bool = False
    ) -> JSONObject:
        path = self._path(_namespace(obj, namespace), name(obj), subresource)
        return await self._send("PUT", path, query=_write_query(field_manager, dry_run=dry_run), body=obj)

    async def patch(
        self,
        name: str,
        patch: object,
        *,
        namespace: str = "",
        type: PatchType = PatchType.MERGE,  # noqa: A002 - the word of the API
        subresource: str = "",
        field_manager: str = "",
        dry_run: bool = False,
    ) -> JSONObject:
        """Args: patch: an object, or a list of operations for PatchType.JSON."""
        query = _write_query(field_manager, dry_run=dry_run)
        return await self._send("PATCH", self._path(namespace, name, subresource), query=query, body=patch, content_type=type)

    async def apply(
        self,
        obj: JSONObject,
        *,
        field_manager: str,
        force: bool = False,
        namespace: str | None = None,
        subresource: str = "",
        dry_run: bool = False,
    ) -> JSONObject:
        """Server-side apply. Raises Conflict with causes if another manager owns a field and `force` is not set."""
        query = _write_query(field_manager, dry_run=dry_run)
        query["force"] = "true" if force else "false"
        path = self._path(_namespace(obj, namespace), name(obj), subresource)
        return await self._send("PATCH", path, query=query, body=obj, content_type=PatchType.APPLY)

    async def delete(
        self,
        name: str,
        *,
        namespace: str = "",
        propagation: str = "",
        uid: str = "",
        resource_version: str = "",
        grace_period_s: int | None = None,
    ) -> JSONObject:
        """Returns the object if it waits for finalizers, else its last state or a Status.

        Args: propagation: Background, Foreground, Orphan. uid, resource_version: preconditions (Conflict if they do not hold).
        """
        options = _delete_options(propagation, grace_period_s)
        preconditions = {k: v for k, v in (("uid", uid), ("resourceVersion", resource_version)) if v}
        if preconditions:
            options["preconditions"] = preconditions
        return await self._send("DELETE", self._path(namespace, name), body=options)

    async def delete_collection(
        self,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        propagation: str = "",
        grace_period_s: int | None = None,
    ) -> JSONObject:
        query = _selectors(label_selector, field_selector)
        return await self._send("DELETE", self._path(namespace), query=query, body=_delete_options(propagation, grace_period_s))

    async def watch(
        self,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        bookmarks: bool = True,
        timeout_s: int = 0,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Events after `resource_version`, until the server ends the watch (after `timeout_s`; 0: its choice). Close it with `aclosing`.

        Args: opened: called once the server has accepted the watch; the first event may be long in coming.
        Raises: Expired when that version is compacted; TransportError when the connection breaks.
        """
        query = {"watch": "true", **_selectors(label_selector, field_selector)}
        if resource_version:
            query["resourceVersion"] = resource_version
        if bookmarks:
            query["allowWatchBookmarks"] = "true"
        if timeout_s:
            query["timeoutSeconds"] = str(timeout_s)
        headers = {"accept": _METADATA if self._metadata_only else _JSON, WANTED: "1"}
        request = self.client.request("GET", self._path(namespace), query=query, headers=headers)
        async with self.client.transport.stream(request) as (response, chunks):
            if response.status != 200:
                raise self.client.error_of(response)
            opened()
            async with aclosing(decode(chunks)) as events:
                async for event in events:
                    yield event

    @property
    def _list_accept(self) -> str:
        return _METADATA_LIST if self._metadata_only else _JSON

    def _path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        parts = [self.gvr.api_path, f"/namespaces/{quote(namespace, safe='')}" if namespace else "", f"/{self.gvr.resource}"]
        if name:
            parts.append(f"/{quote(name, safe=':')}")
        if subresource:
            parts.append(f"/{subresource}")
        return "".join(parts)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = _JSON,
        accept: str = "",
    ) -> JSONObject:
        headers = {"accept": accept or (_METADATA if self._metadata_only and method == "GET" else _JSON)}
        if body is None:
            return decode_object(await self.client.raw(method, path, query=query, headers=headers))
        headers["content-type"] = content_type
        return decode_object(await self.client.raw(method, path, query=query, headers=headers, body=orjson.dumps(body)))


def _namespace(obj: JSONObject, given: str | None) -> str:
    return namespace(obj) if given is None else given


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    return {k: v for k, v in (("labelSelector", label_selector), ("fieldSelector", field_selector)) if v}


def _write_query(field_manager: str, *, dry_run: bool) -> dict[str, str]:
    query = {"fieldManager": field_manager} if field_manager else {}
    if dry_run:
        query["dryRun"] = "All"
    return query


def _delete_options(propagation: str, grace_period_s: int | None) -> JSONObject:
    options: JSONObject = {"kind": "DeleteOptions", "apiVersion": "v1"}
    if propagation:
        options["propagationPolicy"] = propagation
    if grace_period_s is not None:
        options["gracePeriodSeconds"] = grace_period_s
    return options


def _as_list(document: JSONObject) -> ObjectList:
    """A list document; its items get the apiVersion and kind that servers leave out of lists of built-in kinds."""
    items: list[JSONObject] = document.get("items") or []
    api_version, kind = document.get("apiVersion"), str(document.get("kind") or "").removesuffix("List")
    for index, item in enumerate(items):
        if "kind" not in item:
            items[index] = {"apiVersion": api_version, "kind": kind, **item}
    token = (document.get("metadata") or {}).get("continue") or ""
    return ObjectList(items, resource_version(document), token)
