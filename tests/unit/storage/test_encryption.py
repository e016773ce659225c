"""Encryption at rest, its formats and its configuration: what is sealed opens again, with the right key only; every fault is named.

Aspects: the formats of kube-apiserver, one value of each as Kubernetes' own programs would write it; rotation; the first rule that names a
resource; plain values; faults of the configuration, which never show a secret.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from kcp.apimachinery.gvk import GroupResource
from kcp.storage.encryption.ciphers import CannotOpenError, Sealing, Sealings
from kcp.storage.encryption.config import EncryptionConfigError, Key, Provider, parse, read

NAME = b"/registry/core/secrets/-/root/default/a"
KINDS = ("aescbc", "aesgcm", "secretbox")
OLD, NEW = Key("old", b"o" * 32), Key("new", b"n" * 32)


def entry(resources: list[str], *providers: dict[str, Any]) -> dict[str, Any]:
    return {"resources": resources, "providers": list(providers)}


def keys(kind: str, **secrets: bytes) -> dict[str, Any]:
    return {kind: {"keys": [{"name": name, "secret": base64.b64encode(secret).decode()} for name, secret in secrets.items()]}}


def document(*entries: Any) -> dict[str, Any]:
    return {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": list(entries)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [b"", b"x", b"y" * 15, b"z" * 16, bytes(range(256)) * 100])
def test_what_is_sealed_opens_again_and_says_provider_and_key(kind: str, value: bytes) -> None:
    sealing = Sealing([Provider(kind, (NEW,))])
    sealed = sealing.seal(value, NAME)
    assert sealed.startswith(b"k8s:enc:%s:v1:new:" % kind.encode())
    assert value not in sealed or len(value) < 2
    assert sealing.open(sealed, NAME) == value
    assert sealing.seal(value, NAME) != sealed, "each time with another nonce"


def test_a_value_made_by_another_implementation_of_the_formats_opens() -> None:
    """Made with OpenSSL: AES-256-CBC of PKCS #7 padded text, the vector before it."""
    key = Key("k", bytes(range(32)))
    sealed = b"k8s:enc:aescbc:v1:k:" + bytes(16) + bytes.fromhex("234360a81feee50957c397e47dc01821")
    with pytest.raises(CannotOpenError):
        Sealing([Provider("aescbc", (NEW,))]).open(sealed, NAME)
    assert Sealing([Provider("aescbc", (key,))]).open(sealed, NAME) == b"attack at dawn"


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_key_seals_and_the_old_one_still_opens(kind: str) -> None:
    before, rotated = Sealing([Provider(kind, (OLD,))]), Sealing([Provider(kind, (NEW, OLD))])
    sealed = before.seal(b"value", NAME)
    assert rotated.open(sealed, NAME) == b"value"
    assert (before.is_current(sealed), rotated.is_current(sealed)) == (True, False)
    assert rotated.is_current(rotated.seal(b"value", NAME))


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_the_same_name_with_another_secret_does_not_open(kind: str) -> None:
    sealed = Sealing([Provider(kind, (OLD,))]).seal(b"value", NAME)
    with pytest.raises(CannotOpenError, match=f'encrypted by provider {kind} with key "old", whose secret is another'):
        Sealing([Provider(kind, (Key("old", b"x" * 32),))]).open(sealed, NAME)
    with pytest.raises(CannotOpenError, match=f'provider {kind} with key "old", which is not there'):
        Sealing([Provider(kind, (NEW,)), Provider("identity")]).open(sealed, NAME)
    with pytest.raises(CannotOpenError):
        Sealing([Provider(kind, (OLD,))]).open(sealed[:-3], NAME)


def test_an_authenticated_value_opens_only_where_it_was_stored() -> None:
    sealing = Sealing([Provider("aesgcm", (NEW,))])
    with pytest.raises(CannotOpenError):
        sealing.open(sealing.seal(b"value", NAME), b"/registry/core/secrets/-/root/default/b")


def test_plain_values_are_read_only_where_identity_is_a_provider() -> None:
    assert Sealing([Provider("aescbc", (NEW,)), Provider("identity")]).open(b"{}", NAME) == b"{}"
    with pytest.raises(CannotOpenError, match="not encrypted"):
        Sealing([Provider("aescbc", (NEW,))]).open(b"{}", NAME)
    decrypting = Sealing([Provider("identity"), Provider("aescbc", (NEW,))])
    sealed = Sealing([Provider("aescbc", (NEW,))]).seal(b"{}", NAME)
    assert (decrypting.open(sealed, NAME), decrypting.seal(b"{}", NAME), decrypting.is_current(sealed)) == (b"{}", b"{}", False)


def test_the_first_entry_that_names_a_resource_decides() -> None:
    rules = parse(document(
        entry(["configmaps", "events"], {"identity": {}}),
        entry(["secrets"], keys("aesgcm", one=b"1" * 16)),
        entry(["*.apps"], keys("aescbc", two=b"2" * 24)),
        entry(["*."], keys("aescbc", three=b"3" * 32)),
        entry(["*.*"], keys("secretbox", four=b"4" * 32)),
    ))  # fmt: skip
    sealings = Sealings(rules)
    expected = {
        ("", "configmaps"): b"v", ("", "secrets"): b"k8s:enc:aesgcm:v1:one:", ("apps", "deployments"): b"k8s:enc:aescbc:v1:two:",
        ("", "pods"): b"k8s:enc:aescbc:v1:three:", ("example.com", "secrets"): b"k8s:enc:secretbox:v1:four:",
    }  # fmt: skip
    for (group, resource), prefix in expected.items():
        assert sealings.of(GroupResource(group, resource)).seal(b"v", NAME).startswith(prefix)
    assert Sealings(rules[:2]).of(GroupResource("", "pods")).seal(b"v", NAME) == b"v", "nothing names pods"


SECRET = base64.b64encode(b"hush" * 8).decode()


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ([], "it must be of apiVersion apiserver.config.k8s.io/v1 and kind EncryptionConfiguration"),
        (document(), "resources: Required value"),
        (document(entry([], {"identity": {}})), "resources[0].resources: Required value: at least one resource is required"),
        (document(entry(["secrets"])), "resources[0].providers: Required value: at least one provider is required"),
        (document(entry(["Secrets"], {"identity": {}})), "resource name should not contain capital letters"),
        (document(entry(["*"], {"identity": {}})), "use '*.' to encrypt all the resources from core API group"),
        (document(entry(["secrets.*"], {"identity": {}})), "encrypting the same resource across groups is not supported"),
        (document(entry(["secrets", "secrets"], {"identity": {}})), "the same resource cannot be specified multiple times"),
        (document(entry(["secrets", "*."], {"identity": {}})), "overlapping resources"),
        (document(entry(["events.events.k8s.io"], {"identity": {}})), "use 'events' instead"),
        (document(entry(["secrets"], {"kms": {"name": "x"}})), "there are no plug-ins of key management services here"),
        (document(entry(["secrets"], {"rot13": {}})), "provider must be one of aescbc, aesgcm, secretbox, identity, kms"),
        (document(entry(["secrets"], {"identity": {}, "aescbc": {}})), "more than one provider specified in a single element"),
        (document(entry(["secrets"], {"aescbc": {}})), "resources[0].providers[0].aescbc.keys: Required value"),
        (document(entry(["secrets"], {"aescbc": {"keys": [{"secret": SECRET}]}})), "keys[0].name: Required value: name is a mandatory field"),
        (document(entry(["secrets"], {"aescbc": {"keys": [{"name": "a"}]}})), "keys[0].secret: Required value"),
        (document(entry(["secrets"], {"aescbc": {"keys": [{"name": "a", "secret": "hush!"}]}})), '"REDACTED": secrets must be base64 encoded'),
        (document(entry(["secrets"], keys("secretbox", a=b"hush" * 4))), "got 16, expected one of [32]"),
        (document(entry(["secrets"], keys("aesgcm", a=b"hush"))), "got 4, expected one of [16 24 32]"),
    ],
)  # fmt: skip
def test_a_configuration_with_a_fault_is_refused_with_its_field_and_without_its_secret(given: Any, fault: str) -> None:
    with pytest.raises(EncryptionConfigError) as error:
        parse(given)
    assert fault in str(error.value)
    assert "hush" not in str(error.value)
    assert SECRET not in str(error.value)


def test_a_file_names_itself_in_its_fault_and_keys_are_never_printed(tmp_path: Path) -> None:
    path = tmp_path / "encryption.yaml"
    with pytest.raises(EncryptionConfigError, match=f"{path}: No such file"):
        read(path)
    path.write_text("secret: {hush")
    with pytest.raises(EncryptionConfigError, match="it is no YAML") as error:
        read(path)
    assert "hush" not in str(error.value)
    path.write_text(yaml.safe_dump(document(entry(["secrets"], keys("aescbc", a=b"hush" * 8)))))
    rules, _ = read(path)
    assert "hush" not in repr(rules)
