"""Real CRDs, up to 1.4 MB of YAML each, in a workspace: created, applied, explained; objects of theirs accepted and refused.

The CRDs are those that Argo CD, cert-manager, Crossplane, Gateway API and prometheus-operator publish (Apache-2.0), read from
`../shared/data/crds`, which a clone of this project alone does not have; the objects are in `crds/samples.yaml`.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.compat.servers import Server
from tests.e2e.processes import Kubectl

DATA = Path(__file__).parents[3] / "shared" / "data" / "crds"
FILES = sorted(DATA.glob("*/*.yaml"))
PROJECTS = sorted({file.parent.name for file in FILES})
SAMPLES = {sample["kind"]: sample for sample in yaml.safe_load_all((Path(__file__).parent / "crds" / "samples.yaml").read_text())}

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not FILES, reason=f"needs the CRDs of other projects in {DATA}")]


def names_of(file: Path) -> dict[str, Any]:
    """`metadata.name` and the kind's names, without parsing megabytes of schema."""
    head = {}
    for line in file.read_text().splitlines():
        found = line.strip().partition(": ")
        if line.startswith(("  name: ", "  group: ", "    kind: ", "    plural: ")) and found[0] not in head:
            head[found[0]] = found[2]
    return head


@pytest.fixture(scope="module")
def installed(workspace: Server) -> Kubectl:
    """kubectl in a workspace where every CRD was created."""
    kubectl = workspace.namespace("crds")
    for project in PROJECTS:
        kubectl("create", "-f", str(DATA / project))
    return kubectl


def test_every_crd_is_established_within_two_seconds(installed: Kubectl) -> None:
    crds = installed.until(
        "get", "crds", is_right=lambda found: all("conditions" in c.get("status", {}) for c in found["items"]), timeout_s=2
    )
    assert {c["metadata"]["name"] for c in crds["items"]} == {names_of(file)["name"] for file in FILES}
    for crd in crds["items"]:
        conditions = {c["type"]: c for c in crd["status"]["conditions"]}
        assert (conditions["NamesAccepted"]["status"], conditions["Established"]["status"]) == ("True", "True"), crd["metadata"]["name"]
        assert "NonStructuralSchema" not in conditions
        made, established = crd["metadata"]["creationTimestamp"], conditions["Established"]["lastTransitionTime"]
        assert (datetime.fromisoformat(established) - datetime.fromisoformat(made)).total_seconds() <= 2


def test_every_kind_is_in_discovery(installed: Kubectl) -> None:
    known = set(installed("api-resources", "-o", "name").splitlines())
    assert [n for n in (names_of(file)["name"] for file in FILES) if n not in known] == []


@pytest.mark.parametrize("project", PROJECTS)
def test_explain_knows_every_kind(installed: Kubectl, project: str) -> None:
    for file in (f for f in FILES if f.parent.name == project):
        names = names_of(file)
        text = installed("explain", names["name"], "--recursive")
        assert f"GROUP:      {names['group']}\nKIND:       {names['kind']}\n" in text
        assert "\n  kind\t<string>\n  metadata\t<ObjectMeta>" in text


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_valid_object_is_created_as_it_was_sent(installed: Kubectl, kind: str) -> None:
    sample = SAMPLES[kind]
    made = json.loads(installed("create", "-f", "-", "-o", "json", stdin=json.dumps(sample)))
    assert is_within(sample["spec"], made["spec"])
    again = installed.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(sample))
    assert again.stdout.endswith("serverside-applied\n")
    unknown = {**sample, "spec": {**sample["spec"], "bogus": 1}, "metadata": {"name": "unknown"}}
    refused = installed.run("create", "-f", "-", stdin=json.dumps(unknown), check=False)
    assert 'strict decoding error: unknown field "spec.bogus"' in refused.stderr


def is_within(sent: Any, held: Any) -> bool:
    """Whether everything that was sent is held; defaults may have come to it."""
    if isinstance(sent, dict):
        return isinstance(held, dict) and all(key in held and is_within(value, held[key]) for key, value in sent.items())
    if isinstance(sent, list):
        return isinstance(held, list) and len(sent) == len(held) and all(map(is_within, sent, held))
    return bool(sent == held)


@pytest.mark.parametrize(
    ("kind", "path", "value", "told"),
    [
        ("Application", "destination", None, "spec.destination: Required value"),
        ("Application", "project", 5, 'spec.project: Invalid value: "integer": spec.project in body must be of type string: "integer"'),
        ("ApplicationSet", "generators", "x", 'spec.generators: Invalid value: "string": spec.generators in body must be of type array'),
        ("Certificate", "issuerRef", None, "spec.issuerRef: Required value"),
        ("Certificate", "privateKey.algorithm", "DSA", 'privateKey.algorithm: Unsupported value: "DSA": supported values: "RSA", "ECDSA"'),
        ("Provider", "package", None, "spec.package: Required value"),
        ("Composition", "pipeline", [], "spec.pipeline: Invalid value: 0: spec.pipeline in body should have at least 1 items"),
        ("Gateway", "listeners.0.port", 0, "spec.listeners[0].port in body should be greater than or equal to 1"),
        ("HTTPRoute", "rules.0.matches.0.path.type", "Nope", 'Unsupported value: "Nope": supported values: "Exact", "PathPrefix"'),
        ("HTTPRoute", "hostnames", ["a b"], "spec.hostnames[0]: Invalid value: \"a b\": spec.hostnames[0] in body should match"),
        ("ServiceMonitor", "selector", None, "spec.selector: Required value"),
        ("PrometheusRule", "groups.0.interval", "5 parsecs", 'groups[0].interval: Invalid value: "5 parsecs"'),
        ("Prometheus", "replicas", "two", 'Invalid value: "string": spec.replicas in body must be of type integer: "string"'),
    ],
)  # fmt: skip
def test_an_invalid_object_is_refused_with_its_field(installed: Kubectl, kind: str, path: str, value: Any, told: str) -> None:
    broken = json.loads(json.dumps(SAMPLES[kind]))
    broken["metadata"]["name"] = "broken"
    here: Any = broken["spec"]
    *steps, last = path.split(".")
    for step in steps:
        here = here[int(step) if isinstance(here, list) else step]
    if value is None:
        del here[last]
    else:
        here[last] = value
    done = installed.run("create", "-f", "-", stdin=json.dumps(broken), check=False)
    assert done.returncode == 1
    assert f'The {kind} "broken" is invalid' in done.stderr
    assert told in done.stderr


def test_printer_columns_are_shown(installed: Kubectl) -> None:
    for kind in ("Certificate", "Gateway", "Prometheus"):
        shown = {**SAMPLES[kind], "metadata": {"name": "shown"}}
        installed("apply", "--server-side", "-f", "-", stdin=json.dumps(shown))
    assert installed("get", "certificates.cert-manager.io").splitlines()[0].split() == ["NAME", "READY", "SECRET", "AGE"]
    assert installed("get", "gateways").splitlines()[0].split() == ["NAME", "CLASS", "ADDRESS", "PROGRAMMED", "AGE"]
    assert installed("get", "prometheuses", "shown", "--no-headers").split()[:2] == ["shown", "2"]


def test_deprecated_versions_are_told_of(installed: Kubectl) -> None:
    told = installed.run("get", "compositeresourcedefinitions.v1.apiextensions.crossplane.io").stderr
    assert "Warning: CompositeResourceDefinition v1 is deprecated" in told


@pytest.mark.parametrize("project", PROJECTS)
def test_server_side_apply_of_what_was_created_changes_no_generation(installed: Kubectl, project: str) -> None:
    applied = installed("apply", "--server-side", "--force-conflicts", "-f", str(DATA / project)).splitlines()
    assert len(applied) == len([f for f in FILES if f.parent.name == project])
    assert all(line.endswith("serverside-applied") for line in applied)
    mine = {names_of(file)["name"] for file in FILES if file.parent.name == project}
    crds = [c for c in installed.json("get", "crds")["items"] if c["metadata"]["name"] in mine]
    assert {c["metadata"]["generation"] for c in crds} == {1}
