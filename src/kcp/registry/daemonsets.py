"""The generation of a DaemonSet's template, which v1 shows as an annotation that nobody but the server counts.

Before: `builtin`, as the kind's strategy. After: `apis.kubernetes.defaults`, so that templates are compared with their defaults.
Source: k8s.io/kubernetes/pkg/registry/apps/daemonset/strategy.go, pkg/apis/apps/v1/conversion.go.
"""

from __future__ import annotations

import re

from kcp.apimachinery import meta
from kcp.apimachinery.errors import BadRequest
from kcp.apimachinery.meta import JSONObject, nested, set_annotation
from kcp.apis.kubernetes.defaults import daemon_set

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}\Z")


def count_first(new: JSONObject, now: str) -> None:
    """Raises BadRequest where the annotation holds no number."""
    set_annotation(new, TEMPLATE_GENERATION, str(max(_generation(new), 1)))


def count_next(new: JSONObject, old: JSONObject) -> None:
    """Raises BadRequest where the annotation holds no number."""
    _generation(new)
    daemon_set(new)
    held = _generation(old)
    is_changed = nested(new, "spec", "template") != nested(old, "spec", "template")
    set_annotation(new, TEMPLATE_GENERATION, str(held + 1 if is_changed else held))


def _generation(obj: JSONObject) -> int:
    text = meta.annotations(obj).get(TEMPLATE_GENERATION, "0")
    if _NUMBER.match(text) is None:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)
