"""Kubernetes' protobuf messages as data: descriptors, and what they do not say about how their fields look in JSON.

The files beside this module are made by `scripts/protobuf/generate.py` from the official Go modules (Apache-2.0, The Kubernetes Authors).
Nothing here imports the protobuf library, and nothing is kept: the caller makes of it what it needs.
Before: `apiserver.protobuf`.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import orjson

INLINE, POINTER, OMITTED, KEPT = "i", "p", "o", "k"
"""How Go's encoding/json treats a field: its own fields stand in its owner's object (inline); as sent, nothing if nil (pointer); its zero
value is left out (omitted) or written (kept)."""


@dataclass(frozen=True, slots=True)
class ProtobufTypes:
    descriptors: bytes
    """A serialized FileDescriptorSet, dependencies first; the `json_name` of a field is its name in Kubernetes' JSON."""
    kinds: Mapping[str, str]
    """`apps/v1 Deployment` → `k8s.io.api.apps.v1.Deployment`."""
    fields: Mapping[str, str]
    """Message → one character per field, in the order of field numbers: INLINE, POINTER, OMITTED or KEPT."""
    source: tuple[str, ...]
    """The Go modules all this was made from."""


def load() -> ProtobufTypes:
    """Read afresh."""
    here = resources.files(__package__)
    table = orjson.loads(gzip.decompress((here / "protobuf.json.gz").read_bytes()))
    descriptors = gzip.decompress((here / "protobuf.binpb.gz").read_bytes())
    return ProtobufTypes(descriptors, table["kinds"], table["fields"], tuple(table["source"]))
