"""Names of clusters, initializer labels and default bindings: deterministic, of the documented form."""

from __future__ import annotations

import hashlib

from kcp.apimachinery.keys import ClusterName, base36_sha224
from kcp.tenancy.logicalcluster.labels import phase_labels, with_phase_labels
from kcp.tenancy.logicalcluster.names import cluster_name, home_cluster_name, initializer_label, looks_generated
from kcp.tenancy.workspacetype.model import ExportReference
from kcp.tenancy.workspacetype.names import binding_name


def test_cluster_name_is_the_first_16_digits_of_base36_sha224() -> None:
    assert cluster_name(b"some entropy") == base36_sha224("some entropy")[:16]


def test_home_cluster_name_is_base36_of_the_first_8_bytes() -> None:
    number = int.from_bytes(hashlib.sha224(b"alice").digest()[:8], "big")
    assert int(home_cluster_name("alice"), 36) == number
    assert not looks_generated("alice")


def test_initializer_label_fits_into_a_label_key_and_value() -> None:
    key, value = initializer_label("root:universal")
    assert key.startswith("initializer.internal.kcp.io/")
    assert len(key) <= 63
    assert value == hashlib.sha224(b"root:universal").hexdigest()
    assert len(value) <= 63


def test_phase_labels_replace_old_ones_and_keep_the_users() -> None:
    before = {"mine": "1", **phase_labels("Initializing", ["root:universal"])}
    assert with_phase_labels(before, "Ready", ()) == {"mine": "1", "tenancy.kcp.io/phase": "Ready"}


def test_binding_name_ends_in_5_lower_case_digits_of_the_hash() -> None:
    name = binding_name(ClusterName("2lpvmbh5xyj8ljfs"), ExportReference("root", "tenancy.kcp.io"))
    prefix, _, digest = name.rpartition("-")
    assert prefix == "tenancy.kcp.io"
    assert len(digest) == 5
    assert digest == digest.lower()


def test_binding_name_of_a_long_export_fits_into_a_name() -> None:
    name = binding_name(ClusterName("root"), ExportReference("root", "x" * 253))
    assert len(name) == 253
