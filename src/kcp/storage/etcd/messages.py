"""etcd's v3 messages, made from a table when the module is imported, and the names of the calls they travel in.

The runtime that Kubernetes' protobuf uses anyway decodes them; nothing is generated and nothing has to be kept in step with a compiler.
Only fields that are used here are in the table: protobuf skips the others.
Source: etcd api/etcdserverpb/rpc.proto, api/mvccpb/kv.proto (v3.5, v3.6).
"""

from __future__ import annotations

from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Message: TypeAlias = Any
"""One of the classes below: protobuf makes them when the program runs, so nothing can be said of their fields before."""

_PACKAGE = "kcp.etcd"
_MESSAGES: dict[str, str] = {
    "ResponseHeader": "cluster_id:uint64=1 member_id:uint64=2 revision:int64=3 raft_term:uint64=4",
    "KeyValue": "key:bytes=1 create_revision:int64=2 mod_revision:int64=3 version:int64=4 value:bytes=5 lease:int64=6",
    "RangeRequest": ("key:bytes=1 range_end:bytes=2 limit:int64=3 revision:int64=4 serializable:bool=7 keys_only:bool=8 count_only:bool=9"),
    "RangeResponse": "header:ResponseHeader=1 kvs:KeyValue*=2 more:bool=3 count:int64=4",
    "PutRequest": "key:bytes=1 value:bytes=2 lease:int64=3",
    "PutResponse": "header:ResponseHeader=1",
    "DeleteRangeRequest": "key:bytes=1 range_end:bytes=2",
    "DeleteRangeResponse": "header:ResponseHeader=1 deleted:int64=2",
    # an equality of the key's mod_revision (target 2), or its version above zero (target 0, result 1: the key exists)
    "Compare": "result:int32=1 target:int32=2 key:bytes=3 version:int64=4|target_union mod_revision:int64=6|target_union",
    "RequestOp": "request_range:RangeRequest=1|request request_put:PutRequest=2|request request_delete_range:DeleteRangeRequest=3|request",
    "ResponseOp": "response_range:RangeResponse=1|response",
    "TxnRequest": "compare:Compare*=1 success:RequestOp*=2 failure:RequestOp*=3",
    "TxnResponse": "header:ResponseHeader=1 succeeded:bool=2 responses:ResponseOp*=3",
    "CompactionRequest": "revision:int64=1 physical:bool=2",
    "CompactionResponse": "header:ResponseHeader=1",
    "Event": "type:int32=1 kv:KeyValue=2 prev_kv:KeyValue=3",
    "WatchCreateRequest": (
        "key:bytes=1 range_end:bytes=2 start_revision:int64=3 progress_notify:bool=4 prev_kv:bool=6 watch_id:int64=7 fragment:bool=8"
    ),
    "WatchProgressRequest": "",
    "WatchRequest": "create_request:WatchCreateRequest=1|request_union progress_request:WatchProgressRequest=3|request_union",
    "WatchResponse": (
        "header:ResponseHeader=1 watch_id:int64=2 created:bool=3 canceled:bool=4 compact_revision:int64=5 cancel_reason:string=6 "
        "fragment:bool=7 events:Event*=11"
    ),
    "AuthenticateRequest": "name:string=1 password:string=2",
    "AuthenticateResponse": "header:ResponseHeader=1 token:string=2",
    "StatusRequest": "",
    "StatusResponse": "header:ResponseHeader=1 version:string=2 dbSize:int64=3 leader:uint64=4 dbSizeInUse:int64=9",
    "DefragmentRequest": "",
    "DefragmentResponse": "header:ResponseHeader=1",
    "SnapshotRequest": "",
    "SnapshotResponse": "header:ResponseHeader=1 remaining_bytes:uint64=2 blob:bytes=3",
}
"""Fields as `name:type[*]=number[|oneof]`; `*` repeats."""

_SCALARS = {
    name: getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in ("int32", "int64", "uint64", "bool", "bytes", "string")
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="kcp/storage/etcd.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields.split():
            _add_field(message, text)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES}


def _add_field(message: descriptor_pb2.DescriptorProto, text: str) -> None:
    declaration, _, oneof = text.partition("|")
    name, _, rest = declaration.partition(":")
    kind, _, number = rest.partition("=")
    field = message.field.add(name=name, number=int(number), label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL)
    if kind.endswith("*"):
        field.label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    kind = kind.rstrip("*")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"
    if oneof:
        known = [declared.name for declared in message.oneof_decl]
        if oneof not in known:
            message.oneof_decl.add(name=oneof)
            known.append(oneof)
        field.oneof_index = known.index(oneof)


_CLASSES = _classes()

RangeRequest = _CLASSES["RangeRequest"]
PutRequest = _CLASSES["PutRequest"]
DeleteRangeRequest = _CLASSES["DeleteRangeRequest"]
Compare = _CLASSES["Compare"]
RequestOp = _CLASSES["RequestOp"]
TxnRequest = _CLASSES["TxnRequest"]
CompactionRequest = _CLASSES["CompactionRequest"]
WatchCreateRequest = _CLASSES["WatchCreateRequest"]
WatchProgressRequest = _CLASSES["WatchProgressRequest"]
WatchRequest = _CLASSES["WatchRequest"]
WatchResponse = _CLASSES["WatchResponse"]
AuthenticateRequest = _CLASSES["AuthenticateRequest"]
StatusRequest = _CLASSES["StatusRequest"]
DefragmentRequest = _CLASSES["DefragmentRequest"]
SnapshotRequest = _CLASSES["SnapshotRequest"]

EQUAL, GREATER = 0, 1
"""Compare.result."""
BY_VERSION, BY_MOD_REVISION = 0, 2
"""Compare.target."""
DELETED = 1
"""Event.type; 0 is a put."""

RANGE = "/etcdserverpb.KV/Range"
TXN = "/etcdserverpb.KV/Txn"
COMPACT = "/etcdserverpb.KV/Compact"
WATCH = "/etcdserverpb.Watch/Watch"
AUTHENTICATE = "/etcdserverpb.Auth/Authenticate"
STATUS = "/etcdserverpb.Maintenance/Status"
DEFRAGMENT = "/etcdserverpb.Maintenance/Defragment"
SNAPSHOT = "/etcdserverpb.Maintenance/Snapshot"

ANSWERS: dict[str, Any] = {
    RANGE: _CLASSES["RangeResponse"],
    TXN: _CLASSES["TxnResponse"],
    COMPACT: _CLASSES["CompactionResponse"],
    AUTHENTICATE: _CLASSES["AuthenticateResponse"],
    STATUS: _CLASSES["StatusResponse"],
    DEFRAGMENT: _CLASSES["DefragmentResponse"],
}
"""What each call with one answer answers with."""


def range_end(prefix: bytes) -> bytes:
    """The first key after all keys that start with `prefix`. Source: etcd client/v3 op.go, getPrefix.

    >>> range_end(b"/registry/")
    b'/registry0'
    """
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else b"\0"
