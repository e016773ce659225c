"""AuthenticationConfiguration: which issuers are trusted, for whom their tokens are, and what a token's claims make of its owner.

Before: the server reads a file or its `--oidc-…` flags; tenancy reads WorkspaceAuthenticationConfigurations. After: `validation`.
Source: k8s.io/apiserver/pkg/apis/apiserver/v1/types.go, KEP-3331.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kcp.apimachinery.meta import JSONObject

KIND = "AuthenticationConfiguration"
_GROUP = "apiserver.config.k8s.io"
VERSIONS = tuple(f"{_GROUP}/{version}" for version in ("v1", "v1beta1", "v1alpha1"))
SIGNING_ALGORITHMS = ("ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
"""Source: plugin/pkg/authenticator/token/oidc/oidc.go (allowedSigningAlgs)."""

T = TypeVar("T")


class ConfigurationError(Exception):
    """An authentication configuration that cannot be used; the message names file, fields and faults."""


@dataclass(frozen=True, slots=True)
class Issuer:
    url: str
    discovery_url: str = ""
    """Where the discovery document is; "": below `url`."""
    certificate_authority: str = ""
    """PEM; "": the system's authorities."""
    audiences: tuple[str, ...] = ()
    audience_match_policy: str = ""
    egress_selector: str = ""


@dataclass(frozen=True, slots=True)
class ClaimOrExpression:
    claim: str = ""
    expression: str = ""
    prefix: str | None = None
    """Put before what `claim` holds; it has to be said, be it "", for user names and groups."""


@dataclass(frozen=True, slots=True)
class ClaimRule:
    """A claim that must have a value, or an expression over claims that must be true."""

    claim: str = ""
    required_value: str = ""
    expression: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class ExtraMapping:
    key: str
    expression: str


@dataclass(frozen=True, slots=True)
class UserRule:
    expression: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class JWTConfig:
    """One issuer, and what to make of its tokens."""

    issuer: Issuer
    username: ClaimOrExpression
    groups: ClaimOrExpression = ClaimOrExpression()
    uid: ClaimOrExpression = ClaimOrExpression()
    extra: tuple[ExtraMapping, ...] = ()
    claim_rules: tuple[ClaimRule, ...] = ()
    user_rules: tuple[UserRule, ...] = ()
    algorithms: tuple[str, ...] = SIGNING_ALGORITHMS

    @classmethod
    def from_object(cls, obj: Any, path: str) -> JWTConfig:
        """Args: path: of the object in its file, for errors. Raises ConfigurationError for what is not of this form."""
        fields = _Fields(obj, path, ("issuer", "claimValidationRules", "claimMappings", "userValidationRules"))
        mappings = _Fields(fields.get("claimMappings", dict), f"{path}.claimMappings", ("username", "groups", "uid", "extra"))
        where = mappings.path
        return cls(
            issuer=_issuer(fields.get("issuer", dict), f"{path}.issuer"),
            username=_prefixed(mappings.get("username", dict), f"{where}.username"),
            groups=_prefixed(mappings.get("groups", dict), f"{where}.groups"),
            uid=_prefixed(mappings.get("uid", dict), f"{where}.uid", ("claim", "expression")),
            extra=tuple(_extra(item, at) for item, at in mappings.items("extra")),
            claim_rules=tuple(_claim_rule(item, at) for item, at in fields.items("claimValidationRules")),
            user_rules=tuple(_user_rule(item, at) for item, at in fields.items("userValidationRules")),
        )


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Whether requests without credentials are let through, and where. Source: KEP-4633."""

    enabled: bool = True
    paths: tuple[str, ...] = ()
    """Only these; empty: all."""


@dataclass(frozen=True, slots=True)
class AuthenticationConfiguration:
    jwt: tuple[JWTConfig, ...] = ()
    anonymous: Anonymous | None = None
    """None: not said here."""

    @classmethod
    def from_object(cls, obj: Any) -> AuthenticationConfiguration:
        """Raises ConfigurationError."""
        fields = _Fields(obj, "", ("apiVersion", "kind", "metadata", "jwt", "anonymous"))
        if fields.get("kind", str) != KIND or fields.get("apiVersion", str) not in VERSIONS:
            raise ConfigurationError(f"expected kind {KIND} of {' or '.join(VERSIONS)}")
        anonymous = obj.get("anonymous")
        return cls(
            tuple(JWTConfig.from_object(item, path) for item, path in fields.items("jwt")),
            None if anonymous is None else _anonymous(anonymous),
        )


def read(path: Path) -> tuple[AuthenticationConfiguration, bytes]:
    """A configuration file, YAML or JSON, and its bytes. Raises ConfigurationError, which names the file."""
    import yaml

    try:
        content = path.read_bytes()
    except OSError as fault:
        raise ConfigurationError(f"cannot read the authentication configuration {path}: {fault.strerror or fault}") from fault
    try:
        document = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return AuthenticationConfiguration.from_object(document), content
    except (yaml.YAMLError, ConfigurationError) as fault:
        raise ConfigurationError(f"the authentication configuration {path} cannot be used: {fault}") from fault


class _Fields:
    """Strict reading: a field that is not known or not of its type is a fault, for a rule that is misspelt must not be left out."""

    def __init__(self, obj: Any, path: str, known: Sequence[str]) -> None:
        if not isinstance(obj, dict):
            raise ConfigurationError(f"{path or 'the document'}: must be an object")
        for name in obj:
            if name not in known:
                raise ConfigurationError(f'unknown field "{path}.{name}"' if path else f'unknown field "{name}"')
        self._obj: Mapping[str, Any] = obj
        self.path = path

    def get(self, name: str, kind: type[T]) -> T:
        value = self._obj.get(name)
        if value is None:
            return kind()
        if not isinstance(value, kind):
            raise ConfigurationError(f"{self._at(name)}: must be {'an object' if kind is dict else f'a {kind.__name__}'}")
        return value

    def items(self, name: str) -> list[tuple[Any, str]]:
        return [(item, f"{self._at(name)}[{index}]") for index, item in enumerate(self.get(name, list))]

    def texts(self, name: str) -> tuple[str, ...]:
        for item, at in (found := self.items(name)):
            if not isinstance(item, str):
                raise ConfigurationError(f"{at}: must be a str")
        return tuple(item for item, _ in found)

    def has(self, name: str) -> bool:
        return self._obj.get(name) is not None

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


def _issuer(obj: JSONObject, path: str) -> Issuer:
    known = ("url", "discoveryURL", "certificateAuthority", "audiences", "audienceMatchPolicy", "egressSelectorType")
    fields = _Fields(obj, path, known)
    return Issuer(
        fields.get("url", str), fields.get("discoveryURL", str), fields.get("certificateAuthority", str), fields.texts("audiences"),
        fields.get("audienceMatchPolicy", str), fields.get("egressSelectorType", str),
    )  # fmt: skip


def _prefixed(obj: JSONObject, path: str, known: Sequence[str] = ("claim", "expression", "prefix")) -> ClaimOrExpression:
    fields = _Fields(obj, path, known)
    return ClaimOrExpression(
        fields.get("claim", str), fields.get("expression", str), fields.get("prefix", str) if fields.has("prefix") else None
    )


def _extra(obj: Any, path: str) -> ExtraMapping:
    fields = _Fields(obj, path, ("key", "valueExpression"))
    return ExtraMapping(fields.get("key", str), fields.get("valueExpression", str))


def _claim_rule(obj: Any, path: str) -> ClaimRule:
    fields = _Fields(obj, path, ("claim", "requiredValue", "expression", "message"))
    return ClaimRule(*(fields.get(name, str) for name in ("claim", "requiredValue", "expression", "message")))


def _user_rule(obj: Any, path: str) -> UserRule:
    fields = _Fields(obj, path, ("expression", "message"))
    return UserRule(fields.get("expression", str), fields.get("message", str))


def _anonymous(obj: Any) -> Anonymous:
    fields = _Fields(obj, "anonymous", ("enabled", "conditions"))
    conditions = [_Fields(item, at, ("path",)) for item, at in fields.items("conditions")]
    return Anonymous(fields.get("enabled", bool), tuple(condition.get("path", str) for condition in conditions))
