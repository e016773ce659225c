"""Quantities: grammar, canonical form, rounding and caps. Examples: k8s.io/apimachinery/pkg/api/resource/quantity_test.go."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcp.apimachinery import quantity


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"), ("0Ki", "0"), ("1", "1"), ("0.001", "1m"), ("0.5", "500m"), (".5Gi", "512Mi"), ("1024", "1024"), ("1024Ki", "1Mi"),
        ("1.5Gi", "1536Mi"), ("2e3", "2e3"), ("1000m", "1"), ("1000Ki", "1000Ki"), ("12000", "12k"),
        ("-1500m", "-1500m"), ("+1", "1"), ("5.", "5"), ("0.1n", "1n"), ("3001n", "3001n"), ("1E", "1E"), ("1Ei", "1Ei"), ("1.1Mi", "1153433600m"), (" 1 ", "1"), ("\t2Gi\n", "2Gi"),
    ],
)  # fmt: skip
def test_canonical_text_is_upstreams(text: str, canonical: str) -> None:
    assert quantity.canonical(text) == canonical


def test_numbers_are_quantities_too() -> None:
    assert quantity.canonical(2) == "2"
    assert quantity.canonical(0.5) == "500m"


@pytest.mark.parametrize("text", ["", "abc", "1.2.3", "--1", "1 Gi", "Gi", " "])
def test_what_has_no_number_is_refused(text: str) -> None:
    assert quantity.fault(text) == quantity.WRONG_FORMAT


@pytest.mark.parametrize("text", ["1K", "1gi", "1x", "1Gib", "1e"])
def test_unknown_suffix_is_refused(text: str) -> None:
    assert quantity.fault(text) == quantity.WRONG_SUFFIX


def test_booleans_and_objects_are_no_quantities() -> None:
    assert quantity.fault(True)
    assert quantity.fault({})


def test_values_round_up_and_are_capped() -> None:
    assert quantity.millis("0.0001") == 1
    assert quantity.whole("1500m") == 2
    assert quantity.parse("1e30") == 2**63 - 1
    assert quantity.parse("0.0000000001") == Fraction(1, 10**9)


def test_arithmetic_keeps_the_form_of_the_left_side() -> None:
    assert quantity.add("1Gi", "512Mi") == "1536Mi"
    assert quantity.subtract("1", "250m") == "750m"
    assert quantity.add("0", "1Gi") == "1Gi"
    assert [quantity.compare(a, "1Ki") for a in ("1k", "1024", "1Mi")] == [-1, 0, 1]


@given(st.integers(-(10**12), 10**12), st.sampled_from(["n", "u", "m", "", "k", "M", "Ki", "Mi", "e3", "e-3"]))
def test_canonical_text_means_the_same_and_is_stable(number: int, suffix: str) -> None:
    text = quantity.canonical(f"{number}{suffix}")
    assert quantity.parse(text) == quantity.parse(f"{number}{suffix}")
    assert quantity.canonical(text) == text
