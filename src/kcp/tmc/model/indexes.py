"""Indexes that TMC's controllers share on their informers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kcp.apimachinery import meta
from kcp.tmc.model.names import held_keys, sync_target_key

BY_TARGET = "tmc-target"
"""Of synced objects and namespaces: K → those that bear a mark of that target."""
BY_KEY = "tmc-key"
"""Of SyncTargets: K → the SyncTarget."""


def index_by_target(obj: Mapping[str, Any]) -> Iterable[str]:
    return held_keys(obj)


def index_by_key(target: Mapping[str, Any]) -> Iterable[str]:
    return [sync_target_key(meta.cluster(target), meta.name(target))]
