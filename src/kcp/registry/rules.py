"""The rules of a custom resource's schema (x-kubernetes-validations) on a write.

Before: `writes`. After: `apimachinery.cel.rules`, which is imported when the first schema with rules is written to.
Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource/strategy.go (Validate, ValidateUpdate, hasBlockingErr).
"""

from __future__ import annotations

from collections.abc import Sequence

from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.registry.resource import Resource

_BLOCKING = frozenset(("FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"))
_NOT_CHECKED = Cause(
    "<nil>",
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation",
)


def rule_faults(
    resource: Resource, new: JSONObject, old: JSONObject | None, known: Sequence[Cause]
) -> tuple[Sequence[Cause], Sequence[str]]:
    """Causes and warnings. `known`: the faults found before; rules are not applied to an object of the wrong shape."""
    rules = resource.rules
    if rules is None:
        return (), ()
    if any(cause.reason in _BLOCKING for cause in known):
        return (_NOT_CHECKED,), ()
    from kcp.apimachinery.cel.rules import validate

    verdict = validate(rules, new, old)
    return verdict.causes, verdict.warnings
