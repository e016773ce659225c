"""Names of the APIBindings that workspace types ask for. Pure; the same in every server, so that two of them never make two bindings."""

from __future__ import annotations

from kcp.apimachinery.keys import ClusterName, base62_sha224
from kcp.tenancy.workspacetype.model import ExportReference

_LONGEST_NAME = 253
_HASH_LENGTH = 5


def binding_name(cluster: ClusterName, export: ExportReference) -> str:
    """`<export>-<5 of a hash>`.

    Source: kcp pkg/reconciler/tenancy/initialization/apibinder_initializer_reconcile.go, generateAPIBindingName.

    >>> binding_name(ClusterName("root"), ExportReference("root", "tenancy.kcp.io"))[:15]
    'tenancy.kcp.io-'
    """
    digest = base62_sha224(f"{cluster}|{export.path}|{export.export}")[:_HASH_LENGTH].lower()
    return f"{export.export[: _LONGEST_NAME - 1 - _HASH_LENGTH]}-{digest}"
