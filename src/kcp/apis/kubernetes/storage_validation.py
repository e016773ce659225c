"""Rules of volumes, storage classes and what CSI drivers write. Before: `rules`.

Source: k8s.io/kubernetes/pkg/apis/{storage,core}/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kcp.apimachinery import meta, names, quantity
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at

_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_MODES = ("Block", "Filesystem")
_RECLAIM = ("Delete", "Recycle", "Retain")
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_OTHER_FIELDS = frozenset((
    "capacity", "accessModes", "claimRef", "persistentVolumeReclaimPolicy", "storageClassName", "mountOptions", "volumeMode",
    "nodeAffinity", "volumeAttributesClassName",
))  # fmt: skip
"""Of a PersistentVolume's spec, what is no volume source."""


def _modes(spec: Mapping[str, Any], at: str = "spec") -> Iterator[Cause]:
    modes = list_at(spec, "accessModes")
    for mode in modes:
        if mode not in _MODES:
            yield Cause.not_supported(f"{at}.accessModes", mode, _MODES)
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        yield Cause.forbidden(f"{at}.accessModes", "may not use ReadWriteOncePod with other access modes")


def persistent_volume(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    causes: list[Cause] = []
    if not list_at(spec, "accessModes"):
        causes.append(Cause.required("spec.accessModes"))
    causes += _modes(spec)
    capacity = obj_at(spec, "capacity")
    if not capacity:
        causes.append(Cause.required("spec.capacity"))
    elif set(capacity) != {"storage"}:
        causes.append(Cause.not_supported("spec.capacity", capacity, ("storage",)))
    causes += _positive(capacity, "spec.capacity")
    causes += checks.one_of(spec, "spec", "persistentVolumeReclaimPolicy", _RECLAIM)
    causes += checks.one_of(spec, "spec", "volumeMode", _VOLUME_MODES)
    causes += checks.named(spec.get("storageClassName"), "spec.storageClassName", names.dns1123_subdomain)
    sources = _sources(spec)
    if not sources:
        causes.append(Cause.required("spec", "must specify a volume type"))
    causes += [Cause.forbidden(f"spec.{extra}", "may not specify more than 1 volume type") for extra in list(sources)[1:]]
    if old is not None:
        held = obj_at(old, "spec")
        if sources != _sources(held):
            causes.append(Cause.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation"))
        causes += checks.unchanged(spec.get("volumeMode"), held.get("volumeMode"), "spec.volumeMode")
    return causes


def _sources(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    return {field: value for field, value in spec.items() if field not in _OTHER_FIELDS and value is not None}


def _positive(amounts: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for key, value in amounts.items():
        if not quantity.fault(value) and quantity.parse(value) <= 0:
            yield Cause.invalid(f"{at}[{key}]", quantity.canonical(value), "must be greater than zero")


_FIXED_CLAIM = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def persistent_volume_claim(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    causes = list(claim_spec(obj_at(new, "spec"), "spec"))
    return [*causes, *_claim_update(new, old)] if old is not None else causes


def claim_spec(spec: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """Of a claim, or of a template of claims. Source: ValidatePersistentVolumeClaimSpec."""
    if not list_at(spec, "accessModes"):
        yield Cause.required(f"{at}.accessModes", "at least 1 access mode is required")
    yield from checks.selector(spec.get("selector"), f"{at}.selector")
    yield from _modes(spec, at)
    requests = obj_at(spec, "resources", "requests")
    if "storage" not in requests:
        yield Cause.required(f"{at}.resources[storage]")
    elif not quantity.fault(requests["storage"]) and quantity.parse(requests["storage"]) <= 0:
        yield Cause.invalid(f"{at}.resources[storage]", quantity.canonical(requests["storage"]), "must be greater than zero")
    yield from checks.named(spec.get("storageClassName"), f"{at}.storageClassName", names.dns1123_subdomain)
    yield from checks.one_of(spec, at, "volumeMode", _VOLUME_MODES)


def _claim_update(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    """A claim is given its volume once, and may ask for more when it is bound. Source: ValidatePersistentVolumeClaimUpdate."""
    spec, held = obj_at(new, "spec"), obj_at(old, "spec")
    is_bound = obj_at(old, "status").get("phase") == "Bound"
    open_fields = (
        {"volumeAttributesClassName"} | ({"resources"} if is_bound else set()) | (set() if held.get("volumeName") else {"volumeName"})
    ) | _late_class(spec, held, old)
    if _without(spec, open_fields) != _without(held, open_fields):
        yield Cause.forbidden("spec", _FIXED_CLAIM)
    before, now = obj_at(held, "resources", "requests").get("storage", "0"), obj_at(spec, "resources", "requests").get("storage", "0")
    capacity = obj_at(old, "status", "capacity").get("storage", before)
    if is_bound and now != before and not (quantity.fault(now) or quantity.fault(capacity)) and quantity.compare(now, capacity) < 0:
        yield Cause.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")


def _late_class(spec: Mapping[str, Any], held: Mapping[str, Any], old: JSONObject) -> set[str]:
    """A claim without a class may get one. Source: validation.go validateStorageClassUpgradeFromNil, ...FromAnnotation; KEP-3333."""
    wanted, before = spec.get("storageClassName"), meta.annotations(old).get(_BETA_CLASS)
    is_late = wanted is not None and held.get("storageClassName") is None and before in (None, wanted)
    return {"storageClassName"} if is_late else set()


def _without(spec: Mapping[str, Any], fields: set[str]) -> Mapping[str, Any]:
    return {field: value for field, value in spec.items() if field not in fields}


def storage_class(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    provisioner = str(new.get("provisioner") or "")
    causes: list[Cause] = []
    if not provisioner:
        causes.append(Cause.required("provisioner"))
    causes += checks.named(provisioner.lower(), "provisioner", names.qualified_name)
    causes += _parameters(new)
    causes += _one_of(new, "reclaimPolicy", ("Delete", "Retain"))
    causes += _one_of(new, "volumeBindingMode", ("Immediate", "WaitForFirstConsumer"))
    if old is not None:
        causes += _kept(new, old, "parameters", "provisioner", "reclaimPolicy")
        causes += checks.unchanged(new.get("volumeBindingMode"), old.get("volumeBindingMode"), "volumeBindingMode")
    return causes


def _one_of(obj: JSONObject, field: str, allowed: Sequence[str]) -> Iterator[Cause]:
    value = obj.get(field)
    if isinstance(value, str) and value not in allowed:
        yield Cause.not_supported(field, value, sorted(allowed))


def _parameters(obj: JSONObject) -> Iterator[Cause]:
    held = obj_at(obj, "parameters")
    if "" in held:
        yield Cause.invalid("parameters", "", "field can not be empty.")
    if sum(len(str(part)) for pair in held.items() for part in pair) > 256 * 1024:
        yield Cause.too_long("parameters", 256 * 1024)


def _kept(new: JSONObject, old: JSONObject, *fields: str) -> Iterator[Cause]:
    for field in fields:
        if (new.get(field) or None) != (old.get(field) or None):
            yield Cause.forbidden(field, f"updates to {field} are forbidden.")


def volume_attributes_class(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    driver = str(new.get("driverName") or "")
    causes = [Cause.required("driverName")] if not driver else list(checks.named(driver.lower(), "driverName", names.qualified_name))
    if not obj_at(new, "parameters"):
        causes.append(Cause.required("parameters", "must contain at least one key/value pair"))
    causes += _parameters(new)
    return [*causes, *_kept(new, old, "driverName", "parameters")] if old is not None else causes


def _driver_name(name: str, at: str) -> Iterator[Cause]:
    """Source: pkg/apis/core/validation.ValidateCSIDriverName."""
    if not name:
        yield Cause.required(at)
    elif len(name) > 63:
        yield Cause.too_long(at, 63)
    yield from checks.named(name.lower(), at, names.dns1123_subdomain)


def volume_attachment(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    causes = list(checks.required(spec, "spec", "attacher", "nodeName"))
    source = obj_at(spec, "source")
    if bool(source.get("persistentVolumeName")) == bool(source.get("inlineVolumeSpec")):
        told = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        causes.append(Cause.invalid("spec.source", source, told) if source.get("inlineVolumeSpec") else Cause.required("spec.source", told))
    if old is not None:
        causes += checks.unchanged(spec, obj_at(old, "spec"), "spec")
    return causes


_LIFECYCLES = ("Ephemeral", "Persistent")
_FS_GROUP = ("File", "None", "ReadWriteOnceWithFSType")


def csi_driver(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    causes = list(_driver_name(str(obj_at(new, "metadata").get("name") or ""), "metadata.name"))
    causes += checks.one_of(spec, "spec", "fsGroupPolicy", _FS_GROUP)
    for mode in list_at(spec, "volumeLifecycleModes"):
        if mode not in _LIFECYCLES:
            causes.append(Cause.not_supported("spec.volumeLifecycleModes", mode, _LIFECYCLES))
    seen: list[Any] = []
    for path, request in numbered(spec, "tokenRequests", "spec.tokenRequests"):
        audience, seconds = request.get("audience") or "", request.get("expirationSeconds")
        if audience in seen:
            causes.append(Cause.duplicate(f"{path}.audience", audience))
        seen.append(audience)
        if checks.is_int(seconds) and seconds < 600:
            causes.append(Cause.invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
    if old is not None:
        for field in ("attachRequired", "volumeLifecycleModes"):
            causes += checks.unchanged(spec.get(field), obj_at(old, "spec").get(field), f"spec.{field}")
    return causes


def csi_node(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for path, driver in numbered(obj_at(new, "spec"), "drivers", "spec.drivers"):
        name = str(driver.get("name") or "")
        causes += _driver_name(name, f"{path}.name")
        causes += checks.required(driver, path, "nodeID")
        if name in seen:
            causes.append(Cause.duplicate(f"{path}.name", name))
        seen.add(name)
    return causes


def csi_storage_capacity(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    causes = list(checks.selector(new.get("nodeTopology"), "nodeTopology"))
    causes += checks.required(new, "", "storageClassName")
    causes += checks.named(new.get("storageClassName"), "storageClassName", names.dns1123_subdomain)
    for field in ("capacity", "maximumVolumeSize"):
        amount = new.get(field)
        if amount is not None and not quantity.fault(amount) and quantity.parse(amount) < 0:
            causes.append(Cause.invalid(field, quantity.canonical(amount), "must be greater than or equal to 0"))
    if old is not None:
        for field in ("nodeTopology", "storageClassName"):
            causes += checks.unchanged(new.get(field), old.get(field), field)
    return causes
