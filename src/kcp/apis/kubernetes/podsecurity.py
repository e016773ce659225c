"""The Pod Security Standards: what of a pod's spec violates the levels `baseline` and `restricted`. Pure.

Before: `apiserver.admission.podsecurity`. Source: k8s.io/pod-security-admission/policy (the latest version of each check), KEP-2579.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from kcp.apis.kubernetes.checks import list_at, obj_at

_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_DEFAULT_CAPABILITIES = frozenset((
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP",
    "SETUID", "SYS_CHROOT",
))  # fmt: skip
_SAFE_SYSCTLS = frozenset((
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
))  # fmt: skip
_SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_VOLUMES = frozenset(("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"))
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBED = "probe or lifecycle host"
_SINCE = {_PROBED: 34}
"""Minor versions that checks came with, where a level of an earlier version does without."""
_SECCOMP = ("RuntimeDefault", "Localhost")
_MUST_SECCOMP = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'

Spec: TypeAlias = Mapping[str, Any]
Check: TypeAlias = Callable[[Spec], str]
"""The details of the violation; "" for none."""


def violations(spec: Spec, level: str, annotations: Mapping[str, str], version: str = "latest") -> list[tuple[str, str]]:
    """Reason and details of each check that a pod fails, in upstream's order.

    Args: version: of the level, `latest` or `v1.N`; what was checked otherwise in earlier versions is checked as it is now.
    """
    checks = {"baseline": _BASELINE, "restricted": _RESTRICTED}.get(level)
    if checks is None:
        return []
    minor = version.removeprefix("v1.")
    found = ((reason, check(spec)) for reason, check in checks if not minor.isdigit() or int(minor) >= _SINCE.get(reason, 0))
    return [*_app_armor(annotations), *((reason, details) for reason, details in found if details)]


def _app_armor(annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Source: check_appArmorProfile.go."""
    given = {name: value for name, value in annotations.items() if name.startswith(_APP_ARMOR)}
    bad = sorted(
        f'{name}="{value}"' for name, value in given.items() if value not in ("", "runtime/default") and not value.startswith("localhost/")
    )
    if bad:
        yield f"forbidden AppArmor profile{'s' if len(bad) > 1 else ''}", ", ".join(bad)


def _containers(spec: Spec) -> Iterator[Mapping[str, Any]]:
    for kind in _CONTAINERS:
        yield from (held for held in list_at(spec, kind) if isinstance(held, Mapping))


def _context(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    return obj_at(holder, "securityContext")


def _named(containers: Iterable[Mapping[str, Any]]) -> str:
    """`container "a"`, `containers "a", "b"`; "" for none."""
    names = [f'"{held.get("name")}"' for held in containers]
    return f"container{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else ""


def _each(spec: Spec, is_bad: Callable[[Mapping[str, Any]], Any], rule: str) -> str:
    named = _named(held for held in _containers(spec) if is_bad(held))
    return f"{named} {rule}" if named else ""


def _quoted(words: Iterable[Any]) -> str:
    return ", ".join(f'"{word}"' for word in sorted({str(word) for word in words}))


def _host_namespaces(spec: Spec) -> str:
    return ", ".join(f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field))


def _sources(spec: Spec) -> Iterator[tuple[str, str]]:
    """Name and type of each volume."""
    for volume in list_at(spec, "volumes"):
        kinds = [field for field, value in volume.items() if field != "name" and value is not None]
        yield str(volume.get("name")), kinds[0] if kinds else "emptyDir"


def _host_paths(spec: Spec) -> str:
    names = [f'"{name}"' for name, kind in _sources(spec) if kind == "hostPath"]
    return f"volume{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else ""


def _host_ports(spec: Spec) -> str:
    def ports(held: Mapping[str, Any]) -> list[int]:
        return [port["hostPort"] for port in list_at(held, "ports") if port.get("hostPort")]

    bad = [held for held in _containers(spec) if ports(held)]
    numbers = sorted({str(number) for held in bad for number in ports(held)})
    uses, called = ("use" if len(bad) > 1 else "uses"), ("hostPorts" if len(numbers) > 1 else "hostPort")
    return f"{_named(bad)} {uses} {called} {', '.join(numbers)}" if bad else ""


def _probed_hosts(spec: Spec) -> str:
    """Source: check_hostProbesAndhostLifecycle.go."""

    def hosts(held: Mapping[str, Any]) -> set[str]:
        handlers = [*(obj_at(held, probe) for probe in _PROBES), *(obj_at(held, "lifecycle", hook) for hook in ("postStart", "preStop"))]
        return {str(host) for handler in handlers for way in ("httpGet", "tcpSocket") if (host := obj_at(handler, way).get("host"))}

    bad = sorted({str(held.get("name")) for held in _containers(spec) if hosts(held)})
    named = sorted({host for held in _containers(spec) for host in hosts(held)})
    if not bad:
        return ""
    containers, uses = ("containers", "use") if len(bad) > 1 else ("container", "uses")
    return f"{containers} {_quoted(bad)} {uses} probe or lifecycle host{'s' if len(named) > 1 else ''} {_quoted(named)}"


def _privileged(spec: Spec) -> str:
    return _each(spec, lambda held: _context(held).get("privileged"), "must not set securityContext.privileged=true")


def _added(held: Mapping[str, Any], allowed: Iterable[str]) -> list[str]:
    return [name for name in list_at(_context(held), "capabilities", "add") if name not in allowed]


def _capabilities(spec: Spec, allowed: Iterable[str] = _DEFAULT_CAPABILITIES) -> str:
    bad = [held for held in _containers(spec) if _added(held, allowed)]
    names = _quoted(name for held in bad for name in _added(held, allowed))
    return f"{_named(bad)} must not include {names} in securityContext.capabilities.add" if bad else ""


def _proc_mount(spec: Spec) -> str:
    kinds = [_context(held).get("procMount") for held in _containers(spec)]
    told = f"must not set securityContext.procMount to {_quoted(kind for kind in kinds if kind not in (None, 'Default'))}"
    return _each(spec, lambda held: _context(held).get("procMount") not in (None, "Default"), told)


def _selinux(spec: Spec) -> str:
    def options(holder: Mapping[str, Any]) -> Mapping[str, Any]:
        return obj_at(_context(holder), "seLinuxOptions")

    def is_bad(holder: Mapping[str, Any]) -> bool:
        held = options(holder)
        return held.get("type", "") not in _SELINUX_TYPES or bool(held.get("user") or held.get("role"))

    holders = [spec, *_containers(spec)]
    bad = [holder for holder in holders if is_bad(holder)]
    if not bad:
        return ""
    kinds = {str(options(holder).get("type", "")) for holder in bad} - set(_SELINUX_TYPES)
    parts = [f"type{'s' if len(kinds) > 1 else ''} {_quoted(kinds)}"] if kinds else []
    parts += [f"{field} may not be set" for field in ("user", "role") if any(options(holder).get(field) for holder in bad)]
    return f"{_pod_and(spec, bad)} set forbidden securityContext.seLinuxOptions: {'; '.join(parts)}"


def _pod_and(spec: Spec, bad: Sequence[Mapping[str, Any]]) -> str:
    named = _named(holder for holder in bad if holder is not spec)
    return " and ".join(part for part in ("pod" if any(holder is spec for holder in bad) else "", named) if part)


def _seccomp_of(holder: Mapping[str, Any]) -> Any:
    return obj_at(_context(holder), "seccompProfile").get("type")


def _no_unconfined(spec: Spec) -> str:
    bad = [holder for holder in (spec, *_containers(spec)) if _seccomp_of(holder) not in (None, *_SECCOMP)]
    kinds = _quoted(_seccomp_of(holder) for holder in bad)
    return f"{_pod_and(spec, bad)} must not set securityContext.seccompProfile.type to {kinds}" if bad else ""


def _sysctls(spec: Spec) -> str:
    return ", ".join(str(each.get("name")) for each in list_at(_context(spec), "sysctls") if each.get("name") not in _SAFE_SYSCTLS)


def _host_process(spec: Spec) -> str:
    bad = [holder for holder in (spec, *_containers(spec)) if obj_at(_context(holder), "windowsOptions").get("hostProcess")]
    return f"{_pod_and(spec, bad)} must not set securityContext.windowsOptions.hostProcess=true" if bad else ""


def _escalation(spec: Spec) -> str:
    return _each(
        spec,
        lambda held: _context(held).get("allowPrivilegeEscalation") is not False,
        "must set securityContext.allowPrivilegeEscalation=false",
    )


def _all_dropped(spec: Spec) -> str:
    kept = _each(
        spec,
        lambda held: "ALL" not in list_at(_context(held), "capabilities", "drop"),
        'must set securityContext.capabilities.drop=["ALL"]',
    )
    return "; ".join(part for part in (kept, _capabilities(spec, ("NET_BIND_SERVICE",))) if part)


def _volume_types(spec: Spec) -> str:
    bad = [(name, kind) for name, kind in _sources(spec) if kind not in _VOLUMES]
    if not bad:
        return ""
    names, kinds = ", ".join(f'"{name}"' for name, _ in bad), {kind for _, kind in bad}
    several = len(bad) > 1
    called = f"restricted volume type{'s' if len(kinds) > 1 else ''} {_quoted(kinds)}"
    return f"volume{'s' if several else ''} {names} {'use' if several else 'uses'} {called}"


def _non_root(spec: Spec) -> str:
    held = _context(spec).get("runAsNonRoot")
    explicit = [each for each in _containers(spec) if _context(each).get("runAsNonRoot") is False]
    implicit = [each for each in _containers(spec) if _context(each).get("runAsNonRoot") is None and held is None]
    bad = [*([spec] if held is False and any(_context(each).get("runAsNonRoot") is None for each in _containers(spec)) else []), *explicit]
    if bad:
        return f"{_pod_and(spec, bad)} must not set securityContext.runAsNonRoot=false"
    return f"pod or {_named(implicit)} must set securityContext.runAsNonRoot=true" if implicit else ""


def _no_zero(spec: Spec) -> str:
    bad = [holder for holder in (spec, *_containers(spec)) if _context(holder).get("runAsUser") == 0]
    return f"{_pod_and(spec, bad)} must not set runAsUser=0" if bad else ""


def _seccomp(spec: Spec) -> str:
    if forbidden := _no_unconfined(spec):
        return forbidden
    missing = [held for held in _containers(spec) if _seccomp_of(held) is None and _seccomp_of(spec) is None]
    return f"pod or {_named(missing)} {_MUST_SECCOMP}" if missing else ""


_ALWAYS: tuple[tuple[str, Check], ...] = (
    ("host namespaces", _host_namespaces),
    ("hostPort", _host_ports),
    (_PROBED, _probed_hosts),
    ("privileged", _privileged),
    ("procMount", _proc_mount),
    ("seLinuxOptions", _selinux),
    ("forbidden sysctls", _sysctls),
    ("hostProcess", _host_process),
)
_BASELINE: tuple[tuple[str, Check], ...] = (
    ("non-default capabilities", _capabilities),
    _ALWAYS[0],
    ("hostPath volumes", _host_paths),
    *_ALWAYS[1:6],
    ("seccompProfile", _no_unconfined),
    *_ALWAYS[6:],
)
_RESTRICTED: tuple[tuple[str, Check], ...] = (
    *_ALWAYS,
    ("allowPrivilegeEscalation != false", _escalation),
    ("unrestricted capabilities", _all_dropped),
    ("restricted volume types", _volume_types),
    ("runAsNonRoot != true", _non_root),
    ("runAsUser=0", _no_zero),
    ("seccompProfile", _seccomp),
)
"""Its checks of capabilities, volumes and seccomp stand in for those of `baseline`."""
