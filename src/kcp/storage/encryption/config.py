"""EncryptionConfiguration: which resources are sealed with which keys. The first entry that names a resource decides about it.

Before: `server.encryption` reads the file. After: `ciphers`, which it makes.
Source: k8s.io/apiserver/pkg/apis/apiserver/v1/types_encryption.go, validation/validation_encryption.go.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcp.apimachinery.errors import Cause
from kcp.apimachinery.gvk import GroupResource

KIND, VERSION = "EncryptionConfiguration", "apiserver.config.k8s.io/v1"
AES_BYTES, SECRETBOX_BYTES = (16, 24, 32), (32,)
_KEY_BYTES = {"aescbc": AES_BYTES, "aesgcm": AES_BYTES, "secretbox": SECRETBOX_BYTES}
"""Providers that have keys of their own, with the lengths these may have."""
PROVIDERS = (*_KEY_BYTES, "identity", "kms")


class EncryptionConfigError(Exception):
    """The configuration cannot be used; the message names every fault, and no secret."""


def group_resource(name: str) -> GroupResource:
    """A resource as the configuration names it.

    >>> group_resource("secrets"), group_resource("*."), group_resource("*.apps")
    (GroupResource(group='', resource='secrets'), GroupResource(group='', resource='*'), GroupResource(group='apps', resource='*'))
    """
    resource, _, group = name.partition(".")
    return GroupResource(group, resource)


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.name!r})"  # never its secret, wherever this is printed


@dataclass(frozen=True, slots=True)
class Provider:
    kind: str
    """aescbc, aesgcm, secretbox or identity."""
    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    resources: tuple[GroupResource, ...]
    """`*` for any resource, and for any group where the resource is `*` too."""
    providers: tuple[Provider, ...]
    """The first one seals, all of them open."""

    def names(self, resource: GroupResource) -> bool:
        """Source: pkg/server/options/encryptionconfig/config.go (transformerFromOverrides)."""
        return any(wanted == resource or (wanted.resource == "*" and wanted.group in ("*", resource.group)) for wanted in self.resources)


def read(path: Path) -> tuple[Sequence[Rule], bytes]:
    """The rules of a file, and its content. Raises EncryptionConfigError."""
    import yaml

    try:
        content = path.read_bytes()
        document = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise EncryptionConfigError(f"--encryption-provider-config={path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError):
        raise EncryptionConfigError(f"--encryption-provider-config={path}: it is no YAML") from None  # whose error would show the keys
    try:
        return parse(document), content
    except EncryptionConfigError as error:
        raise EncryptionConfigError(f"--encryption-provider-config={path}: {error}") from None


def parse(document: object) -> Sequence[Rule]:
    """Raises EncryptionConfigError with every fault."""
    if not isinstance(document, dict) or (document.get("apiVersion"), document.get("kind")) != (VERSION, KIND):
        raise EncryptionConfigError(f"it must be of apiVersion {VERSION} and kind {KIND}")
    entries = document.get("resources")
    if not isinstance(entries, list) or not entries:
        raise EncryptionConfigError(str(Cause.required("resources", "at least one resources is required")))
    causes = [Cause.invalid(str(name), str(name), "no such field") for name in document if name not in _FIELDS]
    causes += [cause for index, entry in enumerate(entries) for cause in _entry_faults(f"resources[{index}]", entry)]
    if causes:
        raise EncryptionConfigError("; ".join(map(str, causes)))
    return [
        Rule(tuple(map(group_resource, entry["resources"])), tuple(_provider(held) for held in entry["providers"])) for entry in entries
    ]


_FIELDS = frozenset(("apiVersion", "kind", "metadata", "resources"))


def _provider(held: Mapping[str, Any]) -> Provider:
    ((kind, settings),) = held.items()
    keys = (settings or {}).get("keys") or ()
    return Provider(kind, tuple(Key(key["name"], base64.b64decode(key["secret"])) for key in keys))


def _entry_faults(path: str, entry: object) -> Iterator[Cause]:
    if not isinstance(entry, dict):
        yield Cause.invalid(path, "", "must be an object")
        return
    resources, providers = entry.get("resources"), entry.get("providers")
    if not isinstance(resources, list) or not resources or not all(isinstance(name, str) for name in resources):
        yield Cause.required(f"{path}.resources", "at least one resource is required")
    else:
        yield from _resource_faults(f"{path}.resources", resources)
    if not isinstance(providers, list) or not providers:
        yield Cause.required(f"{path}.providers", "at least one provider is required")
        return
    for index, provider in enumerate(providers):
        yield from _provider_faults(f"{path}.providers[{index}]", provider)


def _resource_faults(path: str, names: Sequence[str]) -> Iterator[Cause]:
    parsed = [group_resource(name) for name in names]
    if len(set(parsed)) < len(parsed):
        yield Cause.invalid(path, ",".join(names), "the same resource cannot be specified multiple times")
    if len(parsed) > 1 and any(_covers(one, other) for one in parsed for other in parsed if one != other):
        why = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"
        yield Cause.invalid(path, ",".join(names), why)
    for index, (name, resource) in enumerate(zip(names, parsed, strict=True)):
        if why := _resource_fault(name, resource):
            yield Cause.invalid(f"{path}[{index}]", name, why)


def _covers(one: GroupResource, other: GroupResource) -> bool:
    return one.resource == "*" and one.group in ("*", other.group)


def _resource_fault(name: str, resource: GroupResource) -> str:
    if name != name.lower():
        return "resource name should not contain capital letters"
    if name == "*":
        return "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
    if resource.group == "*" and resource.resource != "*":
        return "encrypting the same resource across groups is not supported"
    if resource.group == "events.k8s.io":
        return "events are stored as those of the core group: use 'events' instead"
    return ""


def _provider_faults(path: str, provider: object) -> Iterator[Cause]:
    found = [name for name in provider if name in PROVIDERS] if isinstance(provider, dict) else []
    if len(found) > 1:
        why = "more than one provider specified in a single element, should split into different list elements"
        yield Cause.invalid(path, ",".join(found), why)
    elif not found or not isinstance(provider, dict) or len(provider) > 1:
        yield Cause.invalid(path, "", f"provider must be one of {', '.join(PROVIDERS)}")
    elif found == ["kms"]:
        yield Cause.invalid(f"{path}.kms", "kms", "there are no plug-ins of key management services here: use secretbox, aesgcm or aescbc")
    elif found[0] in _KEY_BYTES:
        settings = provider[found[0]]
        keys = settings.get("keys") if isinstance(settings, dict) else None
        if not isinstance(keys, list) or not keys:
            yield Cause.required(f"{path}.{found[0]}.keys", "at least one keys is required")
            return
        for index, key in enumerate(keys):
            yield from _key_faults(f"{path}.{found[0]}.keys[{index}]", key, _KEY_BYTES[found[0]])


def _key_faults(path: str, key: object, lengths: Sequence[int]) -> Iterator[Cause]:
    if not isinstance(key, dict):
        yield Cause.invalid(path, "", "must be an object")
        return
    if not isinstance(key.get("name"), str) or not key["name"]:
        yield Cause.required(f"{path}.name", "name is a mandatory field for a key")
    secret = key.get("secret")
    if not isinstance(secret, str) or not secret:
        yield Cause.required(f"{path}.secret", "secret is a mandatory field for a key")
        return
    try:
        length = len(base64.b64decode(secret, validate=True))
    except (binascii.Error, ValueError):
        yield Cause.invalid(f"{path}.secret", "REDACTED", "secrets must be base64 encoded")
        return
    if length not in lengths:
        why = f"secret is not of the expected length, got {length}, expected one of [{' '.join(map(str, lengths))}]"
        yield Cause.invalid(f"{path}.secret", "REDACTED", why)
