"""What users write on an object about its syncing, and what a copy looks like after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kcp.apimachinery import errors, meta
from kcp.apimachinery.gvk import GroupResource
from kcp.tmc.aggregation.remarks import remarks
from kcp.tmc.errors import ErrorType, classify
from kcp.tmc.model import wishes
from kcp.tmc.model.names import DRIFT_ANNOTATION, SYNC_ERROR_ANNOTATION
from kcp.tmc.syncer.adapt import adapted
from kcp.tmc.syncer.drift import Drift, account, contest

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def annotated(**annotations: str) -> dict[str, Any]:
    return {"metadata": {"annotations": {getattr(wishes, name): value for name, value in annotations.items()}}}


@pytest.mark.parametrize(
    ("obj", "cluster", "out"),
    [
        ({}, "east", False),
        (annotated(TARGET_CLUSTERS="east,west"), "east", False),
        (annotated(TARGET_CLUSTERS="east,west"), "north", True),
        (annotated(TARGET_CLUSTERS="eu-*"), "eu-1", False),
        ({"metadata": {"annotations": {"tmc.kcp.io/cluster-placement": "east,west"}}}, "west", False),
        ({"metadata": {"annotations": {"tmc.kcp.io/cluster-placement": "east,west"}}}, "north", True),
        ({"metadata": {"annotations": {"placement.kcp.io/target": "east"}}}, "west", True),
        (annotated(EXCLUDE_CLUSTERS="test-*"), "test-1", True),
        (annotated(TARGET_CLUSTERS="east", EXCLUDE_CLUSTERS="east"), "east", True),
        (annotated(SYNC="disabled"), "east", True),
        (annotated(SYNC="pause"), "east", False),
        ({"metadata": {"labels": {wishes.SYNC: "disabled"}}}, "east", True),
        (annotated(SYNC="disbaled"), "east", False),
    ],
)
def test_left_out(obj: dict[str, Any], cluster: str, *, out: bool) -> None:
    assert wishes.left_out(obj, cluster) is out


def test_a_word_that_means_nothing_pauses_and_is_told() -> None:
    obj = annotated(SYNC="disbaled", SYNC_POLICY="soon", TARGET_REPLICAS="many")
    assert wishes.sync_of(obj) is wishes.Sync.PAUSE
    assert len(wishes.problems(obj)) == 3
    assert wishes.problems(annotated(SYNC="enabled", TARGET_REPLICAS="east=2,3")) == []


def deployment(**annotations: str) -> dict[str, Any]:
    asked = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "1"}}
    template = {"spec": {"containers": [{"name": "app", "resources": asked}]}}
    return {**annotated(**annotations), "spec": {"replicas": 5, "template": template}}


def test_replicas_and_requests_are_adapted_to_the_cluster() -> None:
    obj = deployment(TARGET_REPLICAS="east=3,1", RESOURCE_LIMITS="reduced")
    found = adapted(obj, "east")
    assert found["spec"]["replicas"] == 3
    assert adapted(obj, "west")["spec"]["replicas"] == 1
    resources = found["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources["requests"] == {"cpu": "100m", "memory": "256Mi"}
    assert resources["limits"] == {"cpu": "200m", "memory": "512Mi", "nvidia.com/gpu": "1"}
    assert obj["spec"]["replicas"] == 5


def test_nothing_is_adapted_where_the_user_wants_none() -> None:
    obj = deployment(TARGET_REPLICAS="3", TRANSFORM="none")
    assert adapted(obj, "east") is obj


def test_corrections_soon_after_each_other_are_a_fight() -> None:
    view: dict[str, Any] = {"metadata": {"annotations": {}}}
    for number in range(5):
        assert contest(view, "K", "east", NOW) is None, number
        view["metadata"]["annotations"][DRIFT_ANNOTATION + "K"] = account(view, "K", "east", Drift(["spec.replicas"], "hpa"), NOW)
    fight = contest(view, "K", "east", NOW)
    assert fight is not None
    assert (fight.type, fight.retryable) == (ErrorType.SYNC_CONFLICT, False)
    assert "hpa keeps changing spec.replicas" in fight.message
    assert contest(view, "K", "east", NOW + timedelta(minutes=1)) is None, "tried again later"


@pytest.mark.parametrize(
    ("error", "kind", "advice"),
    [
        (
            errors.Forbidden('x is forbidden: User "s" cannot create resource "namespaces" in API group "" at the cluster scope'),
            ErrorType.RESOURCE_PERMISSION,
            'the verb "create" on namespaces',
        ),
        (
            errors.NotFound("the server could not find the requested resource"),
            ErrorType.RESOURCE_NOT_FOUND,
            "does not serve deployments.apps",
        ),
        (errors.Invalid("spec.selector: Invalid value: field is immutable"), ErrorType.RESOURCE_VALIDATION, "immutable-fields=recreate"),
        (errors.RequestEntityTooLarge("3145728"), ErrorType.RESOURCE_VALIDATION, "make it smaller"),
    ],
)
def test_errors_say_what_to_do(error: Exception, kind: ErrorType, advice: str) -> None:
    found = classify(error, cluster="east", resource=GroupResource("apps", "deployments"))
    assert (found.type, advice in found.hint) == (kind, True), found.hint


def test_remarks_tell_differences_only() -> None:
    plain: dict[str, Any] = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a", "annotations": {"kcp.io/cluster": "c"}}}
    failed = meta.copy_json(plain)
    failed["metadata"]["annotations"][SYNC_ERROR_ANNOTATION + "K"] = '{"cluster":"east","type":"ResourcePermission","message":"no"}'
    (remark,) = remarks(plain, failed)
    assert (remark.reason, remark.message, remark.cluster) == ("SyncFailed", "east: ResourcePermission: no", "c")
    assert list(remarks(failed, failed)) == []
    assert [r.reason for r in remarks(failed, plain)] == ["Synced"]
