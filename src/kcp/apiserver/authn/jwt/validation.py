"""What an authentication configuration may say.

Before: the server, for its file; tenancy, before a WorkspaceAuthenticationConfiguration is used. After: `expressions`.
Source: k8s.io/apiserver/pkg/apis/apiserver/validation/validation.go.
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apiserver.authn.jwt.config import AuthenticationConfiguration, ClaimOrExpression, ClaimRule, ExtraMapping, Issuer, JWTConfig
from kcp.apiserver.authn.jwt.expressions import BOOL, CLAIMS, TEXT, TEXTS, USER, fault_of, reads_claim

_MOST_ISSUERS = 64
_BOTH = "claim and expression can't both be set"
_RESERVED_DOMAINS = ("kubernetes.io", "k8s.io")


def faults(configuration: AuthenticationConfiguration, disallowed_issuers: Collection[str] = ()) -> list[Cause]:
    """Args: disallowed_issuers: of this server's own tokens."""
    if len(configuration.jwt) > _MOST_ISSUERS:
        return [Cause("jwt", "FieldValueTooMany", f"Too many: {len(configuration.jwt)}: must have at most {_MOST_ISSUERS} items")]
    found = [
        fault for index, config in enumerate(configuration.jwt) for fault in issuer_faults(config, f"jwt[{index}]", disallowed_issuers)
    ]
    found += _repeated("issuer.url", [config.issuer.url for config in configuration.jwt])
    found += _repeated("issuer.discoveryURL", [config.issuer.discovery_url for config in configuration.jwt])
    anonymous = configuration.anonymous
    if anonymous is not None and not anonymous.enabled and anonymous.paths:
        found.append(
            Cause.invalid("anonymous.conditions", list(anonymous.paths), "enabled should be set to true when conditions are defined")
        )
    return found


def issuer_faults(config: JWTConfig, path: str, disallowed_issuers: Collection[str] = ()) -> list[Cause]:
    """Those of one issuer."""
    found = list(_issuer(config.issuer, f"{path}.issuer", disallowed_issuers))
    found += _claim_rules(config.claim_rules, f"{path}.claimValidationRules")
    where = f"{path}.claimMappings"
    found += _mapping(config.username, f"{where}.username", is_required=True)
    found += _mapping(config.groups, f"{where}.groups", is_required=False)
    found += _uid(config.uid, f"{where}.uid")
    found += _extra(config.extra, f"{where}.extra")
    if not found and not _knows_that_email_is_verified(config):
        found.append(Cause.invalid(f"{where}.username.expression", config.username.expression, _EMAIL))
    return [*found, *_user_rules(config, f"{path}.userValidationRules")]


def _repeated(field: str, values: list[str]) -> Iterator[Cause]:
    seen = Counter[str]()
    for index, value in enumerate(values):
        seen[value] += 1
        if value and seen[value] > 1:
            yield Cause.duplicate(f"jwt[{index}].{field}", value)


def _issuer(issuer: Issuer, path: str, disallowed: Collection[str]) -> Iterator[Cause]:
    if not issuer.url:
        yield Cause.required(f"{path}.url")
    else:
        if issuer.url in disallowed:
            text = f"URL must not overlap with disallowed issuers: [{' '.join(sorted(disallowed))}]"
            yield Cause.invalid(f"{path}.url", issuer.url, text)
        yield from _url(issuer.url, f"{path}.url")
    if issuer.discovery_url:
        if issuer.url.rstrip("/") == issuer.discovery_url.rstrip("/"):
            yield Cause.invalid(f"{path}.discoveryURL", issuer.discovery_url, "discoveryURL must be different from URL")
        yield from _url(issuer.discovery_url, f"{path}.discoveryURL")
    yield from _audiences(issuer, path)
    if issuer.certificate_authority:
        try:
            ssl.create_default_context(cadata=issuer.certificate_authority)
        except (ssl.SSLError, ValueError):
            yield Cause.invalid(f"{path}.certificateAuthority", "<omitted>", "data does not contain any valid RSA or ECDSA certificates")
    if issuer.egress_selector:
        yield Cause.invalid(f"{path}.egressSelectorType", issuer.egress_selector, "this server has no egress selectors: leave it out")


def _url(url: str, path: str) -> Iterator[Cause]:
    try:
        parts = urlsplit(url)
    except ValueError as fault:
        yield Cause.invalid(path, url, str(fault))
        return
    if parts.scheme != "https":
        yield Cause.invalid(path, url, "URL scheme must be https")
    if parts.username is not None:
        yield Cause.invalid(path, url, "URL must not contain a username or password")
    if parts.query:
        yield Cause.invalid(path, url, "URL must not contain a query")
    if parts.fragment:
        yield Cause.invalid(path, url, "URL must not contain a fragment")


def _audiences(issuer: Issuer, path: str) -> Iterator[Cause]:
    field, policy = f"{path}.audiences", f"{path}.audienceMatchPolicy"
    if not issuer.audiences:
        yield Cause.required(field, f"at least one {field} is required")
        return
    for index, audience in enumerate(issuer.audiences):
        if not audience:
            yield Cause.required(f"{field}[{index}]")
        if audience in issuer.audiences[:index]:
            yield Cause.duplicate(f"{field}[{index}]", audience)
    if len(issuer.audiences) > 1 and issuer.audience_match_policy != "MatchAny":
        yield Cause.invalid(policy, issuer.audience_match_policy, "audienceMatchPolicy must be MatchAny for multiple audiences")
    if len(issuer.audiences) == 1 and issuer.audience_match_policy not in ("", "MatchAny"):
        yield Cause.invalid(policy, issuer.audience_match_policy, "audienceMatchPolicy must be empty or MatchAny for single audience")


def _expression(text: str, path: str, over: str, kinds: tuple[str, ...]) -> list[Cause]:
    fault = fault_of(text, over, kinds)
    return [Cause.invalid(path, text, fault)] if fault else []


def _claim_rules(rules: tuple[ClaimRule, ...], path: str) -> Iterator[Cause]:
    for index, rule in enumerate(rules):
        where, earlier = f"{path}[{index}]", rules[:index]
        if rule.claim and rule.expression:
            yield Cause.invalid(where, rule.claim, _BOTH)
        elif rule.claim:
            if rule.message:
                yield Cause.invalid(f"{where}.message", rule.message, "may not be specified when claim is set")
            if any(other.claim == rule.claim for other in earlier):
                yield Cause.duplicate(f"{where}.claim", rule.claim)
        elif rule.expression:
            if rule.required_value:
                yield Cause.invalid(f"{where}.requiredValue", rule.required_value, "may not be specified when expression is set")
            if any(other.expression == rule.expression for other in earlier):
                yield Cause.duplicate(f"{where}.expression", rule.expression)
            yield from _expression(rule.expression, f"{where}.expression", CLAIMS, BOOL)
        else:
            yield Cause.required(where, "claim or expression is required")


def _mapping(mapping: ClaimOrExpression, path: str, *, is_required: bool) -> Iterator[Cause]:
    if mapping.claim and mapping.expression:
        yield Cause.invalid(path, "", _BOTH)
    elif mapping.expression:
        if mapping.prefix is not None:
            yield Cause.invalid(f"{path}.prefix", mapping.prefix, "may not be specified when expression is set")
        yield from _expression(mapping.expression, f"{path}.expression", CLAIMS, TEXT if is_required else TEXTS)
    elif mapping.claim:
        if mapping.prefix is None:
            text = "prefix is required when claim is set. It can be set to an empty string to disable prefixing"
            yield Cause.required(f"{path}.prefix", text)
    elif is_required:
        yield Cause.required(path, "claim or expression is required")


def _uid(mapping: ClaimOrExpression, path: str) -> list[Cause]:
    if mapping.claim and mapping.expression:
        return [Cause.invalid(path, "", _BOTH)]
    return _expression(mapping.expression, f"{path}.expression", CLAIMS, TEXT) if mapping.expression else []


def _extra(mappings: tuple[ExtraMapping, ...], path: str) -> Iterator[Cause]:
    for index, mapping in enumerate(mappings):
        where, key = f"{path}[{index}]", mapping.key
        domain, slash, rest = key.partition("/")
        if not key:
            yield Cause.required(f"{where}.key")
        elif not slash or not rest or names.dns1123_subdomain(domain):
            yield Cause.invalid(f"{where}.key", key, 'must be a domain-prefixed path (such as "acme.io/foo")')
        if key != key.lower():
            yield Cause.invalid(f"{where}.key", key, "must be lowercase")
        if any(domain == reserved or domain.endswith(f".{reserved}") for reserved in _RESERVED_DOMAINS):
            yield Cause.invalid(f"{where}.key", key, "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use")
        if any(other.key == key for other in mappings[:index]):
            yield Cause.duplicate(f"{where}.key", key)
        elif not mapping.expression:
            yield Cause.required(f"{where}.valueExpression")
        else:
            yield from _expression(mapping.expression, f"{where}.valueExpression", CLAIMS, TEXTS)


_EMAIL = (
    "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or "
    "claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression"
)


def _knows_that_email_is_verified(config: JWTConfig) -> bool:
    """Whoever names users by their address has to look whether the issuer has seen it to be theirs."""
    name = config.username.expression
    if not name or not reads_claim(name, "email"):
        return True
    others = [*(mapping.expression for mapping in config.extra), *(rule.expression for rule in config.claim_rules if rule.expression)]
    return any(reads_claim(text, "email_verified") for text in (name, *others))


def _user_rules(config: JWTConfig, path: str) -> Iterator[Cause]:
    for index, rule in enumerate(config.user_rules):
        where = f"{path}[{index}].expression"
        if not rule.expression:
            yield Cause.required(where)
        elif any(other.expression == rule.expression for other in config.user_rules[:index]):
            yield Cause.duplicate(where, rule.expression)
        else:
            yield from _expression(rule.expression, where, USER, BOOL)
