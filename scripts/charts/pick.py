#!/usr/bin/env python3
"""Of YAML documents on standard input, print those of a kind, and of a name if one is given: pick.py KIND [NAME]."""

import sys

import yaml

kind, *names = sys.argv[1:]
found = [obj for obj in yaml.safe_load_all(sys.stdin) if obj and obj["kind"] == kind and (not names or obj["metadata"]["name"] in names)]
if not found:
    sys.exit(f"there is no {kind} {' '.join(names)}")
yaml.safe_dump_all(found, sys.stdout, sort_keys=False, explicit_start=True, width=140)
