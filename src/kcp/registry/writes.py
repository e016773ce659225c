"""Create and update: from what a client wants to what is stored, with every rule in between, again when the object moved.

    mutate → identity and preconditions → unknown fields, pruning, defaults → schema → admission (mutate) → strategy → faults
    → managedFields → admission (validate) → store

Before: `generic`. After: `storage`. Source: k8s.io/apiserver/pkg/registry/generic/registry/store.go (Create, Update),
pkg/endpoints/handlers/{create,update,patch}.go.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery.apply.fields import FieldSet
from kcp.apimachinery.apply.manager import track_update
from kcp.apimachinery.errors import AlreadyExists, BadRequest, Cause, Forbidden, Invalid, NotFound, Unexplained, first_causes
from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apimachinery.schema.default import fill_required
from kcp.apimachinery.schema.structural import Schema
from kcp.registry.backend import Admission, Attributes, Mutate, Scope, WriteOptions, Written
from kcp.registry.embedded import check_embedded, embedded_faults
from kcp.registry.encoding import encode, is_converted, is_stored_as, listed_item, stored_item
from kcp.registry.objectmeta import (
    annotate_cluster,
    checked_metadata,
    claims_version,
    drop_repeated_owners,
    faults,
    fill_new,
    finalizer_warnings,
    generated_name,
    immutable_faults,
    keep_system_fields,
    new_uid,
)
from kcp.registry.resource import Origin, Resource
from kcp.registry.rules import rule_faults
from kcp.registry.scale import apply_scale, scale_faults, scale_item, to_scale
from kcp.registry.separation import confine, is_newer_only, is_spec_changed
from kcp.registry.statuspart import default_status, status_faults
from kcp.registry.strategy import tracks_generation
from kcp.registry.translate import as_status, conflict
from kcp.registry.unknown import drop_unknown
from kcp.registry.versions import Presentation
from kcp.storage.interface import KeyExists, Revision, RevisionMismatch, Store, StoreError
from kcp.storage.item import Item
from kcp.storage.keyspace import object_key

if TYPE_CHECKING:
    from kcp.storage.watchcache import WatchCache

IsStale: TypeAlias = Callable[[bytes], Awaitable[bool]]
_MOST_GENERATED = 8
"""Names tried for one generateName. Source: k8s.io/apiserver/pkg/registry/rest/create.go (RetryGenerateName, KEP-4420)."""
OTHER_NAMESPACE = "the namespace of the provided object does not match the namespace sent on the request"
"""Source: k8s.io/apiserver/pkg/registry/rest/meta.go."""
_MOST_RETRIES = 200
"""Rounds of one update against other writers; each round that fails is a round in which another one succeeded."""


@dataclass(frozen=True, slots=True)
class Writing:
    """What the write path works with; shared by `Writes` and `Deletions`."""

    store: Store
    cache: WatchCache
    clock: Clock
    admission: Admission
    random: random.Random
    annotate_cluster: bool
    presentation: Presentation
    is_stale: IsStale | None = None
    """Whether what is stored under a key would be stored otherwise now, however equal the object. None: nothing ever is."""

    async def is_stored_stale(self, key: bytes) -> bool:
        return self.is_stale is not None and await self.is_stale(key)

    async def current(self, scope: Scope) -> Item | None:
        """The object as of now, in its storage version."""
        resource = scope.resource
        items = await self.cache.prefix(resource.storage_prefix)
        await self.cache.fresh()
        return items.get(object_key(resource.storage_prefix, scope.key))

    def now(self) -> str:
        return rfc3339(self.clock.now())


def moved(scope: Scope, error: RevisionMismatch) -> Item | None:
    """What stands in the place of an object that moved under a write."""
    return listed_item(scope.resource.storage_prefix, error.current) if error.current is not None else None


def check_preconditions(scope: Scope, item: Item, held_uid: str, *, uid: str, resource_version: str) -> None:
    """Raises Conflict. Source: k8s.io/apiserver/pkg/storage/interfaces.go, Preconditions.Check."""
    if uid and uid != held_uid:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {held_uid}"
        raise conflict(scope.resource.group_resource, scope.name, why)
    if resource_version and resource_version != str(item.revision):
        why = f"Precondition failed: ResourceVersion in precondition: {resource_version}, ResourceVersion in object meta: {item.revision}"
        raise conflict(scope.resource.group_resource, scope.name, why)


class WrongType(Invalid):
    """Among the faults are values of the wrong JSON type."""

    wrong: Cause
    """The first of those."""


def _refuse_terminating(resource: Resource, name: str) -> None:
    """Raises Forbidden for what would be new, of a CRD or an APIBinding that is being deleted. Source: forbidCreateAdmission.

    Kubernetes 1.26, and kcp 0.11 with it, answered a POST with 405.
    """
    if resource.is_terminating:
        text = f'{resource.group_resource} "{name}" is forbidden: create not allowed while custom resource definition is terminating'
        raise Forbidden(text, resource=resource.group_resource, name=name)


class Writes:
    """The creating and updating part of `Registry`."""

    def __init__(self, writing: Writing) -> None:
        self._w = writing

    async def create(self, scope: Scope, obj: JSONObject, options: WriteOptions) -> Written:
        metadata = checked_metadata(obj)
        _refuse_terminating(scope.resource, metadata.get("name", ""))
        base = "" if metadata.get("name") else metadata.get("generateName", "")
        try:
            if not base:
                return await self._create(_named(scope, metadata.get("name", "")), obj, options)
            return await self._create_generated(scope, obj, options, base)
        except KeyExists as error:
            raise await self._taken(_named(scope, metadata["name"])) from error
        except StoreError as error:
            raise as_status(error, scope.resource.group_resource, metadata.get("name", "")) from error

    async def _taken(self, scope: Scope) -> AlreadyExists:
        """Source: k8s.io/apiserver/pkg/registry/generic/registry/store.go, Create."""
        resource, found = scope.resource.group_resource, await self._w.current(scope)
        if found is not None and "deletionTimestamp" in found.decode()["metadata"]:
            text = f'object is being deleted: {resource} "{scope.name}" already exists'
            return AlreadyExists(text, resource=resource, name=scope.name)
        return AlreadyExists.of(resource, scope.name)

    async def _create_generated(self, scope: Scope, obj: JSONObject, options: WriteOptions, base: str) -> Written:
        for _ in range(_MOST_GENERATED):
            attempt = copy_json(obj)
            attempt["metadata"]["name"] = name = generated_name(base, self._w.random)
            try:
                return await self._create(_named(scope, name), attempt, options)
            except KeyExists:
                continue
        resource = scope.resource.group_resource
        raise AlreadyExists(
            f'{resource} "{name}" already exists, the server was not able to generate a unique name for the object',
            resource=resource, name=name, retry_after_s=1,
        )  # fmt: skip

    async def _create(self, scope: Scope, obj: JSONObject, options: WriteOptions) -> Written:
        """Raises KeyExists and other store errors, and StatusErrors."""
        resource, now = scope.resource, self._w.now()
        is_versioned = claims_version(obj)
        fill_new(obj, scope, now=now, uid=new_uid(self._w.random))
        _stamp_kind(obj, scope)
        confine(obj, None, scope)
        repeated = drop_repeated_owners(obj["metadata"], admitted=False)
        warnings, causes = _fit_schema(obj, None, scope, options)
        resource.strategy.default(obj)
        if self._w.annotate_cluster:
            annotate_cluster(obj, scope.cluster)  # for webhooks, which may be a provider's; none may take it away
        tracked = options.operation == "Update" and not causes  # what is at fault so far may be mended by admission
        if tracked:
            await self._track_new(obj, scope, options.field_manager, now)
        unadmitted = obj
        admitted = await self._w.admission.mutate(
            Attributes("CREATE", scope, options.user, obj, None, options.dry_run, warnings, notes=options.notes)
        )
        obj = obj if admitted is None else admitted
        warnings += repeated + drop_repeated_owners(obj["metadata"], admitted=True)
        if tracks_generation(resource):
            obj["metadata"]["generation"] = 1
        resource.strategy.prepare_create(obj, now)
        if self._w.annotate_cluster:
            annotate_cluster(obj, scope.cluster)
        warnings += _refuse_faults(obj, None, scope, is_suspect=bool(causes) or admitted is not unadmitted)
        if options.operation == "Update" and not tracked:
            await self._track_new(obj, scope, options.field_manager, now)
        await self._w.admission.validate(
            Attributes("CREATE", scope, options.user, obj, None, options.dry_run, warnings, notes=options.notes)
        )
        warnings += _own_warnings(obj, None, resource)
        if is_versioned and not options.dry_run:  # found last, and by what stores. Source: k8s.io/apiserver/pkg/storage/etcd3/store.go
            raise BadRequest("resourceVersion should not be set on objects to be created")
        item = await self._store_new(scope, obj, options)
        return Written(item, created=True, warnings=tuple(warnings))

    async def _track_new(self, obj: JSONObject, scope: Scope, manager: str, now: str) -> None:
        """Before admission: what that fills in is nobody's. Source: k8s.io/apiserver/pkg/endpoints/handlers/create.go."""
        resource = scope.resource
        await track_update(None, obj, manager=manager, schema=resource.schema, now=now, ignored=_reset_fields(resource))

    async def _store_new(self, scope: Scope, obj: JSONObject, options: WriteOptions) -> Item:
        """Returns what is stored, as the resource shows it; of a dry run, the object itself: no webhook is asked to convert it."""
        resource = scope.resource
        if options.dry_run:
            await self._refuse_existing(scope)
            return stored_item(scope.key, encode(obj, resource.gvr.api_version), 0)
        value = await self._w.presentation.stored(obj, resource)
        await self._w.cache.prefix(resource.storage_prefix)  # so that a watch can start from the first object on
        revision = await self._w.store.create(object_key(resource.storage_prefix, scope.key), value)
        await self._w.cache.wait_revision(revision)
        return await self._w.presentation.one(stored_item(scope.key, value, revision), resource)

    async def _refuse_existing(self, scope: Scope) -> None:
        found = await self._w.current(scope)
        if found is not None:
            raise KeyExists(object_key(scope.resource.storage_prefix, scope.key), Revision(found.revision))

    async def update(self, scope: Scope, mutate: Mutate, options: WriteOptions) -> Written:
        try:
            return await self._update_until_done(scope, mutate, options)
        except StoreError as error:
            raise as_status(error, scope.resource.group_resource, scope.name) from error

    async def _update_until_done(self, scope: Scope, mutate: Mutate, options: WriteOptions) -> Written:
        current = await self._w.current(scope)
        for _ in range(_MOST_RETRIES):
            try:
                if current is None:
                    return await self._create_by_update(scope, mutate, options)
                return await self._update(scope, current, mutate, options)
            except RevisionMismatch as error:
                current = moved(scope, error)
            except KeyExists:
                current = await self._w.current(scope)
        raise conflict(scope.resource.group_resource, scope.name)

    async def _create_by_update(self, scope: Scope, mutate: Mutate, options: WriteOptions) -> Written:
        resource = scope.resource
        if scope.subresource or not (options.create_if_missing or resource.strategy.allow_create_on_update):
            raise NotFound.of(resource.group_resource, scope.name)
        _refuse_terminating(resource, scope.name)
        if options.uid or options.resource_version:
            why = f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: "
            raise conflict(resource.group_resource, scope.name, why)
        obj = await _call(mutate, None)
        metadata = checked_metadata(obj)
        if uid := metadata.pop("uid", ""):
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise conflict(resource.group_resource, scope.name, why)
        metadata.pop("resourceVersion", None)
        metadata["name"] = scope.name
        return await self._create(scope, obj, options)

    async def _update(self, scope: Scope, current: Item, mutate: Mutate, options: WriteOptions) -> Written:
        """One round. Raises RevisionMismatch where the object has moved since `current`."""
        resource, now = scope.resource, self._w.now()
        shown = await self._w.presentation.one(current, resource)
        old = shown.decode()
        check_preconditions(scope, current, old["metadata"]["uid"], uid=options.uid, resource_version=options.resource_version)
        new = await self._mutated(scope, shown, mutate, options)
        _check_sent_metadata(new, old, scope, current, options)
        keep_system_fields(new, old, is_typed=resource.origin is Origin.BUILTIN)
        _stamp_kind(new, scope)
        new = confine(new, shown.decode, scope)
        repeated = [] if options.is_patch else drop_repeated_owners(new["metadata"], admitted=False)
        warnings, causes = _fit_schema(new, old, scope, options)
        if not scope.subresource:
            resource.strategy.default(new)
        tracked = options.operation == "Update" and not causes
        if tracked:
            await self._track(old, new, scope, options.field_manager, now)
        unadmitted = new
        admitted = await self._w.admission.mutate(
            Attributes("UPDATE", scope, options.user, new, old, options.dry_run, warnings, notes=options.notes)
        )
        new = new if admitted is None else admitted
        warnings += repeated + drop_repeated_owners(new["metadata"], admitted=True)
        if not scope.subresource:
            resource.strategy.prepare_update(new, old)
        elif scope.subresource == "status":
            resource.strategy.prepare_status(new)
        if self._w.annotate_cluster:
            annotate_cluster(new, scope.cluster)
        if scope.subresource != "binding" and tracks_generation(resource) and is_spec_changed(new, old, resource):  # KEP-5067
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        warnings += _refuse_faults(new, old, scope, is_suspect=bool(causes) or admitted is not unadmitted)
        if options.operation == "Update" and not tracked:
            await self._track(old, new, scope, options.field_manager, now)
        await self._w.admission.validate(
            Attributes("UPDATE", scope, options.user, new, old, options.dry_run, warnings, notes=options.notes)
        )
        if not scope.subresource:
            warnings += _own_warnings(new, old, resource)
        item = await self._write(scope, current, shown, old, new, options)
        return Written(scale_item(item, resource) if scope.subresource == "scale" else item, created=False, warnings=tuple(warnings))

    async def _track(self, old: JSONObject, new: JSONObject, scope: Scope, manager: str, now: str) -> None:
        """A webhook that is needed for nothing else does not stop an update. Source: managedfields/fieldmanager.go, UpdateNoErrors."""
        resource = scope.resource
        show = self._w.presentation.elsewhere(resource)
        try:
            await track_update(old, new, manager=manager, schema=resource.schema, subresource=scope.subresource, now=now, show=show)
        except Unexplained:
            new["metadata"].pop("managedFields", None)

    async def _mutated(self, scope: Scope, shown: Item, mutate: Mutate, options: WriteOptions) -> JSONObject:
        obj = shown.decode()
        if scope.subresource != "scale" or options.operation == "Apply":
            return await _call(mutate, obj)
        apply_scale(obj, await _call(mutate, to_scale(obj, scope.resource)), scope.resource)
        return obj

    async def _write(self, scope: Scope, current: Item, shown: Item, old: JSONObject, new: JSONObject, options: WriteOptions) -> Item:
        """Store `new`; remove it instead where it waited for nothing but this update; write nothing where nothing changed.

        An object that is stored in an earlier version, without defaults of a newer schema, or encrypted with an old key, is written even if
        it looks the same: so objects are moved to a new storage version or key. Returns the object as the resource shows it.
        """
        resource = scope.resource
        key, expected = object_key(resource.storage_prefix, scope.key), Revision(current.revision)
        if _may_go(new, scope):
            if not options.dry_run:
                await self._w.cache.wait_revision(await self._w.store.delete(key, expected))
            return stored_item(scope.key, encode(new, resource.gvr.api_version), current.revision)
        if not (is_same := new == old) and is_newer_only(new, old):
            new, is_same = old, True
        is_stale = is_same and await self._w.is_stored_stale(key)
        if is_same and not is_stale and not is_converted(resource):
            return shown
        if options.dry_run:
            return stored_item(scope.key, encode(new, resource.gvr.api_version), current.revision)
        value = await self._w.presentation.stored(new, resource)
        if not is_stale and (is_same or resource.versions is not None) and is_stored_as(current, value):
            return shown
        revision = await self._w.store.update(key, value, expected)
        await self._w.cache.wait_revision(revision)
        return await self._w.presentation.one(stored_item(scope.key, value, revision), resource)


def _may_go(obj: JSONObject, scope: Scope) -> bool:
    """Whether a deleted object has nothing left that it waits for. Source: store.go, ShouldDeleteDuringUpdate."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds"):
        return False
    return not scope.resource.strategy.held_by_spec(obj)


_STATUS = FieldSet.of(("f:status",))


def _reset_fields(resource: Resource) -> FieldSet:
    """What a creation cannot set, so that its manager does not own it. Source: the strategies' GetResetFields."""
    return _STATUS if resource.has_status else FieldSet()


def _named(scope: Scope, name: str) -> Scope:
    return scope if scope.name == name else Scope(scope.resource, scope.cluster, scope.namespace, name, scope.subresource)


async def _call(mutate: Mutate, current: JSONObject | None) -> JSONObject:
    result = mutate(current)
    if inspect.isawaitable(result):
        result = await result
    return result


def _stamp_kind(obj: JSONObject, scope: Scope) -> None:
    """apiVersion and kind are the resource's; handlers have refused a body of another kind already."""
    obj["apiVersion"] = scope.resource.gvr.api_version
    obj["kind"] = scope.resource.kind


def _own_warnings(new: JSONObject, old: JSONObject | None, resource: Resource) -> list[str]:
    """The kind's warnings, and those of all custom kinds."""
    warnings = list(resource.strategy.warnings(new, old))
    if resource.origin is not Origin.BUILTIN and (held := new["metadata"].get("finalizers")):
        if old is None or old["metadata"].get("finalizers") != held:
            warnings += finalizer_warnings(held)
    return warnings


def _check_sent_metadata(new: JSONObject, old: JSONObject, scope: Scope, current: Item, options: WriteOptions) -> None:
    """What the client sent as metadata, before the server's own is put back.

    Raises: Conflict for another resourceVersion or uid, Invalid for a missing one where it is needed, BadRequest for another name.
    """
    resource = scope.resource
    metadata = checked_metadata(new)
    sent = metadata.get("resourceVersion", "")
    if sent in ("", "0"):
        if not resource.strategy.allow_unconditional_update and scope.subresource != "scale":
            cause = Cause("metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0: must be specified for an update")
            raise Invalid.of(resource.group_resource, resource.gvr.resource, scope.name, [cause])
    elif sent != str(current.revision):
        raise conflict(resource.group_resource, scope.name)
    if not options.is_patch:
        check_preconditions(scope, current, old["metadata"]["uid"], uid=metadata.get("uid", ""), resource_version="")
    if metadata.get("name", scope.name) != scope.name:
        raise BadRequest(f"the name of the object ({metadata['name']}) does not match the name on the URL ({scope.name})")
    if metadata.get("namespace", scope.namespace) not in ("", scope.namespace):
        raise BadRequest(OTHER_NAMESPACE)
    causes = list(immutable_faults(metadata, old["metadata"]))
    if causes:
        raise Invalid.of(resource.group_resource, resource.kind, scope.name, causes)


def _fit_schema(obj: JSONObject, old: JSONObject | None, scope: Scope, options: WriteOptions) -> tuple[list[str], list[Cause]]:
    """Drop unknown fields, fill in defaults and check types. Returns warnings, and faults that admission may still mend.

    Raises: BadRequest under strict field validation; WrongType, so that nothing below stumbles over such values.
    """
    schema = scope.resource.schema
    warnings = drop_unknown(obj, schema, scope, options)
    if schema is None:
        return warnings, []
    if not schema.native:
        check_embedded(schema, obj)
    if schema.native and obj.get("spec") is None and _is_struct(schema.properties.get("spec")):
        obj["spec"] = {}  # what Go decodes into is there, empty: its parts may be required, and clients find it
    of_status = scope.subresource == "status" and old is not None and not schema.native
    fill = partial(default_status, schema) if of_status else schema.default
    fill(obj)
    causes = _schema_faults(schema, obj, old, scope)
    if causes and not schema.native and options.operation != "Apply" and schema.prune_nulls(obj):
        fill(obj)
        causes = _schema_faults(schema, obj, old, scope)
    if causes and schema.native and scope.subresource == "status":
        causes = _whole_status(obj, old, schema, scope)
    causes = [cause for cause in causes if not cause.field.startswith("metadata.ownerReferences")]  # `objectmeta` words them
    wrong = next((cause for cause in causes if cause.reason in ("FieldValueTypeInvalid", "FieldValueInvalidType")), None)
    if wrong is not None:
        causes += rule_faults(scope.resource, obj, old, causes)[0]  # they are not applied, which is told
        refusal = WrongType.of(scope.resource.group_resource, scope.resource.kind, scope.name, causes)
        refusal.wrong = wrong
        raise refusal
    return warnings, causes


_CHECKED_CONDITIONS = frozenset(("PodDisruptionBudget", "ResourceClaim", "ValidatingAdmissionPolicy"))
"""Kinds of which each condition must be complete. Source: metav1validation.ValidateConditions and who calls it."""


def _whole_status(obj: JSONObject, old: JSONObject | None, schema: Schema, scope: Scope) -> list[Cause]:
    """What a status of Kubernetes' own kinds leaves out has Go's zero value, whatever the published schema says is required."""
    if scope.resource.kind in _CHECKED_CONDITIONS:
        return _schema_faults(schema, obj, old, scope)
    fill_required(schema.properties["status"], obj.get("status"))
    found = _schema_faults(schema, obj, old, scope)
    return [cause for cause in found if cause.reason != "FieldValueRequired" or not cause.field.startswith("status.")]


def _schema_faults(schema: Schema, new: JSONObject, old: JSONObject | None, scope: Scope) -> list[Cause]:
    """What an update leaves as it was does not stop it: of a custom resource any part (KEP-4008), of other kinds the same fault again."""
    if old is not None and not schema.native:
        return status_faults(schema, new, old) if scope.subresource == "status" else schema.validate_update(new, old)
    found = schema.validate(new)
    held = set(schema.validate(old)) if found and old is not None else ()
    return [cause for cause in found if cause not in held]


def _is_struct(node: Schema | None) -> bool:
    return node is not None and node.type == "object" and bool(node.properties)


def _refuse_faults(new: JSONObject, old: JSONObject | None, scope: Scope, *, is_suspect: bool) -> Sequence[str]:
    """Raises Invalid with every fault at once. Returns warnings.

    Args: is_suspect: the object did not fit its schema before admission, or admission gave another one.
    """
    resource = scope.resource
    causes = first_causes(faults(new, scope))
    schema = resource.schema
    if is_suspect and schema is not None:
        causes += _schema_faults(schema, new, old, scope)
    if schema is not None and not schema.native:
        if resource.scale is not None:
            causes += scale_faults(new, resource.scale, scope.subresource)
        if scope.subresource != "status":
            causes += embedded_faults(schema, new)
    if not scope.subresource:
        causes += resource.strategy.validate(new, old)
    elif scope.subresource == "status" and old is not None:
        causes += resource.strategy.validate_status(new, old)
    broken, warnings = rule_faults(resource, new, old, causes)
    causes += broken
    if causes:
        raise Invalid.of(resource.group_resource, resource.kind, scope.name or new["metadata"].get("name", ""), causes)
    return warnings
