"""`/`: the paths that are served here, as `kubectl get --raw /` lists them.

Before: the router. After: `discovery.grouped`, for the groups that exist in this cluster.
Source: k8s.io/apiserver/pkg/server/routes/index.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from kcp.apiserver.discovery import grouped
from kcp.apiserver.request import Request, Response
from kcp.registry.resource import Catalog


@dataclass(frozen=True, slots=True)
class Root:
    catalog: Catalog
    routes: Iterable[str]
    """Paths beside those of discovery; those that end with "/" stand for what is below them, and are not listed."""

    async def __call__(self, req: Request) -> Response:
        groups = grouped(self.catalog.resources(req.info.cluster))
        found = {path for path in self.routes if not path.endswith("/")} | {"/api", "/apis"}
        for group, versions in groups.items():
            base = f"/apis/{group}" if group else "/api"
            found |= {base, *(f"{base}/{version}" for version in versions)}
        return Response(body=orjson.dumps({"paths": sorted(found)}, option=orjson.OPT_INDENT_2))
