"""The CRDs of our own kinds: valid as CRDs, their columns can be printed, the documented fields are there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import copy_json
from kcp.apimachinery.schema.structural import compile_schema
from kcp.apimachinery.table import build_table, columns_from_crd
from kcp.apis.kubernetes import crds
from kcp.apis.schemas import load_crds

CRDS = load_crds()
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("name", sorted(CRDS))
def test_crd_is_accepted(name: str) -> None:
    crd = copy_json(CRDS[name])
    crds.default(crd)
    causes: list[Cause] = list(crds.validate(crd, None))
    assert [str(cause) for cause in causes] == []


@pytest.mark.parametrize("name", sorted(CRDS))
def test_columns_print_an_empty_object(name: str) -> None:
    for version in CRDS[name]["spec"]["versions"]:
        columns = columns_from_crd(version.get("additionalPrinterColumns") or ())
        assert build_table([{"metadata": {"name": "x"}}], columns, now=NOW)["rows"][0]["cells"][0] == "x"


def _schema(name: str) -> Any:
    return compile_schema(CRDS[name]["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


def test_placement_of_the_tutorials_is_valid() -> None:
    placement = {
        "apiVersion": "scheduling.kcp.io/v1alpha1",
        "kind": "Placement",
        "metadata": {"name": "hello"},
        "spec": {
            "numberOfClusters": 2,
            "locationSelectors": [{"matchLabels": {"region": "east"}}, {"matchLabels": {"region": "west"}}],
            "namespaceSelector": {"matchNames": ["default"], "matchLabels": {"app": "web"}},
        },
    }
    schema = _schema("placements.scheduling.kcp.io")
    assert schema.validate(placement) == []
    assert schema.unknown_fields(placement) == []


def test_placement_refuses_what_it_would_not_honour() -> None:
    placement = {"metadata": {"name": "p"}, "spec": {"constraints": {"deadline": "5m"}}}
    assert _schema("placements.scheduling.kcp.io").unknown_fields(placement) == ["spec.constraints.deadline"]


def test_sync_target_with_the_forks_fields_is_valid() -> None:
    target = {
        "apiVersion": "workload.kcp.io/v1alpha1",
        "kind": "SyncTarget",
        "metadata": {"name": "east"},
        "spec": {
            "workloadCluster": {"name": "east", "credentials": {"secretRef": {"name": "s", "namespace": "n"}}},
            "supportedAPIExports": [{"export": "kubernetes", "path": "root:compute"}],
            "cells": {"zone": "a"},
            "taints": [{"key": "gpu", "effect": "NoSchedule"}],
        },
        "status": {"allocatable": {"cpu": "4", "pods": 110}, "lastSyncerHeartbeatTime": "2026-01-01T00:00:00Z"},
    }
    schema = _schema("synctargets.workload.kcp.io")
    assert schema.validate(target) == []
    assert schema.unknown_fields(target) == []
