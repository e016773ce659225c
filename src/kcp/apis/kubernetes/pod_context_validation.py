"""Rules of what surrounds a pod's containers: sysctls, DNS, names of hosts, seccomp profiles.

Before: `pod_validation`. Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at

_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = rf"^({_SEGMENT}[\./])*{_SEGMENT}$"
_IS_SYSCTL = re.compile(_SYSCTL[:-1] + r"\Z")
_LONGEST_SYSCTL = 253
_NAMESERVERS, _SEARCHES, _SEARCH_CHARACTERS = 3, 32, 2048
_SECCOMP = ("Localhost", "RuntimeDefault", "Unconfined")


def surroundings(held: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """Of a PodSpec."""
    yield from _sysctls(obj_at(held, "securityContext"), f"{at}.securityContext")
    yield from seccomp(obj_at(held, "securityContext"), f"{at}.securityContext")
    yield from _dns(held, f"{at}.dnsConfig")
    for path, alias in numbered(held, "hostAliases", f"{at}.hostAliases"):
        yield from checks.ip(alias.get("ip"), f"{path}.ip")
        for index, host in enumerate(list_at(alias, "hostnames")):
            yield from checks.named(host, f"{path}.hostnames[{index}]", names.dns1123_subdomain)


def _sysctls(context: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """Source: validateSysctls, IsValidSysctlName."""
    seen: set[str] = set()
    for path, each in numbered(context, "sysctls", f"{at}.sysctls"):
        name = str(each.get("name") or "")
        same = name.replace("/", ".")
        if not name:
            yield Cause.required(f"{path}.name")
        elif len(name) > _LONGEST_SYSCTL or not _IS_SYSCTL.match(name):
            yield Cause.invalid(f"{path}.name", name, f"must have at most {_LONGEST_SYSCTL} characters and match regex {_SYSCTL}")
        elif same in seen:
            yield Cause.duplicate(f"{path}.name", name)
        seen.add(same)


def seccomp(context: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """Of a pod or a container. Source: validateSeccompProfileField."""
    profile, at = context.get("seccompProfile"), f"{at}.seccompProfile"
    if not isinstance(profile, Mapping):
        return
    yield from checks.one_of(profile, at, "type", _SECCOMP)
    local = profile.get("localhostProfile")
    if profile.get("type") == "Localhost":
        if not local:
            yield Cause.required(f"{at}.localhostProfile", "must be set when seccomp type is Localhost")
        elif str(local).startswith("/"):
            yield Cause.invalid(f"{at}.localhostProfile", local, "must be a relative path")
        elif ".." in str(local).split("/"):
            yield Cause.invalid(f"{at}.localhostProfile", local, "must not contain '..'")
    elif local is not None:
        yield Cause.invalid(f"{at}.localhostProfile", local, "can only be set when seccomp type is Localhost")


def _dns(held: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """Source: validatePodDNSConfig."""
    config = held.get("dnsConfig")
    if held.get("dnsPolicy") == "None":
        if not isinstance(config, Mapping):
            yield Cause.required(at, "must provide `dnsConfig` when `dnsPolicy` is None")
        elif not list_at(config, "nameservers"):
            yield Cause.required(f"{at}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")
    servers, searches = list_at(config, "nameservers"), list_at(config, "searches")
    if len(servers) > _NAMESERVERS:
        yield Cause.invalid(f"{at}.nameservers", servers, f"must not have more than {_NAMESERVERS} nameservers")
    for index, server in enumerate(servers):
        yield from checks.ip(server, f"{at}.nameservers[{index}]")
    if len(searches) > _SEARCHES:
        yield Cause.invalid(f"{at}.searches", searches, f"must not have more than {_SEARCHES} search paths")
    if len(" ".join(map(str, searches))) > _SEARCH_CHARACTERS:
        detail = f"must not have more than {_SEARCH_CHARACTERS} characters (including spaces) in the search list"
        yield Cause.invalid(f"{at}.searches", searches, detail)
    for index, search in enumerate(searches):
        if search != ".":
            yield from checks.named(str(search).removesuffix(".").replace("_", "a"), f"{at}.searches[{index}]", names.dns1123_subdomain)
    for path, option in numbered(config, "options", f"{at}.options"):
        if not option.get("name"):
            yield Cause.required(f"{path}.name", "must not be empty")
