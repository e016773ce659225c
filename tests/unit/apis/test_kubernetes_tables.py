"""The tables of Kubernetes' kinds: definitions are found and normalised, every kind has one, rules and columns name kinds that exist."""

from __future__ import annotations

import orjson

from kcp.apimachinery.gvk import GVK, GroupResource
from kcp.apis.kubernetes import columns, definitions, kinds, rules


def test_every_kind_of_the_table_has_a_definition() -> None:
    held = definitions.load()
    assert [kind.gvk for kind in kinds.KINDS if held.of_kind(kind.gvk) is None] == []


def test_every_definition_can_be_read_by_itself() -> None:
    held = definitions.load()
    names = list(held.names())
    assert len(names) > 700
    for name in names:
        assert isinstance(held.raw(name), dict)


def test_published_definitions_are_openapi_not_json_schema() -> None:
    held = definitions.load()
    spec = held.published("io.k8s.api.apps.v1.DeploymentSpec")
    assert spec["type"] == "object"
    assert spec["properties"]["replicas"]["type"] == "integer"
    assert spec["properties"]["template"]["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodTemplateSpec"}]
    assert held.published(definitions.INT_OR_STRING)["x-kubernetes-int-or-string"] is True
    assert "enum" not in held.published("io.k8s.api.apps.v1.Deployment")["properties"]["kind"]


def test_a_file_laid_out_otherwise_is_read_too() -> None:
    text = orjson.dumps({"$defs": {definitions._WITNESS: {"type": "object"}, "io.k8s.api.core.v1.Pod": {"type": "object"}}})
    assert definitions.Definitions(text).raw("io.k8s.api.core.v1.Pod") == {"type": "object"}


def test_rules_and_columns_name_known_kinds_only() -> None:
    assert [gvk for gvk in rules.BUILTIN if kinds.by_gvk(gvk) is None] == []
    known = {(kind.group, kind.kind) for kind in kinds.KINDS}
    assert [pair for pair in columns._BY_GROUP_KIND if pair not in known] == []


def test_a_workspace_serves_no_workload_kinds_and_a_cluster_does() -> None:
    pods = GroupResource("", "pods")
    assert pods not in kinds.WORKSPACE_KINDS
    assert pods in kinds.CLUSTER_KINDS
    assert set(kinds.WORKSPACE_KINDS) < set(kinds.CLUSTER_KINDS)


def test_unknown_kinds_have_neither_rules_nor_columns() -> None:
    gvk = GVK("example.com", "v1", "Widget")
    assert rules.rules_of(gvk) is rules.NONE
    assert columns.builtin_columns(gvk) == ()
