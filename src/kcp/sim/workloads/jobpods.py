"""The pods of Jobs: names, the finalizer by which they are counted, and for Indexed Jobs the index in every form.

Pure. Before: `job`. Source: pkg/controller/job/{job_controller,indexed_job_utils,tracking_utils}.go.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from itertools import islice
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.sim.workloads.podtemplate import ordinal_names, owner_reference, pod_from_template, safe_suffix
from kcp.sim.workloads.podview import INDEX_FAILURES_ANNOTATION, JOB_TRACKING

INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
_INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
_FROM_LABEL = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX_ANNOTATION}']"}}


def plain_pods(job: Mapping[str, Any], taken: Container[str], count: int) -> list[JSONObject]:
    names = islice(ordinal_names(meta.name(job), meta.uid(job), taken), count)
    return [_pod(job, name) for name in names]


def indexed_pods(job: Mapping[str, Any], taken: Container[str], indexes: Sequence[int], failures: Mapping[int, int]) -> list[JSONObject]:
    """Args: failures: how often each index has failed so far, where failures are counted by index."""
    return [_indexed_pod(job, index, taken, failures) for index in indexes]


def _pod(job: Mapping[str, Any], name: str) -> JSONObject:
    template = meta.nested(job, "spec", "template", default={})
    reference = owner_reference(job, api_version="batch/v1", kind="Job")
    pod = pod_from_template(template, name=name, namespace=meta.namespace(job), owner=reference)
    meta.set_finalizers(pod, [*meta.finalizers(pod), JOB_TRACKING])
    return pod


def _indexed_pod(job: Mapping[str, Any], index: int, taken: Container[str], failures: Mapping[int, int]) -> JSONObject:
    prefix = f"{meta.name(job)}-{index}"
    attempt = 0
    while (name := f"{prefix}-{safe_suffix(f'{meta.uid(job)}/{index}/{attempt}', 5)}") in taken:
        attempt += 1
    pod = _pod(job, name)
    meta.set_annotation(pod, INDEX_ANNOTATION, str(index))
    meta.set_label(pod, INDEX_ANNOTATION, str(index))
    if meta.nested(job, "spec", "backoffLimitPerIndex") is not None:
        meta.set_annotation(pod, INDEX_FAILURES_ANNOTATION, str(failures.get(index, 0)))
    pod["spec"]["hostname"] = prefix
    for container in (*(pod["spec"].get("initContainers") or ()), *(pod["spec"].get("containers") or ())):
        if not any(variable.get("name") == _INDEX_VARIABLE for variable in container.get("env") or ()):
            container.setdefault("env", []).append({"name": _INDEX_VARIABLE, "valueFrom": meta.copy_json(_FROM_LABEL)})
    return pod
