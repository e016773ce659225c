"""Rules of the small kinds: priority and runtime classes, leases, revisions, pod templates, API services. Before: `rules`.

Source: k8s.io/kubernetes/pkg/apis/{scheduling,node,coordination,apps,core}/validation/validation.go, k8s.io/kube-aggregator/pkg/apis/
apiregistration/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks, pod_validation
from kcp.apis.kubernetes.checks import obj_at

_HIGHEST_USER_PRIORITY = 1_000_000_000
_SYSTEM_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
_RESERVED = (
    "priority class names with 'system-' prefix are reserved for system use only. error: {name} is not a known system priority class"
)


def priority_class(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    name, value = str(obj_at(new, "metadata").get("name") or ""), new.get("value") or 0
    causes: list[Cause] = []
    if name.startswith("system-"):
        if _SYSTEM_CLASSES.get(name) != value:
            causes.append(Cause.forbidden("metadata.name", _RESERVED.format(name=name)))
    elif checks.is_int(value) and value > _HIGHEST_USER_PRIORITY:
        causes.append(Cause.forbidden("value", f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"))
    causes += checks.one_of(new, "", "preemptionPolicy", ("Never", "PreemptLowerPriority"))
    if old is not None:
        if value != (old.get("value") or 0):
            causes.append(Cause.forbidden("value", "may not be changed in an update."))
        causes += checks.unchanged(new.get("preemptionPolicy"), old.get("preemptionPolicy"), "preemptionPolicy")
    return causes


def runtime_class(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    handler = str(new.get("handler") or "")
    causes = [Cause.invalid("handler", handler, fault) for fault in names.dns1123_label(handler)]
    scheduling = obj_at(new, "scheduling")
    causes += checks.labels(obj_at(scheduling, "nodeSelector"), "scheduling.nodeSelector")
    causes += pod_validation.tolerations(scheduling, "scheduling.tolerations")
    causes += checks.amounts(obj_at(new, "overhead", "podFixed"), "overhead.podFixed")
    return [*causes, *checks.unchanged(handler, old.get("handler"), "handler")] if old is not None else causes


def lease(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    seconds = spec.get("leaseDurationSeconds")
    causes: list[Cause] = []
    if checks.is_int(seconds) and seconds <= 0:
        causes.append(Cause.invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    causes += checks.not_negative(spec, "spec", "leaseTransitions")
    if (strategy := spec.get("strategy")) is not None:
        causes += [Cause.invalid("spec.strategy", strategy, fault) for fault in names.qualified_name(str(strategy))]
    if spec.get("preferredHolder") and not spec.get("strategy"):
        causes.append(Cause.forbidden("spec.preferredHolder", "may only be specified when `strategy` is defined"))
    return causes


def controller_revision(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    revision = new.get("revision")
    causes: list[Cause] = []
    if checks.is_int(revision) and revision < 0:
        causes.append(Cause.invalid("revision", revision, "must be greater than or equal to 0"))
    if new.get("data") is None:
        causes.append(Cause.required("data", "data is mandatory"))
    return [*causes, *checks.unchanged(new.get("data"), old.get("data"), "data")] if old is not None else causes


def pod_template(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    template = obj_at(new, "template")
    inner = obj_at(template, "spec")
    causes = list(checks.labels(obj_at(template, "metadata", "labels"), "template.labels"))
    return [*causes, *pod_validation.spec(inner, "template.spec")] if inner else [*causes, Cause.required("template.spec.containers")]


_MOST_GROUP, _MOST_VERSION = 20000, 1000


def api_service(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    group, version = str(spec.get("group") or ""), str(spec.get("version") or "")
    name = obj_at(new, "metadata").get("name")
    causes: list[Cause] = []
    if name != (wanted := f"{version}.{group}"):
        causes.append(Cause.invalid("metadata.name", name, f'must be `spec.version+"."+spec.group`: "{wanted}"'))
    causes += checks.named(group, "spec.group", names.dns1123_subdomain)
    causes += [Cause.invalid("spec.version", version, fault) for fault in names.dns1035_label(version)]
    for field, most in (("groupPriorityMinimum", _MOST_GROUP), ("versionPriority", _MOST_VERSION)):
        value = spec.get(field) or 0
        if checks.is_int(value) and not 0 < value <= most:
            causes.append(Cause.invalid(f"spec.{field}", value, f"must be positive and less than {most}"))
    service, ca = spec.get("service"), spec.get("caBundle")
    if service is None:
        if ca:
            causes.append(Cause.invalid("spec.caBundle", f"{len(str(ca))} bytes", "local APIServices may not have a caBundle"))
        if spec.get("insecureSkipTLSVerify"):
            causes.append(
                Cause.invalid(
                    "spec.insecureSkipTLSVerify", spec["insecureSkipTLSVerify"], "local APIServices may not have insecureSkipTLSVerify"
                )
            )
        return causes
    causes += checks.required(service, "spec.service", "namespace", "name")
    if ca and spec.get("insecureSkipTLSVerify"):
        causes.append(Cause.invalid("spec.insecureSkipTLSVerify", spec["insecureSkipTLSVerify"], "may not be true if caBundle is present"))
    return causes
