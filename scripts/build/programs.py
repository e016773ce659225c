"""bin/: the programs under the names of the build instructions, and which components of TMC they start with.

    python scripts/build/programs.py bin ["error-handling,health,metrics,recovery"|all]

Without a choice each is a link to the installed program. With one, bin/kcp sets the variables `KCP_TMC_*` of these components, as defaults:
what the environment says already, and every flag, counts for more. Placement and views are no components of a build: flags turn them off.
"""

from __future__ import annotations

import sys
from pathlib import Path

PROGRAMS = ("kcp", "workload-syncer", "kubectl-kcp", "kubectl-workspaces", "kubectl-ws", "kubectl-tmc", "kubectl-create-workspace")
COMPONENTS = {
    "error-handling": "KCP_TMC_ERROR_HANDLING",
    "health": "KCP_TMC_HEALTH_MONITORING",
    "metrics": "KCP_TMC_METRICS",
    "recovery": "KCP_TMC_RECOVERY",
}


def wrapper(program: Path, chosen: set[str]) -> str:
    defaults = [f': "${{{variable}:={str(name in chosen).lower()}}}"; export {variable}' for name, variable in COMPONENTS.items()]
    return "\n".join(["#!/bin/sh", "# Made by `make build TMC_COMPONENTS=…`.", *defaults, f'exec "{program}" "$@"', ""])


def main(directory: Path, components: str) -> None:
    chosen = set(COMPONENTS) if components == "all" else {name.strip() for name in components.split(",") if name.strip()}
    if unknown := sorted(chosen - set(COMPONENTS)):
        sys.exit(f"TMC_COMPONENTS: unknown {', '.join(unknown)}; there are: {', '.join(COMPONENTS)}, all")
    directory.mkdir(exist_ok=True)
    for name in PROGRAMS:
        installed, made = Path(sys.executable).parent / name, directory / name
        made.unlink(missing_ok=True)
        if name == "kcp" and chosen:
            made.write_text(wrapper(installed, chosen))
            made.chmod(0o755)
        else:
            made.symlink_to(installed)
    print(f"{directory}/: {', '.join(PROGRAMS)}" + (f"; components: {', '.join(sorted(chosen))}" if chosen else ""))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
