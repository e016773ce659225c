"""The CustomResourceDefinitions that large projects publish, as many as a busy cluster has.

Before: `api.py`. After: the files in ../shared/data/crds, where the environment has them.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from kcp.apiserver.yamlbody import load
from measure.plain import Plain

DIRECTORY = Path(__file__).resolve().parents[3] / "shared/data/crds"
_COPIES_GROUP = "copies.example.com"
_WAIT_S = 60.0


def published() -> list[dict[str, Any]]:
    """Empty where the files are not there."""
    return [load(path.read_bytes())[0] for path in sorted(DIRECTORY.glob("*/*.yaml"))]


def with_copies(crds: list[dict[str, Any]], total: int) -> list[dict[str, Any]]:
    """`total` of them: what is missing is made of the largest, under another group and with descriptions of their own, so that nothing
    can be shared between a copy and its original."""
    largest = sorted(crds, key=lambda crd: -len(json.dumps(crd)))
    return [*crds, *(_copy(crd) for crd in largest[: max(total - len(crds), 0)])][:total]


def _copy(crd: dict[str, Any]) -> dict[str, Any]:
    copy = json.loads(json.dumps(crd).replace('"description": "', '"description": "Copied. '))
    spec = copy["spec"]
    spec["group"] = f"{spec['group'].split('.')[0]}.{_COPIES_GROUP}"
    name = f"{spec['names']['plural']}.{spec['group']}"
    return {"apiVersion": copy["apiVersion"], "kind": copy["kind"], "metadata": {"name": name}, "spec": spec}


def install(client: Plain, cluster: str, crds: list[dict[str, Any]]) -> None:
    """Create them and wait until all are established. Raises SystemExit."""
    path = f"{cluster}/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for crd in crds:
        client.json("POST", path, crd)
    deadline = time.perf_counter() + _WAIT_S
    while waiting := [crd["metadata"]["name"] for crd in client.json("GET", path)["items"] if not _is_established(crd)]:
        if time.perf_counter() > deadline:
            raise SystemExit(f"not established: {', '.join(waiting)}")
        time.sleep(0.5)


def _is_established(crd: dict[str, Any]) -> bool:
    conditions = {c["type"]: c["status"] for c in crd.get("status", {}).get("conditions", ())}
    return conditions.get("Established") == "True"


def read_documents(client: Plain, cluster: str) -> None:
    """What kubectl and controllers ask for: discovery, OpenAPI v2, and v3 of every group."""
    for path in ("/api", "/apis", "/openapi/v2"):
        client.json("GET", f"{cluster}{path}")
    for document in client.json("GET", f"{cluster}/openapi/v3")["paths"].values():
        url = document["serverRelativeURL"]
        client.json("GET", url if url.startswith(cluster) else f"{cluster}{url}")
