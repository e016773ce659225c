"""Kubernetes' named string formats: `format.dns1123Label().validate(x)`.

Before: `overloads.standard`. After: `apimachinery.names`, `schema.formats`. Source: k8s.io/apiserver/pkg/cel/library/format.go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kcp.apimachinery import names
from kcp.apimachinery.cel.costs import REGEX, WALK, CostModel, Estimated, walked
from kcp.apimachinery.cel.library import urls
from kcp.apimachinery.cel.overloads import Overload, declare
from kcp.apimachinery.cel.types import Type, opaque
from kcp.apimachinery.cel.values import NONE, Optional
from kcp.apimachinery.schema.formats import STRING_FORMATS

TYPE = opaque("kubernetes.NamedFormat")


@dataclass(frozen=True, slots=True)
class Format:
    name: str
    faults: Callable[[str], list[str]]

    @property
    def cel_type(self) -> Type:
        return TYPE


def _prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """A prefix of a name may end in a dash. Source: k8s.io/apimachinery/pkg/api/validation/generic.go (maskTrailingDash)."""
    return lambda text: check(text[:-1] + "a" if len(text) > 1 and text.endswith("-") else text)


def _as(name: str, wrong: str) -> Callable[[str], list[str]]:
    return lambda text: [] if STRING_FORMATS[name](text) else [wrong]


def _uri(text: str) -> list[str]:
    wrong = urls.fault(text)
    return [wrong] if wrong else []


FORMATS: dict[str, Format] = {
    name: Format(name, faults)
    for name, faults in {
        "dns1123Label": names.dns1123_label,
        "dns1123Subdomain": names.dns1123_subdomain,
        "dns1035Label": names.dns1035_label,
        "qualifiedName": names.qualified_name,
        "dns1123LabelPrefix": _prefix(names.dns1123_label),
        "dns1123SubdomainPrefix": _prefix(names.dns1123_subdomain),
        "dns1035LabelPrefix": _prefix(names.dns1035_label),
        "labelValue": names.label_value,
        "uri": _uri,
        "uuid": _as("uuid", "does not match the UUID format"),
        "byte": _as("byte", "invalid base64"),
        "date": _as("date", "invalid date"),
        "datetime": _as("datetime", "invalid datetime"),
    }.items()
}


def named(name: str) -> Optional:
    return Optional(FORMATS[name]) if name in FORMATS else NONE


def validate(held: Format, text: str) -> Optional:
    faults = held.faults(text)
    return Optional(faults) if faults else NONE


def _always(held: Format) -> Callable[[], Format]:
    return lambda: held


_LONGEST_REGEX = 128
_VALIDATE = CostModel(
    lambda args: walked(len(args[1]) + 1) * 15,
    lambda operands: Estimated(operands[1].size.scaled(WALK).scaled(_LONGEST_REGEX * REGEX)),
)

OVERLOADS: tuple[Overload, ...] = (
    declare("format:named(string) -> optional(kubernetes.NamedFormat)", named),
    *(declare(f"format:{name}() -> kubernetes.NamedFormat", _always(held)) for name, held in FORMATS.items()),
    declare("kubernetes.NamedFormat.validate(string) -> optional(list(string))", validate, _VALIDATE),
)
