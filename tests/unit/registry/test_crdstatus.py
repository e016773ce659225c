"""CRD status: names accepted or in conflict, established, stored versions, finalizer, deletion."""

from __future__ import annotations

from tests.unit.registry.crds import NOW, crd, established

from kcp.apimachinery import conditions, meta
from kcp.registry.crdstatus import (
    APPROVAL,
    CLEANUP_FINALIZER,
    approval,
    await_cleanup,
    cleaned,
    deleting,
    emptied,
    instances,
    is_terminating,
    reconcile_crd,
    structure,
    stuck,
)


def test_a_new_crd_is_accepted_and_established() -> None:
    made = reconcile_crd(crd("widgets", "Widget", shortNames=["w"], categories=["all"]), [], NOW)
    assert conditions.is_true(made, "NamesAccepted")
    assert conditions.is_true(made, "Established")
    assert made["status"]["acceptedNames"] == made["spec"]["names"]
    assert made["status"]["storedVersions"] == ["v1"]
    assert [c["type"] for c in made["status"]["conditions"]] == ["NamesAccepted", "Established"]


def test_second_reconcile_changes_nothing() -> None:
    once = reconcile_crd(crd("widgets", "Widget"), [], NOW)
    assert reconcile_crd(once, [], "2026-01-02T00:00:00Z") == once


def test_a_taken_kind_is_not_established_until_it_is_free() -> None:
    other = established("gadgets", "Widget")
    made = reconcile_crd(crd("widgets", "Widget"), [other], NOW)
    condition = conditions.get(made, "NamesAccepted")
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("False", "ListKindConflict")
    assert conditions.is_false(made, "Established")
    assert conditions.is_true(reconcile_crd(made, [], NOW), "Established")


def test_a_taken_short_name_is_left_out_and_reported() -> None:
    other = established("wheels", "Wheel", shortNames=["w"])
    made = reconcile_crd(crd("widgets", "Widget", shortNames=["w"]), [other], NOW)
    condition = conditions.get(made, "NamesAccepted")
    assert condition is not None
    assert condition["reason"] == "ShortNamesConflict"
    assert condition["message"] == '"w" is already in use'
    assert "shortNames" not in made["status"]["acceptedNames"]


def test_other_groups_do_not_conflict() -> None:
    other = established("widgets", "Widget", group="example.org")
    assert conditions.is_true(reconcile_crd(crd("widgets", "Widget"), [other], NOW), "Established")


def test_an_established_crd_stays_so_when_its_new_names_conflict() -> None:
    held = reconcile_crd(crd("widgets", "Widget"), [], NOW)
    held["spec"]["names"]["singular"] = "wheel"
    made = reconcile_crd(held, [established("wheels", "Wheel")], NOW)
    assert conditions.is_false(made, "NamesAccepted")
    assert conditions.is_true(made, "Established")
    assert made["status"]["acceptedNames"]["singular"] == "widget"


def test_old_storage_versions_are_remembered() -> None:
    held = reconcile_crd(crd("widgets", "Widget", versions=("v2", "v1")), [], NOW)
    held["spec"]["versions"][0]["storage"], held["spec"]["versions"][1]["storage"] = True, False
    assert reconcile_crd(held, [], NOW)["status"]["storedVersions"] == ["v1", "v2"]


def test_deletion_waits_for_the_objects() -> None:
    held = reconcile_crd(crd("widgets", "Widget"), [], NOW)
    assert not is_terminating(held)
    held["metadata"]["deletionTimestamp"] = NOW
    await_cleanup(held)
    assert is_terminating(held)
    assert meta.finalizers(held) == [CLEANUP_FINALIZER]
    told = [conditions.get(o, "Terminating") or {} for o in (held, deleting(held, NOW), stuck(held, NOW, "no"), emptied(held, NOW))]
    assert [(c["status"], c["reason"]) for c in told] == [
        ("True", "InstanceDeletionPending"), ("True", "InstanceDeletionInProgress"), ("True", "InstanceDeletionFailed"),
        ("False", "InstanceDeletionCompleted"),
    ]  # fmt: skip
    assert not is_terminating(cleaned(held))
    assert meta.finalizers(cleaned(held)) == []
    assert [gvr.version for gvr in instances(held)] == ["v1"]


def test_a_crd_that_was_never_established_has_nothing_to_remove() -> None:
    told = conditions.get(emptied(crd("widgets", "Widget"), NOW), "Terminating") or {}
    assert (told["status"], told["reason"]) == ("False", "NeverEstablished")


def test_a_schema_that_is_not_structural_is_named_in_a_condition_until_it_is_repaired() -> None:
    made = crd("widgets", "Widget")
    assert structure(made) is None
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = {"properties": {}}
    told = conditions.get(reconciled := reconcile_crd(made, [], NOW), "NonStructuralSchema") or {}
    assert (told["status"], told["reason"]) == ("True", "Violations")
    where = "spec.versions[0].schema.openAPIV3Schema.properties[spec].type"
    assert told["message"] == f"{where}: Required value: must not be empty for specified object fields"
    reconciled["spec"] = crd("widgets", "Widget")["spec"]
    assert conditions.get(reconcile_crd(reconciled, [], NOW), "NonStructuralSchema") is None


def test_kubernetes_own_groups_need_approval() -> None:
    made = crd("widgets", "Widget", group="widgets.k8s.io")
    assert approval(crd("widgets", "Widget")) is None
    texts = {
        "": "MissingAnnotation",
        "unapproved, a test": "UnapprovedAnnotation",
        "me": "InvalidAnnotation",
        "https://x/1": "ApprovedAnnotation",
    }
    for value, reason in texts.items():
        meta.set_annotation(made, "api-approved.kubernetes.io", value or None)
        found = approval(made)
        assert found is not None
        assert found[1] == reason
    assert conditions.is_true(reconcile_crd(made, [], NOW), APPROVAL)
