"""Rules of a pod's volumes and of what mounts them. Before: `pod_validation`.

Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go (validateVolumeSource and below).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at

_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "hostPath": ("path",),
    "secret": ("secretName",),
    "configMap": ("name",),
    "persistentVolumeClaim": ("claimName",),
    "nfs": ("server", "path"),
    "csi": ("driver",),
    "awsElasticBlockStore": ("volumeID",),
    "gcePersistentDisk": ("pdName",),
    "glusterfs": ("endpoints", "path"),
    "iscsi": ("targetPortal", "iqn"),
}

_Rule: TypeAlias = Callable[[Mapping[str, Any], str], Iterator[Cause]]


def volumes(held: Mapping[str, Any], at: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for path, volume in numbered(held, "volumes", at):
        name = str(volume.get("name") or "")
        yield from checks.required(volume, path, "name")
        yield from checks.named(name, f"{path}.name", names.dns1123_label)
        if name and name in seen:
            yield Cause.duplicate(f"{path}.name", name)
        seen.add(name)
        sources = [field for field, value in volume.items() if field != "name" and value is not None]
        yield from (Cause.forbidden(f"{path}.{extra}", "may not specify more than 1 volume type") for extra in sources[1:])
        for kind in sources[:1]:
            yield from _source(kind, obj_at(volume, kind), f"{path}.{kind}")


def _source(kind: str, source: Mapping[str, Any], at: str) -> Iterator[Cause]:
    yield from checks.required(source, at, *_REQUIRED.get(kind, ()))
    rule = _RULES.get(kind)
    if rule is not None:
        yield from rule(source, at)


def _host_path(source: Mapping[str, Any], at: str) -> Iterator[Cause]:
    path = str(source.get("path") or "")
    if ".." in path.split("/"):
        yield Cause.invalid(f"{at}.path", path, "must not contain '..'")
    yield from checks.one_of(source, at, "type", _HOST_PATH_TYPES)


def _files(source: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """`items` and `defaultMode` of secrets, config maps and the downward API."""
    yield from _mode(source, at, "defaultMode")
    for path, item in numbered(source, "items", f"{at}.items"):
        yield from _item(item, path)


def _item(item: Mapping[str, Any], at: str) -> Iterator[Cause]:
    yield from checks.required(item, at, "key", "path")
    yield from _mode(item, at, "mode")
    yield from relative(item.get("path"), f"{at}.path")


def _mode(held: Mapping[str, Any], at: str, field: str) -> Iterator[Cause]:
    mode = held.get(field)
    if checks.is_int(mode) and not 0 <= mode <= 0o777:
        yield Cause.invalid(f"{at}.{field}", mode, _MODE)


def relative(path: Any, at: str) -> Iterator[Cause]:
    if not isinstance(path, str) or not path:
        return
    if path.startswith("/"):
        yield Cause.invalid(at, path, "must be a relative path")
    if ".." in path.split("/"):
        yield Cause.invalid(at, path, "must not contain '..'")


def _downward(source: Mapping[str, Any], at: str) -> Iterator[Cause]:
    yield from _mode(source, at, "defaultMode")
    for path, item in numbered(source, "items", f"{at}.items"):
        yield from checks.required(item, path, "path")
        yield from relative(item.get("path"), f"{path}.path")
        given = [field for field in ("fieldRef", "resourceFieldRef") if item.get(field) is not None]
        if len(given) == 2:
            yield Cause.invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
        elif not given:
            yield Cause.required(path, "one of fieldRef and resourceFieldRef is required")


_PROJECTED = ("clusterTrustBundle", "configMap", "downwardAPI", "podCertificate", "secret", "serviceAccountToken")


def _projected(source: Mapping[str, Any], at: str) -> Iterator[Cause]:
    yield from _mode(source, at, "defaultMode")
    for path, part in numbered(source, "sources", f"{at}.sources"):
        given = [field for field in _PROJECTED if part.get(field) is not None]
        yield from (Cause.forbidden(f"{path}.{extra}", "may not specify more than 1 volume type per source") for extra in given[1:])
        if not given:
            yield Cause.required(path, "must specify a volume type")
        for kind in given[:1]:
            yield from _projection(kind, obj_at(part, kind), f"{path}.{kind}")


def _projection(kind: str, part: Mapping[str, Any], at: str) -> Iterator[Cause]:
    if kind in ("configMap", "secret"):
        yield from checks.required(part, at, "name")
        for path, item in numbered(part, "items", f"{at}.items"):
            yield from _item(item, path)
    elif kind == "downwardAPI":
        yield from _downward(part, at)
    elif kind == "serviceAccountToken":
        seconds = part.get("expirationSeconds")
        if checks.is_int(seconds) and seconds < 600:
            yield Cause.invalid(f"{at}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        yield from checks.required(part, at, "path")
        yield from relative(part.get("path"), f"{at}.path")


def _ephemeral(source: Mapping[str, Any], at: str) -> Iterator[Cause]:
    template = source.get("volumeClaimTemplate")
    if not isinstance(template, Mapping):
        yield Cause.required(f"{at}.volumeClaimTemplate")
        return
    spec, where = obj_at(template, "spec"), f"{at}.volumeClaimTemplate.spec"
    if not list_at(spec, "accessModes"):
        yield Cause.required(f"{where}.accessModes", "at least 1 access mode is required")
    if "storage" not in obj_at(spec, "resources", "requests"):
        yield Cause.required(f"{where}.resources[storage]")


def _empty_dir(source: Mapping[str, Any], at: str) -> Iterator[Cause]:
    yield from checks.amounts({"sizeLimit": source["sizeLimit"]} if source.get("sizeLimit") is not None else {}, at)


_RULES: Mapping[str, _Rule] = {
    "hostPath": _host_path,
    "emptyDir": _empty_dir,
    "secret": _files,
    "configMap": _files,
    "downwardAPI": _downward,
    "projected": _projected,
    "ephemeral": _ephemeral,
}


def mounts(container: Mapping[str, Any], at: str, known: set[Any]) -> Iterator[Cause]:
    seen: set[str] = set()
    for path, mount in numbered(container, "volumeMounts", at):
        name, where = mount.get("name"), mount.get("mountPath")
        if not name:
            yield Cause.required(f"{path}.name")
        elif name not in known:
            yield checks.not_found(f"{path}.name", str(name))
        if not where:
            yield Cause.required(f"{path}.mountPath")
        elif where in seen:
            yield Cause.invalid(f"{path}.mountPath", where, "must be unique")
        seen.add(str(where))
        for field in ("subPath", "subPathExpr"):
            yield from relative(mount.get(field), f"{path}.{field}")
        if mount.get("subPath") and mount.get("subPathExpr"):
            yield Cause.invalid(f"{path}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
        propagation = ("Bidirectional", "HostToContainer", "None")
        yield from checks.one_of(mount, path, "mountPropagation", propagation)
        if mount.get("mountPropagation") == "Bidirectional" and not obj_at(container, "securityContext").get("privileged"):
            yield Cause.forbidden(f"{path}.mountPropagation", "Bidirectional mount propagation is available only to privileged containers")
