#!/usr/bin/env python3
"""Look up what is known of vulnerabilities of the product's dependencies (pip-audit), and say what could not be looked up.

Exit code 1 if one is known. Where the database (PyPI's) is not reached, nothing is known: that is said, and is no error, because builds
happen on machines without it too; the pipeline of .github/workflows/ci.yml reaches it.
"""

from __future__ import annotations

import json
import subprocess
import sys

from sbom import PRODUCT, closure, normal


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off", "--format", "json", "--timeout", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout.startswith("{"):
        print(f"audit: no database of vulnerabilities is reached, nothing was looked up: {done.stderr.strip().splitlines()[-1:]}")
        return 0
    inside = closure(PRODUCT) - {PRODUCT}
    found = [entry for entry in json.loads(done.stdout)["dependencies"] if normal(entry["name"]) in inside]
    skipped = [entry["name"] for entry in found if "skip_reason" in entry]
    known = [(entry, fault) for entry in found for fault in entry.get("vulns", ())]
    for entry, fault in known:
        print(f"audit: {entry['name']} {entry['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no version'}")
    if skipped:
        print(f"audit: not looked up, because the database does not answer for them: {', '.join(sorted(skipped))}")
    print(f"audit: {len(found) - len(skipped)} of {len(inside)} dependencies looked up, {len(known)} vulnerabilities known")
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())
