"""Admission of APIConversions: rules that cannot work are refused when they are written.

Before: `server.compose`. After: `apiconversion`.
Source: kcp pkg/admission/apiconversion/apiconversion_admission.go.
"""

from __future__ import annotations

from collections.abc import Callable

from kcp.apimachinery import meta
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.refusal import forbidden
from kcp.exports.apiconversion import CONVERSIONS, Schemas, compile_conversion
from kcp.exports.names import SCHEMAS
from kcp.registry.backend import Attributes
from kcp.registry.schemas import hold


class ConversionAdmission:
    def __init__(self, schema_of: Callable[[ClusterName, str], JSONObject | None]) -> None:
        """Args: schema_of: (cluster, name) → the APIResourceSchema."""
        self._schema_of = schema_of

    def plugin(self) -> Plugin:
        return Plugin(name="APIConversion", validate=self.validate, resources=frozenset((CONVERSIONS.group_resource,)))

    async def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden."""
        new = attributes.new
        if new is None:
            return
        name = meta.name(new)
        schema = self._schema_of(attributes.scope.cluster, name)
        if schema is None:
            missing = f'{SCHEMAS.group_resource} "{name}" not found: an APIConversion has the name of the schema that it is for'
            raise forbidden(attributes, f"error getting APIResourceSchema {name}: {missing}")
        schemas: Schemas = {version["name"]: hold(version.get("schema") or {}).compiled for version in schema["spec"]["versions"]}
        _, faults = compile_conversion(new, schemas)
        if faults:
            told = str(faults[0]) if len(faults) == 1 else f"[{', '.join(map(str, faults))}]"
            raise forbidden(attributes, f"error compiling conversion rules: {told}", faults)
