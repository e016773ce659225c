"""What reads bytes and texts of clients, each as a function of bytes that must end soon, with a result or with the error it promises.

Before: `test_parsers` (the corpus and a fixed number of mutations), `__main__` (long runs, led by coverage). After: `kcp`, every parser in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from tests.unit.apimachinery.applying import server_side_apply

from kcp.apimachinery import jsonpath, quantity
from kcp.apimachinery.apply.fields import FieldSet
from kcp.apimachinery.apply.managers import Managers
from kcp.apimachinery.cel import admission
from kcp.apimachinery.cel.rulecheck import rule_faults
from kcp.apimachinery.cel.rules import compile_rules, validate
from kcp.apimachinery.duplicates import duplicate_fields
from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.patch import json_patch, merge_patch, strategic
from kcp.apimachinery.patch.errors import PatchError
from kcp.apimachinery.schema.compile import compile_schema
from kcp.apimachinery.schema.patterns import compile_pattern
from kcp.apimachinery.schema.violations import structural_violations
from kcp.apimachinery.schema.wellformed import type_faults
from kcp.apimachinery.selectors import FieldSelector, LabelSelector
from kcp.apis.kubernetes import cron
from kcp.apiserver import requestinfo, requesttarget
from kcp.apiserver.authn.serviceaccounts import peek
from kcp.apiserver.body import decode_json, decode_protobuf, decode_yaml, parse_json
from kcp.apiserver.filters import _asked_s
from kcp.apiserver.handlers.options import delete_options, list_query, watch_query, write_options
from kcp.apiserver.negotiate import in_form
from kcp.apiserver.protobuf.envelope import NoMessage, Unfit, encode
from kcp.apiserver.request import Request, Response
from kcp.registry.builtin import builtin_schema
from kcp.registry.reads import decode_continue, parse_revision

REFUSALS = (StatusError, PatchError)
_OBJECT = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"a": "b"}, "finalizers": ["x/y"]},
    "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}], "env": [{"name": "A"}]}], "nodeSelector": {"a": "b"}},
}  # fmt: skip


@dataclass(frozen=True)
class Parser:
    run: Callable[[bytes], object]
    corpus: tuple[bytes, ...]
    tokens: tuple[bytes, ...] = ()
    """What its language is made of, for mutations."""

    def __call__(self, data: bytes) -> None:
        """Raises whatever is not a refusal that a client would be told as such."""
        try:
            self.run(data)
        except REFUSALS:
            return


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _request(query: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Request:
    async def read() -> bytes:
        return body

    return Request("GET", "/", query, headers or {}, read)


# --- requests ---


def _target(data: bytes) -> None:
    method, _, rest = data.partition(b" ")
    target = requesttarget.split(rest)
    if target is not None:
        requestinfo.parse(_text(method), target.path, _request(target.query.decode("latin-1")).query)


def _query(data: bytes) -> None:
    req = _request(data.decode("latin-1"))
    for read in (list_query, watch_query, lambda r: write_options(r, "PatchOptions"), lambda r: _asked_s(r, 60.0)):
        try:
            read(req)
        except StatusError:
            continue
    asyncio.run(delete_options(req))


def _delete_options(data: bytes) -> None:
    asyncio.run(delete_options(_request("", {"content-length": str(len(data))}, data)))


def _accept(data: bytes) -> None:
    in_form(_request("", {"accept": data.decode("latin-1")}), Response(200, b'{"kind":"Status","apiVersion":"v1"}'))


def _revisions(data: bytes) -> None:
    for read in (parse_revision, decode_continue):
        try:
            read(_text(data))
        except StatusError:
            continue


# --- bodies ---


def _json(data: bytes) -> None:
    obj = decode_json(data, "Pod")
    list(duplicate_fields(data))
    schema = builtin_schema(GVK("", "v1", "Pod"))
    assert schema is not None
    schema.validate(obj)
    orjson.dumps(obj)


def _yaml(data: bytes) -> None:
    obj, duplicates = decode_yaml(data, "Pod")
    orjson.dumps([obj, duplicates])


def _protobuf(data: bytes) -> None:
    obj = decode_protobuf(b"k8s\0" + data, "Pod")
    try:
        encode(orjson.loads(orjson.dumps(obj)))
    except (NoMessage, Unfit):
        return


def _given(data: bytes) -> Any:
    """Any JSON; a refusal where it is none, as every handler makes it."""
    try:
        return parse_json(data)
    except ValueError:
        raise PatchError("not JSON") from None


def _json_patch(data: bytes) -> None:
    given = _given(data)
    orjson.dumps(json_patch.apply(_OBJECT, given if isinstance(given, list) else [given]))


def _merge_patch(data: bytes) -> None:
    patched = merge_patch.apply(_OBJECT, _given(data))
    assert merge_patch.apply(_OBJECT, merge_patch.diff(_OBJECT, patched)) == patched or not isinstance(patched, dict)


def _strategic(data: bytes) -> None:
    given = _given(data)
    schema = builtin_schema(GVK("", "v1", "Pod"))
    if isinstance(given, dict) and schema is not None:
        orjson.dumps(strategic.apply(_OBJECT, given, schema))


def _apply(data: bytes) -> None:
    given = _given(data)
    if not isinstance(given, dict):
        return
    given |= {"apiVersion": "v1", "kind": "Pod"}
    if not isinstance(given.setdefault("metadata", {}), dict):
        return
    schema = builtin_schema(GVK("", "v1", "Pod"))
    held: Any = None
    for manager, config in (("a", _OBJECT), ("b", given), ("b", {**_OBJECT}), ("b", given)):
        held = server_side_apply(held, config, manager=manager, force=True, schema=schema, now="2026-01-01T00:00:00Z")
    orjson.dumps(held)


def _fields(data: bytes) -> None:
    given = _given(data)
    if not isinstance(given, dict):
        return
    try:
        held = FieldSet.from_v1(given)
    except ValueError:
        return
    assert FieldSet.from_v1(held.to_v1()) == held
    entry = {"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": given}
    orjson.dumps(Managers.decode([entry], trusted=False).encode())


def _managers(data: bytes) -> None:
    given, schema = _given(data), builtin_schema(GVK("", "v1", "Pod"))
    if isinstance(given, dict) and schema is not None and not schema.validate({"metadata": {"managedFields": [given]}}):
        try:
            orjson.dumps(Managers.decode([given], trusted=False).encode())
        except ValueError:
            return


def _schema(data: bytes) -> None:
    """A CRD's schema as it is checked, and then an object against it."""
    given = _given(data)
    if not isinstance(given, dict) or type_faults(given, "s") or structural_violations(given, "s"):
        return
    if rule_faults(given, "s"):
        return
    compiled = compile_schema(given)
    if compiled is not None:
        compiled.validate({"spec": {"a": 1, "b": ["x"], "c": {"d": None}}})
        rules = compile_rules(compiled)
        if rules is not None:
            validate(rules, {"spec": {"a": 1, "b": ["x"]}}, {"spec": {"a": 2}})


# --- texts ---


def _labels(data: bytes) -> None:
    selector = LabelSelector.parse(_text(data))
    selector.matches({"a": "b"})
    assert LabelSelector.parse(str(selector)).matches({"a": "b"}) == selector.matches({"a": "b"})


def _field_selector(data: bytes) -> None:
    FieldSelector.parse(_text(data)).matches({"metadata.name": "a"}.get)


def _quantity(data: bytes) -> None:
    text = _text(data)
    try:
        value = quantity.parse(text)
    except quantity.QuantityError:
        return
    assert quantity.parse(quantity.canonical(text)) == value
    quantity.millis(text)
    quantity.add(text, "1")
    quantity.compare(text, "1Gi")


_KIND = admission.Kind(makes_objects=True)


def _cel(data: bytes) -> None:
    compiled = admission.compile_in(_KIND, [("v", "object.metadata")], _text(data), ())
    if compiled.program is not None:
        compiled.program.evaluate({"object": _OBJECT, "oldObject": None, "request": {"operation": "CREATE"}}, limit=100_000)


def _rule(data: bytes) -> None:
    schema = compile_schema(_ruled(_text(data)))
    rules = compile_rules(schema) if schema is not None else None
    if rules is not None:
        validate(rules, {"spec": {"s": "text", "i": 5, "l": ["a", "b"], "m": {"k": 1}, "q": "1Gi", "t": "2026-01-01T00:00:00Z"}}, None)
    rule_faults(_ruled(_text(data)), "s")


def _ruled(rule: str) -> dict[str, Any]:
    properties = {
        "s": {"type": "string", "maxLength": 10}, "i": {"type": "integer"}, "l": {"type": "array", "maxItems": 5, "items": {"type": "string"}},
        "m": {"type": "object", "additionalProperties": {"type": "integer"}}, "q": {"type": "string"}, "t": {"type": "string", "format": "date-time"},
    }  # fmt: skip
    spec = {"type": "object", "properties": properties, "x-kubernetes-validations": [{"rule": rule, "messageExpression": rule}]}
    return {"type": "object", "properties": {"spec": spec}}


def _jsonpath(data: bytes) -> None:
    try:
        walk = jsonpath.compile(_text(data))
    except jsonpath.JSONPathError:
        return
    walk(_OBJECT)


def _pattern(data: bytes) -> None:
    compiled = compile_pattern(_text(data))
    if compiled is not None:
        compiled.matches("a" * 2000 + "!")


def _cron(data: bytes) -> None:
    try:
        schedule = cron.parse(_text(data))
    except cron.ScheduleError:
        return
    schedule.after(datetime(2026, 1, 1, tzinfo=UTC), UTC)


def _token(data: bytes) -> None:
    peek(_text(data))


_JSON_TOKENS = (
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"1", b"-1", b"1e999", b"9" * 40, b"NaN", b'"\\ud800"', b"\\u0000", b"\xff",
    b'"a":', b'"metadata":', b'"name":', b'"labels":', b'"spec":', b'"containers":', b'""', b"0.1", b"-0", b"18446744073709551615",
)  # fmt: skip
_DIRECTIVES = (b'"$patch":"delete"', b'"$patch":"replace"', b'"$retainKeys":["a"]', b'"$setElementOrder/containers":[{"name":"c"}]',
               b'"$deleteFromPrimitiveList/finalizers":["x/y"]')  # fmt: skip
_CEL_TOKENS = (
    b"object", b"oldObject", b"request.operation", b"variables.v", b".spec", b"self", b"oldSelf", b"[0]", b"(", b")", b"&&", b"||", b"!", b"?", b":",
    b"==", b"<", b"in", b"'a'", b"r'''", b"b'\\xff'", b"1u", b"0x", b"1e9", b".all(x, x)", b".exists(x, true)", b".map(x, x)", b".filter(x, x)", b"has(",
    b"size(", b".matches('(a+)+')", b"type(", b"dyn(", b"duration('1h')", b"timestamp('2026-01-01T00:00:00Z')", b"Object{", b"JSONPatch{", b"{", b"}",
    b"optional.of(", b".?a", b"cel.bind(x, 1, ", b"quantity('1Gi')", b".format([1])", b".split('')", b".join('')", b"url('a')", b"ip('1.1.1.1')",
    b"9223372036854775807", b"-", b"*", b"/", b"%", b"\\u{0}", b"semver('1.0.0')", b".replace('','x')", b".sort()", b"sets.contains(", b"null",
)  # fmt: skip

PARSERS: Mapping[str, Parser] = {
    "accept": Parser(_accept, (b"application/json;as=Table;v=v1;g=meta.k8s.io,application/json;q=0.5", b"*/*", b'a;b="c;d,e"'), (b";q=", b"nan", b"inf", b",", b";as=Table")),
    "apply": Parser(_apply, (orjson.dumps(_OBJECT), b'{"metadata":{"labels":{"x":"y"}},"spec":{"containers":[{"name":"c"},{"name":"c"}]}}'), _JSON_TOKENS),
    "cel": Parser(_cel, (b"object.spec.containers.all(c, c.image.startsWith('i'))", b"has(object.spec) ? {'a': [1, 2u, 3.0]}['a'].map(x, string(x)).join(',') : ''"), _CEL_TOKENS),
    "cron": Parser(_cron, (b"*/5 1-3,7 * * mon-fri", b"@every 1h", b"0 0 31 2 *", b"TZ=UTC * * * * *"), (b"*", b"/", b"-", b",", b"?", b"L", b"@daily", b"99999999999")),
    "delete options": Parser(_delete_options, (b'{"kind":"DeleteOptions","propagationPolicy":"Orphan","preconditions":{"uid":"x"},"gracePeriodSeconds":5}',), _JSON_TOKENS),
    "field selector": Parser(_field_selector, (b"metadata.name=a,status.phase!=b", b"a=\\,\\=\\\\"), (b"\\", b"=", b"!=", b"==", b",")),
    "fields": Parser(_fields, (b'{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:l":{"k:{\\"name\\":\\"c\\"}":{"f:x":{}},"v:\\"y\\"":{},"i:0":{}}}}',), (*_JSON_TOKENS, b'"f:', b'"k:{', b'"v:', b'"i:', b'".":{}')),
    "json": Parser(_json, (orjson.dumps(_OBJECT), b'{"a":1,"a":{"b":2,"b":[]}}', b'{"a":"\\ud83d\\ude00"}'), _JSON_TOKENS),
    "json patch": Parser(_json_patch, (b'[{"op":"add","path":"/metadata/labels/x~1y","value":1},{"op":"move","from":"/spec","path":"/a"}]', b'[{"op":"copy","from":"","path":"/spec/x"},{"op":"test","path":"/a"}]'), (*_JSON_TOKENS, b'"op":"copy"', b'"from":""', b'"path":"/spec/containers/-"')),
    "jsonpath": Parser(_jsonpath, (b"{.spec.containers[?(@.name=='c')].ports[*].containerPort}", b".metadata.labels['a']", b"$..name", b".spec.x[-1:2]"), (b"..", b"[*]", b"[?(@.a==1)]", b"['", b"[0:", b"{", b"}", b"@", b"\\", b"||")),
    "labels": Parser(_labels, (b"a=b,c!=d,e in (f,g),h notin (i),!j,k", b"a>1,b<2"), (b"in", b"notin", b"(", b")", b",", b"!", b"=", b"==", b"!=", b">", b" ")),
    "managers": Parser(_managers, (b'{"manager":"m","operation":"Apply","apiVersion":"v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:a":{}}}',), _JSON_TOKENS),
    "merge patch": Parser(_merge_patch, (b'{"metadata":{"labels":null},"spec":{"containers":[]}}',), _JSON_TOKENS),
    "pattern": Parser(_pattern, (b"^(a+)+$", b"(a|aa)*[[:alpha:]]{1,1000}\\p{L}", b"(?i)x{1000}{1000}"), (b"(", b")", b"*", b"+", b"{1000}", b"|", b"[", b"\\", b"(?=", b"\\1", b"(?P<a>", b"\\pL")),
    "protobuf": Parser(_protobuf, (encode(_OBJECT)[4:],), (b"\x0a", b"\x12\xff\xff\xff\xff\x0f", b"\x0a\x02v1", b"\x08\x80", b"k8s\0")),
    "quantity": Parser(_quantity, (b"1.5Gi", b"100m", b"1e3", b"-1E9", b"9" * 50, b"1e999999999"), (b"e", b"E", b"Ki", b"n", b"-", b"+", b".", b"999999999")),
    "query": Parser(_query, (b"limit=5&continue=x&resourceVersion=1&resourceVersionMatch=Exact&labelSelector=a%3Db&timeout=1h2m3s", b"dryRun=All&fieldManager=m&gracePeriodSeconds=-1"), (b"&", b"=", b"%", b"%ff", b"+", b";", b"sendInitialEvents=", b"limit=", b"timeout=1ms", b"orphanDependents=true", b"\xb2")),
    "revision": Parser(_revisions, (b"123", b"eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0", b"18446744073709551615"), (b"=", b"_", b"-", "٣".encode())),
    "rule": Parser(_rule, (b"self.i > 1 && self.l.all(x, x.size() < 5)", b"self.m.exists(k, self.m[k] == 1) || quantity(self.q).isGreaterThan(quantity('1'))", b"self.t.getFullYear() > 2000"), _CEL_TOKENS),
    "schema": Parser(_schema, (b'{"type":"object","properties":{"spec":{"type":"object","properties":{"a":{"type":"integer","minimum":1},"b":{"type":"array","items":{"type":"string","pattern":"^x$"}}},"x-kubernetes-validations":[{"rule":"self.a > 0"}]}}}',), (*_JSON_TOKENS, b'"type":', b'"object"', b'"allOf":[', b'"not":{', b'"items":{', b'"properties":{', b'"additionalProperties":true', b'"x-kubernetes-int-or-string":true', b'"x-kubernetes-preserve-unknown-fields":true', b'"default":', b'"nullable":true', b'"enum":[', b'"format":"date"', b'"x-kubernetes-list-type":"map"', b'"x-kubernetes-list-map-keys":["a"]', b'"maximum":1e400')),
    "strategic": Parser(_strategic, (b'{"spec":{"containers":[{"name":"c","$patch":"delete"},{"name":"d","env":[{"name":"A","value":"b"}]}],"$setElementOrder/containers":[{"name":"d"}]}}', b'{"metadata":{"$deleteFromPrimitiveList/finalizers":["x/y"],"labels":{"$patch":"replace","z":"1"}}}'), (*_JSON_TOKENS, *_DIRECTIVES)),
    "target": Parser(_target, (b"GET /clusters/root:a/apis/apps/v1/namespaces/x/deployments/web/scale?a=b", b"DELETE https://h/api/v1/watch/pods?fieldSelector=metadata.name%3Da"), (b"/", b"%2F", b"%", b"/namespaces/", b"/apis/", b"/api/", b"/clusters/", b"?", b"&", b"..")),
    "token": Parser(_token, (b"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0.AAAA", b"a.b.c"), (b".", b"=", b"eyJhbGciOiJub25lIn0")),
    "yaml": Parser(_yaml, (b"a: &x [1, 2]\nb: *x\nc: {<<: {y: 1}, d: !!str 1}\n", b"a: |\n  x\n? b\n: c\n", b"- 0o17\n- 2026-01-01\n- .nan\n- 1_000\n- ~\n", b"a: &a [x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n"), (b"&a ", b"*a", b"!!binary ", b"!!python/object:x ", b"<<: ", b"? ", b": ", b"- ", b"\n  ", b"|\n", b">-\n", b"%TAG ! x\n---\n", b"---\n", b"{", b"}", b"[", b"]", b'"\\x', b"'", b".inf", b"0x1f", b"\t")),
}  # fmt: skip
