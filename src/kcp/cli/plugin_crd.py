"""`kubectl kcp crd snapshot`: CustomResourceDefinitions as APIResourceSchemas. No server is asked.

Before: `kubectl_kcp`. After: files.
Source: kcp staging cli/pkg/crd/plugin/snapshot.go, sdk/apis/apis/v1alpha1/conversion_crd.go.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_command import subcommands
from kcp.cli.plugin_flags import ConnectionFlags, PluginParser
from kcp.cli.plugin_session import PluginError

_EXAMPLES = """\
examples:
  kubectl kcp crd snapshot -f crd.yaml --prefix 2022-05-07 > schema.yaml        turn CRDs into APIResourceSchemas
  kubectl get crd widgets.example.com -o yaml | kubectl kcp crd snapshot -f - --prefix today | kubectl create -f -
"""
_VERSION_FIELDS = ("name", "served", "storage", "deprecated", "deprecationWarning", "additionalPrinterColumns", "selectableFields")


def parser(prog: str) -> PluginParser:
    made = PluginParser(prog=prog, description="Work with CustomResourceDefinitions.", epilog=_EXAMPLES)
    snapshot = subcommands(made).add_parser("snapshot", help="print APIResourceSchemas for CRDs", epilog=_EXAMPLES)
    snapshot.add_argument("-f", "--filename", default="", metavar="FILE", help="file of CustomResourceDefinitions; - for standard input")
    snapshot.add_argument("--prefix", default="", help="what the schemas' names begin with, before <resource>.<group>")
    snapshot.add_argument("-o", "--output", default="yaml", metavar="FORMAT", help="yaml or json; yaml if not given")
    snapshot.set_defaults(run=_snapshot)
    return made


async def _snapshot(options: argparse.Namespace, _flags: ConnectionFlags) -> None:
    problems = [f"--{name} is required" for name in ("filename", "prefix") if not getattr(options, name)]
    if options.output not in ("yaml", "json"):
        problems.append(f'invalid value "{options.output}" for --output; valid values are json, yaml')
    if problems:
        raise PluginError("; ".join(problems))
    for crd in _definitions(options.filename):
        sys.stdout.write(_encode(schema_of(crd, options.prefix), options.output) + "\n---\n")


def _definitions(filename: str) -> Iterator[JSONObject]:
    import yaml

    try:
        text = sys.stdin.read() if filename == "-" else Path(filename).read_text()
        documents = list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except OSError as error:
        raise PluginError(f"error opening {filename}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PluginError(f"{filename} is no text: {error}") from error
    except yaml.YAMLError as error:
        raise PluginError(f"{filename} is not valid YAML: {error}") from error
    for document in documents:
        if not document:
            continue
        if not isinstance(document, dict):
            raise PluginError(f"{filename} holds something that is no object: {str(document)[:80]}")
        if document.get("kind") == "List":
            yield from (_checked(item, filename) for item in document.get("items") or ())
        else:
            yield _checked(document, filename)


def _checked(document: Any, filename: str) -> JSONObject:
    kind = document.get("kind") if isinstance(document, dict) else None
    if kind != "CustomResourceDefinition" or document.get("apiVersion") != "apiextensions.k8s.io/v1":
        raise PluginError(
            f"{filename} holds a {kind or 'nameless thing'}; only CustomResourceDefinitions of apiextensions.k8s.io/v1 can be turned"
        )
    found: JSONObject = document
    return found


def schema_of(crd: JSONObject, prefix: str) -> JSONObject:
    """The APIResourceSchema of a CRD. Raises PluginError where there is none: conversion needs a URL, not a Service.

    Source: sdk/apis/apis/v1alpha1/conversion_crd.go CRDToAPIResourceSchema.
    """
    spec = crd.get("spec") or {}
    group, names = spec.get("group") or "", spec.get("names") or {}
    name = f"{prefix}.{names.get('plural')}.{group or 'core'}"
    wanted: JSONObject = {
        "group": group,
        "names": names,
        "scope": spec.get("scope"),
        "versions": [_version(v) for v in spec.get("versions") or ()],
    }
    if conversion := _conversion(spec.get("conversion") or {}, meta.name(crd)):
        wanted["conversion"] = conversion
    if "api-approved.kubernetes.io" in meta.annotations(crd):
        kept = {"api-approved.kubernetes.io": meta.annotations(crd)["api-approved.kubernetes.io"]}
        return {
            "apiVersion": "apis.kcp.io/v1alpha1",
            "kind": "APIResourceSchema",
            "metadata": {"name": name, "annotations": kept},
            "spec": wanted,
        }
    return {"apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIResourceSchema", "metadata": {"name": name}, "spec": wanted}


def _version(version: JSONObject) -> JSONObject:
    made = {field: version[field] for field in _VERSION_FIELDS if version.get(field) is not None}
    made["schema"] = (version.get("schema") or {}).get("openAPIV3Schema") or {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    }
    made["subresources"] = version.get("subresources") or {}
    return made


def _conversion(conversion: JSONObject, name: str) -> JSONObject | None:
    if conversion.get("strategy") != "Webhook":
        return None
    webhook = conversion.get("webhook") or {}
    client = webhook.get("clientConfig") or {}
    if not client.get("url"):
        raise PluginError(f"error converting CRD {name}: its conversion webhook has no URL; an APIResourceSchema cannot name a Service")
    kept = {key: client[key] for key in ("url", "caBundle") if client.get(key)}
    return {
        "strategy": "Webhook",
        "webhook": {"conversionReviewVersions": webhook.get("conversionReviewVersions") or [], "clientConfig": kept},
    }


def _encode(schema: JSONObject, output: str) -> str:
    if output == "json":
        return json.dumps(schema, indent=2)
    import yaml

    text: str = yaml.dump(
        schema, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False, default_flow_style=False, width=1 << 16
    )
    return text.rstrip("\n")
