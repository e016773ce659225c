"""The schemas that a release brings pass the checks from which the server spares them at every start."""

from __future__ import annotations

import pytest

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes.compute import compute_schemas
from kcp.apis.schemas import load_crds
from kcp.exports.names import SCHEMAS
from kcp.exports.system import compute_apis, root_apis
from kcp.exports.validation import schema_faults, schema_rule_faults

RELEASED = [obj for gvr, obj in (*root_apis(load_crds(), tmc=True), *compute_apis(compute_schemas())) if gvr == SCHEMAS]


@pytest.mark.parametrize("schema", RELEASED, ids=meta.name)
def test_a_released_schema_has_no_fault(schema: JSONObject) -> None:
    assert [*schema_rule_faults(schema, None), *schema_faults(schema, None)] == []
