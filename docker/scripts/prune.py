"""Take out of an installed kcp what it never reads: schemas of other Kubernetes versions, 100 MB.

Run by the interpreter of the environment that is pruned.
"""

import importlib.util
import shutil
from pathlib import Path

from kcp.apis.kubernetes.definitions import MINOR

spec = importlib.util.find_spec("kubernetes_validate")
assert spec is not None
assert spec.origin is not None
for folder in (Path(spec.origin).parent / "kubernetes-json-schema").iterdir():
    if folder.name != f"v1.{MINOR}.0-local":
        shutil.rmtree(folder)
        continue
    for file in folder.iterdir():
        if file.name != "_definitions.json":
            file.unlink()
