"""Which handler a path belongs to: resources, exact paths such as /version, families such as /openapi/v3/….

Before: the filters. After: `resources`, discovery, OpenAPI, health, virtual workspaces.
"""

from __future__ import annotations

from collections.abc import Mapping

from kcp.apiserver.request import Handler, Request, Response, no_path


class Router:
    """Routes by `info.path`. A route that ends with "/" takes everything below it and wins by length; others are exact.

    A path with a trailing slash that has no route of its own is looked up without it.
    """

    def __init__(self, resources: Handler, routes: Mapping[str, Handler]) -> None:
        self._resources = resources
        self._exact = {path: handler for path, handler in routes.items() if not path.endswith("/") or path == "/"}
        families = [(path, handler) for path, handler in routes.items() if path.endswith("/") and path != "/"]
        self._families = sorted(families, key=lambda entry: len(entry[0]), reverse=True)

    async def __call__(self, req: Request) -> Response:
        if req.info.is_resource:
            return await self._resources(req)
        handler = self._find(req.info.path)
        return no_path() if handler is None else await handler(req)

    def _find(self, path: str) -> Handler | None:
        handler = self._exact.get(path)
        if handler is not None:
            return handler
        for prefix, family in self._families:
            if path.startswith(prefix):
                return family
        return self._exact.get(path.rstrip("/"))
