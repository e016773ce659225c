"""CRD status: names accepted or in conflict, established, stored versions, finalizer, deletion."""

from __future__ import annotations

from tests.unit.registry.crds import NOW, crd, established

from kcp.apimachinery import conditions, meta
from kcp.registry.crdstatus import CLEANUP_FINALIZER, cleaned, instances, is_terminating, reconcile_crd, terminating


def test_a_new_crd_is_accepted_established_and_guarded() -> None:
    made = reconcile_crd(crd("widgets", "Widget", shortNames=["w"], categories=["all"]), [], NOW)
    assert conditions.is_true(made, "NamesAccepted")
    assert conditions.is_true(made, "Established")
    assert made["status"]["acceptedNames"] == made["spec"]["names"]
    assert made["status"]["storedVersions"] == ["v1"]
    assert meta.finalizers(made) == [CLEANUP_FINALIZER]


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
    assert is_terminating(held)
    assert conditions.is_true(terminating(held, NOW, left=2), "Terminating")
    assert conditions.is_false(terminating(held, NOW, left=0), "Terminating")
    assert not is_terminating(cleaned(held))
    assert meta.finalizers(cleaned(held)) == []
    assert [gvr.version for gvr in instances(held)] == ["v1"]
