"""`/version`: which Kubernetes this server speaks, and which release of it this is."""

from __future__ import annotations

import platform

import orjson

from kcp import __version__
from kcp.apiserver.request import Request, Response

KUBERNETES_MINOR = 36


def version_info() -> dict[str, str]:
    """Source: k8s.io/apimachinery/pkg/version/types.go."""
    return {
        "major": "1",
        "minor": str(KUBERNETES_MINOR),
        "emulationMajor": "1",
        "emulationMinor": str(KUBERNETES_MINOR),
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": str(KUBERNETES_MINOR - 1),
        "gitVersion": f"v1.{KUBERNETES_MINOR}.0+kcp-v{__version__}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{platform.system().lower()}/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }",
    }


async def version(req: Request) -> Response:
    """Indented for whoever asks. Source: responsewriters/writers.go (WriteRawJSON), server/routes/version.go."""
    if req.method not in ("GET", "HEAD"):
        return Response(405, b"405: Method Not Allowed", "text/plain; charset=utf-8", (("allow", "GET"),))
    return Response(body=orjson.dumps(version_info(), option=orjson.OPT_INDENT_2))
