"""Requests to every endpoint of a server, out of its own discovery, the schemas of its kinds and one valid sample of each.

Before: `test_endpoints`, `__main__` (long runs). After: `generate` (values), `target` (sends and checks).
"""

from __future__ import annotations

import base64
import copy
import gzip
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import yaml
from tests.fuzz.generate import TEXTS, Maker
from tests.fuzz.target import Answer, Sent, Target

from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.schema.structural import Schema, compile_schema
from kcp.apis.schemas import load_crds
from kcp.registry.builtin import builtin_schema

PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
ACCEPTS = (
    "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "*/*", "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json", "text/html", "application/json;q=nan",
    "application/json;q=0", ";;;", "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/yaml;q=0.5", "application/json;stream=watch",
    "application/cbor", "*", "", "\xe9", "application/json;as=Nothing;v=v9;g=x",
)  # fmt: skip
_KINDS = (
    *("sample", "create", "update", "json", "merge", "strategic", "apply", "status", "scale") * 2, "get", "list", "list", "watch", "delete",
    "collection", "odd", "odd",
)  # fmt: skip
_SELECTORS = (
    "a=b", "a!=b", "a in (b,c)", "a notin (b)", "!a", "a", "a in ()", "a in (", "a==b,c=d", "=", ",", "a=b=c", "x in (a,)", "a>1", "a<x", "\x00",
    "a in (b))", "é=ü", "a=" + "b" * 64, "/a=b", "a/b/c=d",
)  # fmt: skip
_FIELDS = (
    "metadata.name=a", "metadata.name!=a", "metadata.namespace=default", "status.phase=Running", "spec.nodeName=", "spec.color=red", "type=x", "a",
    "metadata.name=a,metadata.name=b", "=", ",", "metadata.name=\\", "metadata.name=\\,", "metadata.name==a", "metadata.uid=a", "\x00=\x00",
)  # fmt: skip
_VERSIONS = ("", "0", "1", "-1", "x", "999999999999", "18446744073709551615", "18446744073709551616", "1.5", "01", " 1", "٣", "9" * 400)
_NUMBERS = ("0", "1", "2", "-1", "x", "", "9223372036854775807", "9223372036854775808", "1e3", "0x1", "٣")
_FLAGS = ("true", "false", "1", "0", "", "yes", "\x00")
_PARAMETERS: Mapping[str, Sequence[str]] = {
    "limit": _NUMBERS, "continue": ("", "x", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0", "e30", "bnVsbA", "%%%", "AAAA"),
    "resourceVersion": _VERSIONS, "resourceVersionMatch": ("Exact", "NotOlderThan", "", "x"), "labelSelector": _SELECTORS,
    "fieldSelector": _FIELDS, "timeoutSeconds": _NUMBERS, "sendInitialEvents": _FLAGS, "allowWatchBookmarks": _FLAGS, "pretty": _FLAGS,
    "watch": _FLAGS, "includeObject": ("None", "Metadata", "Object", "", "x"), "timeout": ("1s", "1", "x", "-1s", "1h1m", "nans", "1e400s", "٣s", ".s"),
    "dryRun": ("All", "All", "", "x"), "fieldManager": ("m", "", "x" * 129, "\x00", "é"), "fieldValidation": ("Strict", "Warn", "Ignore", "x"),
    "force": _FLAGS, "propagationPolicy": ("Background", "Foreground", "Orphan", "", "x"), "gracePeriodSeconds": _NUMBERS,
    "orphanDependents": _FLAGS,
}  # fmt: skip
_OF_READS = ("limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector", "timeoutSeconds", "pretty")
_OF_WATCHES = ("resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector", "sendInitialEvents", "allowWatchBookmarks")
_OF_WRITES = ("dryRun", "fieldManager", "fieldValidation", "pretty", "timeout")
_OF_DELETES = ("dryRun", "propagationPolicy", "gracePeriodSeconds", "orphanDependents")
_PATHS = (
    "/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1", "/version", "/healthz", "/readyz?verbose", "/livez/ping", "/metrics",
    "/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1", "/openapi/v3/apis/apps/v1?hash=x", "/openapi/v3/apis/x", "/", "//", "/api/", "/api//",
    "/apis//v1/pods", "/api/v1/namespaces//pods", "/api/v1/namespaces/default/pods/", "/api/v1/namespaces/default/pods/%2e%2e",
    "/api/v1/watch/pods", "/api/v1/watch/namespaces/default/pods/a", "/api/v1/namespaces/default/pods/a/log", "/api/v1/proxy/x",
    "/api/v1/namespaces/default/pods/a/exec", "/api/v1/namespaces/default/services/a/proxy/x", "/swagger.json", "/debug/pprof", "/logs",
    "/.well-known/openid-configuration", "/openid/v1/jwks", "/api/v1/namespaces/%00/pods", "/api/v1/%F0%9F%92%A9", "/apis/apps/v1/namespaces/%2F/deployments",
    "/api/v1/namespaces/default/pods/a/ephemeralcontainers", "/api/v1/namespaces/default/serviceaccounts/default/token", "/clusters/root:x/api",
    "/api/v1/namespaces/default/pods/a/b/c/d", "/apis/x/y/z", "/api/v1/nodes/a/proxy/", "/clusters/", "/clusters/*/api/v1/configmaps",
)  # fmt: skip
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "FOO", "get")


@dataclass(frozen=True)
class Endpoint:
    """One resource of discovery at one version."""

    prefix: str
    """Path of its group and version."""
    plural: str
    gvk: GVK
    namespaced: bool
    subresources: tuple[str, ...]

    def collection(self, namespace: str) -> str:
        return f"{self.prefix}/namespaces/{namespace}/{self.plural}" if self.namespaced else f"{self.prefix}/{self.plural}"


def discover(target: Target, base: str) -> list[Endpoint]:
    """Every resource that a server serves under `base` ("" or a workspace's /clusters/<path>)."""
    versions = [f"{base}/api/v1"]
    for group in target.check("GET", f"{base}/apis").body["groups"]:
        versions += [f"{base}/apis/{version['groupVersion']}" for version in group["versions"]]
    found = []
    for prefix in versions:
        listed = target.check("GET", prefix).body
        group, _, version = listed["groupVersion"].rpartition("/")
        names = {entry["name"] for entry in listed["resources"]}
        for entry in listed["resources"]:
            if "/" not in entry["name"]:
                subresources = tuple(n.partition("/")[2] for n in sorted(names) if n.startswith(entry["name"] + "/"))
                gvk = GVK(group, version, entry["kind"])
                found.append(Endpoint(prefix, entry["name"], gvk, entry["namespaced"], subresources))
    return found


@cache
def schema_of(gvk: GVK) -> Schema | None:
    """Of Kubernetes' kinds and of ours."""
    for crd in load_crds().values():
        if crd["spec"]["group"] == gvk.group and crd["spec"]["names"]["kind"] == gvk.kind:
            for version in crd["spec"]["versions"]:
                if version["name"] == gvk.version:
                    return compile_schema(version["schema"]["openAPIV3Schema"])
    return builtin_schema(gvk)


@cache
def samples() -> dict[tuple[str, str], dict[str, Any]]:
    """A valid object by group and kind."""
    listed = yaml.safe_load(Path(__file__).with_name("samples.yaml").read_text())
    return {(sample["apiVersion"].rpartition("/")[0], sample["kind"]): sample for sample in listed}


@dataclass
class Requests:
    """An endless, repeatable sequence of requests to one endpoint; what the server answers to GETs is damaged and sent back."""

    target: Target
    endpoint: Endpoint
    seed: int
    namespace: str = "default"
    maker: Maker = field(init=False)

    def __post_init__(self) -> None:
        self.maker = Maker(self.seed, garbage=0.02)
        self.random = self.maker.random

    def run(self, count: int, *, on_answer: Callable[[Answer], None] = lambda _: None) -> None:
        for sent in self._requests(count):
            on_answer(self.target.send(sent).check())

    def _requests(self, count: int) -> Iterator[Sent]:
        yield self._create(self._valid())
        for _ in range(count):
            kind = self.random.choice(_KINDS)
            made = getattr(self, f"_make_{kind}")()
            headers = dict(made.headers)
            if self.random.random() < 0.3:
                headers["accept"] = self.random.choice(ACCEPTS)
            yield Sent(made.method, made.path, made.body, headers, made.user)

    # --- objects ---

    def _name(self) -> str:
        sample = samples().get((self.endpoint.gvk.group, self.endpoint.gvk.kind), {})
        return str(sample.get("metadata", {}).get("name", f"f{self.seed % 7}"))

    def _valid(self) -> dict[str, Any]:
        gvk = self.endpoint.gvk
        made = copy.deepcopy(samples().get((gvk.group, gvk.kind), {"apiVersion": gvk.api_version, "kind": gvk.kind}))
        made["apiVersion"] = gvk.api_version
        made.setdefault("metadata", {}).setdefault("name", self._name())
        return made

    def _odd(self) -> Any:
        """An object with something wrong in it, or one made wholly from the schema, or both."""
        chance = self.random.random()
        if chance < 0.5:
            return self.maker.damaged(self._valid())
        made = self.maker.make(schema_of(self.endpoint.gvk))
        if not isinstance(made, dict):
            return made
        gvk = self.endpoint.gvk
        made |= {"apiVersion": gvk.api_version, "kind": gvk.kind}
        if self.random.random() < 0.8:
            made["metadata"] = {"name": self._name()}
        if chance < 0.8:
            valid = self._valid()
            part = self.random.choice(list(valid))
            made = {**valid, part: made.get(part, valid[part])}
        return made

    def _current(self) -> dict[str, Any]:
        got = self.target.send(Sent("GET", self._one())).check()
        return got.body if got.status == 200 else self._valid()

    def _one(self, subresource: str = "") -> str:
        path = f"{self.endpoint.collection(self.namespace)}/{self._name()}"
        return f"{path}/{subresource}" if subresource else path

    # --- requests ---

    def _create(self, obj: Any) -> Sent:
        return Sent("POST", self.endpoint.collection(self.namespace), *self._body(obj))

    def _body(self, obj: Any) -> tuple[bytes, dict[str, str]]:
        raw = orjson.dumps(obj, option=orjson.OPT_NON_STR_KEYS)
        if self.random.random() < 0.1:
            return yaml.safe_dump(orjson.loads(raw)).encode(), {"content-type": "application/yaml"}
        if self.random.random() < 0.05:
            return gzip.compress(raw, 1), {"content-type": "application/json", "content-encoding": "gzip"}
        if self.random.random() < 0.03:
            at = self.random.randrange(len(raw) or 1)
            raw = raw[:at] + self.random.choice((b"", b"\x00", b"\xff", b'"', b"{", b"\\ud800", b"NaN", b"1e999")) + raw[at + 1 :]
        return raw, {"content-type": "application/json"}

    def _with(self, path: str, names: Sequence[str], share: float = 0.15) -> str:
        terms = [f"{name}={quote(self.random.choice(_PARAMETERS[name]))}" for name in names if self.random.random() < share]
        return f"{path}?{'&'.join(terms)}" if terms else path

    def _make_sample(self) -> Sent:
        return self._create(self._valid())

    def _make_create(self) -> Sent:
        sent = self._create(self._odd())
        return Sent("POST", self._with(sent.path, _OF_WRITES), sent.body, sent.headers)

    def _make_update(self) -> Sent:
        odd = self.maker.damaged(self._current()) if self.random.random() < 0.7 else self._odd()
        return Sent("PUT", self._with(self._one(), _OF_WRITES), *self._body(odd))

    def _patch(self, media: str, given: Any, subresource: str = "") -> Sent:
        raw, headers = self._body(given)
        path = self._with(self._one(subresource), _OF_WRITES)
        if media == PATCHES[3] and "fieldManager" not in path:
            path += ("&" if "?" in path else "?") + self.random.choice(("fieldManager=a", "fieldManager=b", "fieldManager=a&force=true"))
        return Sent("PATCH", path, raw, {**headers, "content-type": media})

    def _make_json(self, subresource: str = "") -> Sent:
        return self._patch(PATCHES[0], self._operations(), subresource)

    def _operations(self) -> Any:
        current = self._current()
        made: list[Any] = []
        for _ in range(self.random.choice((1, 1, 2, 5))):
            operation: Any = {
                "op": self.random.choice(("add", "remove", "replace", "move", "copy", "test", "x")),
                "path": self._pointer(current),
            }
            if self.random.random() < 0.8:
                operation["value"] = self.maker.garbage()
            if self.random.random() < 0.5:
                operation["from"] = self._pointer(current)
            made.append(operation if self.random.random() < 0.95 else self.maker.garbage())
        return made if self.random.random() < 0.97 else self.maker.garbage()

    def _pointer(self, value: Any) -> Any:
        if self.random.random() < 0.05:
            return self.random.choice(
                ("", "/", "x", "/~", "/~2", "/-", "/metadata/-", "/spec/99999999999", None, 5, "/\x00", "/a/-1", "/metadata/labels/a~1b")
            )
        path = ""
        while True:
            if isinstance(value, dict) and value:
                key = self.random.choice(list(value))
                path, value = f"{path}/{key.replace('~', '~0').replace('/', '~1')}", value[key]
            elif isinstance(value, list):
                at = self.random.choice((*range(len(value)), len(value), "-"))
                path, value = f"{path}/{at}", value[at] if isinstance(at, int) and at < len(value) else None
            else:
                return path
            if self.random.random() < 0.3:
                return path

    def _make_merge(self, subresource: str = "") -> Sent:
        return self._patch(PATCHES[1], self._fragment(), subresource)

    def _make_strategic(self, subresource: str = "") -> Sent:
        return self._patch(PATCHES[2], self._directed(self._fragment()), subresource)

    def _make_apply(self, subresource: str = "") -> Sent:
        odd = self._odd() if self.random.random() < 0.7 else self._valid()
        return self._patch(PATCHES[3], odd, subresource)

    def _fragment(self) -> Any:
        odd = self._odd()
        if not isinstance(odd, dict):
            return odd
        return {key: value for key, value in odd.items() if self.random.random() < 0.5}

    def _directed(self, value: Any) -> Any:
        """With directives of strategic merge here and there."""
        if isinstance(value, dict):
            made = {key: self._directed(inner) for key, inner in value.items()}
            if self.random.random() < 0.1:
                directive = self.random.choice(
                    ("$patch", "$retainKeys", "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers")
                )
                made[directive] = self.random.choice(("delete", "replace", "merge", "x", ["name"], [{"name": "c"}], None, 5))
            return made
        return [self._directed(inner) for inner in value] if isinstance(value, list) else value

    def _make_status(self) -> Sent:
        subresource = self.random.choice((*self.endpoint.subresources, "status"))
        maker = self.random.choice((self._make_json, self._make_merge, self._make_strategic, self._make_apply))
        if self.random.random() < 0.7:
            return maker(subresource)
        odd = self.maker.damaged(self._current())
        return Sent(self.random.choice(("PUT", "POST", "DELETE")), self._with(self._one(subresource), _OF_WRITES), *self._body(odd))

    def _make_scale(self) -> Sent:
        if "scale" not in self.endpoint.subresources:
            return self._make_status()
        scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": self._name()}, "spec": {"replicas": 2}}
        odd = self.maker.damaged(scale)
        if self.random.random() < 0.5:
            return Sent("PUT", self._one("scale"), *self._body(odd))
        return self._patch(self.random.choice(PATCHES), odd, "scale")

    def _make_get(self) -> Sent:
        subresource = self.random.choice(("", "", *self.endpoint.subresources, "log"))
        return Sent(
            self.random.choice(("GET", "HEAD")),
            self._with(self._one(subresource), ("pretty", "resourceVersion", "includeObject", "timeout")),
        )

    def _make_list(self) -> Sent:
        return Sent("GET", self._with(self._collection(), (*_OF_READS, "includeObject", "timeout")))

    def _make_watch(self) -> Sent:
        path = self._with(self._collection(), (*_OF_WATCHES, "includeObject", "timeoutSeconds"))
        return Sent("GET", path + ("&" if "?" in path else "?") + "watch=1")

    def _collection(self) -> str:
        everywhere = f"{self.endpoint.prefix}/{self.endpoint.plural}"
        return everywhere if self.random.random() < 0.3 else self.endpoint.collection(self.namespace)

    def _make_delete(self) -> Sent:
        return Sent("DELETE", self._with(self._one(), _OF_DELETES), *self._options())

    def _make_collection(self) -> Sent:
        path = self._with(self.endpoint.collection(self.namespace), (*_OF_DELETES, *_OF_READS))
        return Sent("DELETE", path + ("&" if "?" in path else "?") + "dryRun=All", *self._options())

    def _options(self) -> tuple[bytes, dict[str, str]]:
        if self.random.random() < 0.5:
            return b"", {}
        odd = self.maker.make(schema_of(GVK("meta.k8s.io", "v1", "DeleteOptions")) or schema_of(GVK("", "v1", "DeleteOptions")))
        if isinstance(odd, dict) and self.random.random() < 0.8:
            odd |= {"kind": "DeleteOptions", "apiVersion": "v1"}
        return self._body(odd)

    def _make_odd(self) -> Sent:
        """Anything at all to somewhere near."""
        base = self.endpoint.prefix[: self.endpoint.prefix.find("/api")]
        path = self.random.choice((base + self.random.choice(_PATHS), self._one(quote(self.random.choice(TEXTS))), self._collection()))
        method = self.random.choice(_METHODS)
        body = (b"", {}) if method in ("GET", "HEAD") or self.random.random() < 0.5 else self._body(self._odd())
        headers = dict(body[1])
        if body[0] and self.random.random() < 0.3:
            headers["content-type"] = self.random.choice(
                ("", "text/plain", "application/json;charset=x", "application/cbor", "*/*", PATCHES[1], ";")
            )
        if self.random.random() < 0.1:
            garbage = base64.b64encode(self.random.randbytes(12)).decode()
            headers["authorization"] = self.random.choice(
                ("", "Bearer", f"Bearer {garbage}", "Basic x", f"Bearer {garbage}.{garbage}.{garbage}", "\xff")
            )
            return Sent(method, path, body[0], headers, None)
        if self.random.random() < 0.1:
            headers[self.random.choice(("impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-%zz"))] = (
                self.random.choice(TEXTS[2:])
            )
        return Sent(method, path, body[0], headers)
