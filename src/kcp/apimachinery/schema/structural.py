"""The public face of schemas: `Schema`, `compile_schema` and the check that a CRD's schema is structural.

Before: registry (every write), catalog and CRD controllers. After: `compile`, `node`, `violations`.
"""

from kcp.apimachinery.schema.compile import compile_schema
from kcp.apimachinery.schema.node import Schema
from kcp.apimachinery.schema.violations import structural_violations

__all__ = ["Schema", "compile_schema", "structural_violations"]
