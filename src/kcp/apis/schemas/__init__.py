"""Schemas of the kinds of our own, as CustomResourceDefinitions: data files, read when somebody asks.

Before: `server.foundation`, `exports.system`. The files are the truth; docs and OpenAPI follow from them.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from kcp.apimachinery.meta import JSONObject


@cache
def load_crds() -> dict[str, JSONObject]:
    """Every CRD of ours by name, such as `workspaces.tenancy.kcp.io`. Shared: not to be changed."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, JSONObject] = {}
    for file in sorted(files(__package__).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            crd = yaml.load(file.read_bytes(), Loader=loader)  # noqa: S506 - a safe loader, and our own files
            found[crd["metadata"]["name"]] = crd
    return found
