"""The charts, rendered by Helm's own engine, and what is random in them taken out."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from kcp.apimachinery.meta import JSONObject

ROOT = Path(__file__).parents[2]
CHARTS = ROOT / "charts"
CRDS = ROOT.parent / "shared" / "data" / "crds"
NAMESPACE = "kcp-system"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def engine() -> Any:
    return pytest.importorskip("helm_python", reason="needs helm-python-sdk: pip install -e .[compat]")


def render(chart: str, values: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Template → text, as `helm template kcp-tmc charts/… --namespace kcp-system` has it."""
    name = f"{chart}/templates/"
    files: dict[str, str] = _loaded(chart).render(dict(values or {}), name=chart, namespace=NAMESPACE)
    return {path.removeprefix(name): text for path, text in files.items()}


@cache
def _loaded(chart: str) -> Any:
    return engine().Chart.load(CHARTS / chart)


def objects(chart: str, values: Mapping[str, Any] | None = None) -> list[JSONObject]:
    return [obj for path, text in sorted(render(chart, values).items()) if path.endswith(".yaml") for obj in parsed(text)]


def parsed(text: str) -> list[JSONObject]:
    return [obj for obj in yaml.load_all(text, Loader=LOADER) if obj]


def one(found: list[JSONObject], kind: str, name: str = "") -> JSONObject:
    (obj,) = [o for o in found if o["kind"] == kind and (not name or o["metadata"]["name"] == name)]
    return obj


def without_chance(obj: JSONObject) -> JSONObject:
    """A Secret without what differs from rendering to rendering: of certificates names and days stay, of the rest nothing."""
    if obj["kind"] != "Secret":
        return obj
    data = {key: _described(base64.b64decode(text)) for key, text in obj.get("data", {}).items()}
    text = {key: _masked(held) for key, held in obj.get("stringData", {}).items()}
    return {**obj, "data": data, "stringData": text}


def _masked(kubeconfig: str) -> JSONObject:
    document = yaml.safe_load(kubeconfig)
    for user in document["users"]:
        user["user"]["token"] = "…"
    for cluster in document["clusters"]:
        cluster["cluster"]["certificate-authority-data"] = bool(cluster["cluster"].get("certificate-authority-data"))
    found: JSONObject = document
    return found


def _described(held: bytes) -> object:
    if not held.startswith(b"-----BEGIN CERTIFICATE"):
        return "…"
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(held)
    days = (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        alternatives = [str(name.value) for name in names]
    except x509.ExtensionNotFound:
        alternatives = []
    return certificate.subject.rfc4514_string(), alternatives, days
