"""The 403 of an admission plugin, with upstream's text.

Source: k8s.io/apiserver/pkg/admission/errors.go (NewForbidden).
"""

from __future__ import annotations

from collections.abc import Sequence

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause, Forbidden
from kcp.registry.backend import Attributes


def forbidden(attributes: Attributes, text: str, causes: Sequence[Cause] = ()) -> Forbidden:
    """`<resource> "<name>" is forbidden: <text>`."""
    resource = attributes.scope.resource.group_resource
    name = attributes.scope.name or meta.name(attributes.new or {}) or meta.metadata(attributes.new or {}).get("generateName") or "Unknown"
    return Forbidden(f'{resource} "{name}" is forbidden: {text}', resource=resource, name=name, causes=causes)
