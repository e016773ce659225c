"""The signer of client certificates: approved requests to `kubernetes.io/kube-apiserver-client` get a certificate of the cluster's CA.

Before: `sim.cluster`, which says how a request is signed. After: the requests' status.
Source: k8s.io/kubernetes/pkg/controller/certificates/signer/signer.go.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.builtin.kinds import ForCluster
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory

REQUESTS = GVR("certificates.k8s.io", "v1", "certificatesigningrequests")
SIGNER = "kubernetes.io/kube-apiserver-client"
_LONGEST = timedelta(days=365)

Sign: TypeAlias = Callable[[bytes, timedelta], str]
"""(PEM of the request, lifetime) → PEM of the certificate. Raises ValueError for a request that cannot be signed."""


def is_waiting(request: Mapping[str, Any]) -> bool:
    """Approved, for this signer, and neither signed nor given up."""
    if meta.nested(request, "spec", "signerName") != SIGNER or meta.nested(request, "status", "certificate"):
        return False
    return conditions.is_true(request, "Approved") and not any(conditions.is_true(request, kind) for kind in ("Denied", "Failed"))


def signed(request: JSONObject, sign: Sign, now: str) -> JSONObject:
    """The request with its certificate, or with the reason why it gets none."""
    wanted: JSONObject = meta.copy_json(request)
    spec = request["spec"]
    asked = timedelta(seconds=spec.get("expirationSeconds") or _LONGEST.total_seconds())
    try:
        certificate = sign(base64.b64decode(spec["request"]), min(asked, _LONGEST))
    except ValueError as error:
        failure = {"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": str(error), "lastUpdateTime": now}
        wanted["status"]["conditions"] = [*wanted["status"]["conditions"], failure]
    else:
        wanted["status"]["certificate"] = base64.b64encode(certificate.encode()).decode()
    return wanted


@dataclass(frozen=True, slots=True)
class SigningReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    for_cluster: ForCluster
    sign: Sign
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        request = self.get(key)
        if request is not None and is_waiting(request):
            await commit(self.for_cluster(key.cluster).resource(REQUESTS), request, signed(request, self.sign, rfc3339(self.clock.now())))
        return Result()


def build_certificate_signer(informers: InformerFactory, *, for_cluster: ForCluster, sign: Sign, clock: Clock) -> Controller:
    requests = informers.informer(REQUESTS)
    controller = Controller(
        "certificate signer", SigningReconciler(requests.get, for_cluster, sign, clock).reconcile, clock=clock, workers=1
    )
    controller.watch(requests)
    return controller
