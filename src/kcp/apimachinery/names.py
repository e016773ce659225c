"""What a name, a label and an annotation key may look like.

Before: selectors, built-in validation, CRD checks. Each function gives the list of faults in upstream's words; empty means legal.
Source: k8s.io/apimachinery/pkg/util/validation/validation.go.
"""

from __future__ import annotations

import re

from kcp.apimachinery.remember import remembered

_LABEL_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_DNS1123_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS1123_SUBDOMAIN = rf"{_DNS1123_LABEL}(\.{_DNS1123_LABEL})*"
_DNS1035_LABEL = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_CONFIG_KEY = r"[-._a-zA-Z0-9]+"
_PORT_NAME_CHARS = re.compile(r"^[-a-z0-9]+$")

_label_value = re.compile(_LABEL_VALUE + r"\Z")
_qualified = re.compile(_QUALIFIED + r"\Z")
_dns1123_label = re.compile(_DNS1123_LABEL + r"\Z")
_dns1123_subdomain = re.compile(_DNS1123_SUBDOMAIN + r"\Z")
_dns1035_label = re.compile(_DNS1035_LABEL + r"\Z")
_HTTP_HEADER = re.compile(r"[-A-Za-z0-9]+\Z")
_config_key = re.compile(_CONFIG_KEY + r"\Z")


def _too_long(limit: int, unit: str = "characters") -> str:
    """Labels count bytes, names count characters; both are ASCII. Source: api/validate/content/errors.go, util/validation."""
    return f"must be no more than {limit} {unit}"


def _regex_fault(rule: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{e}'" + (", " if i < len(examples) - 1 else "") for i, e in enumerate(examples))
    return f"{rule} (e.g. {shown}, regex used for validation is '{pattern}')"


def qualified_name(text: str) -> list[str]:
    """Faults of a label key, annotation key, finalizer or resource name: `[prefix/]name`.

    >>> qualified_name("example.com/app"), qualified_name("")[0]
    ([], 'name part must be non-empty')
    """
    return list(_qualified_name(text))


@remembered(4096)
def _qualified_name(text: str) -> list[str]:
    """The same few keys come with every object."""
    faults: list[str] = []
    head, slash, name = text.rpartition("/")
    if "/" in head:
        return ["a qualified name " + _regex_fault(_QUALIFIED_RULE, _QUALIFIED, "MyName", "my.name", "123-abc") + _PREFIX_HINT]
    if slash:
        if not head:
            faults.append("prefix part must be non-empty")
        else:
            faults.extend("prefix part " + fault for fault in dns1123_subdomain(head, unit="bytes"))
    if not name:
        faults.append("name part must be non-empty")
    elif len(name) > 63:
        faults.append("name part " + _too_long(63, "bytes"))
    if not _qualified.match(name):
        faults.append("name part " + _regex_fault(_QUALIFIED_RULE, _QUALIFIED, "MyName", "my.name", "123-abc"))
    return faults


_QUALIFIED_RULE = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
_PREFIX_HINT = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"


def label_value(text: str) -> list[str]:
    faults = [_too_long(63, "bytes")] if len(text) > 63 else []
    if not _label_value.match(text):
        rule = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
            "and must start and end with an alphanumeric character"
        )
        faults.append(_regex_fault(rule, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return faults


def dns1123_subdomain(text: str, *, unit: str = "characters") -> list[str]:
    """Faults of an ordinary object name."""
    faults = [_too_long(253, unit)] if len(text) > 253 else []
    if not _dns1123_subdomain.match(text):
        rule = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
            "and must start and end with an alphanumeric character"
        )
        faults.append(_regex_fault(rule, _DNS1123_SUBDOMAIN, "example.com"))
    return faults


def dns1123_label(text: str) -> list[str]:
    """Faults of a namespace's or container's name."""
    faults = [_too_long(63)] if len(text) > 63 else []
    if not _dns1123_label.match(text):
        rule = (
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
            "and must start and end with an alphanumeric character"
        )
        faults.append(_regex_fault(rule, _DNS1123_LABEL, "my-name", "123-abc"))
    return faults


def dns1035_label(text: str) -> list[str]:
    """Faults of a CRD's plural, singular or short name, or of a Service's name."""
    faults = [_too_long(63)] if len(text) > 63 else []
    if not _dns1035_label.match(text):
        rule = (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
            "and end with an alphanumeric character"
        )
        faults.append(_regex_fault(rule, _DNS1035_LABEL, "my-name", "abc-123"))
    return faults


def path_segment(text: str) -> list[str]:
    """Faults of a name that only has to fit into a URL: RBAC objects."""
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    return [f"may not contain '{bad}'" for bad in ("/", "%") if bad in text]


def env_name(text: str) -> list[str]:
    """Source: k8s.io/apimachinery/pkg/util/validation.IsRelaxedEnvVarName (KEP-4369, the only rule since 1.34)."""
    if all(" " <= char <= "~" and char != "=" for char in text):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def http_header(text: str) -> list[str]:
    if _HTTP_HEADER.match(text):
        return []
    return [_regex_fault("a valid HTTP header must consist of alphanumeric characters or '-'", "[-A-Za-z0-9]+", "X-Header-Name")]


def config_map_key(text: str) -> list[str]:
    faults = [_too_long(253)] if len(text) > 253 else []
    if not _config_key.match(text):
        rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        faults.append(_regex_fault(rule, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    if text == ".":
        faults.append("must not be '.'")
    elif text == "..":
        faults.append("must not be '..'")
    elif text.startswith(".."):
        faults.append("must not start with '..'")
    return faults


def port_name(text: str) -> list[str]:
    """Faults of an IANA service name."""
    faults = ["must be no more than 15 characters"] if len(text) > 15 else []
    if not _PORT_NAME_CHARS.match(text):
        faults.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any(c.isalpha() for c in text):
        faults.append("must contain at least one letter (a-z)")
    if "--" in text:
        faults.append("must not contain consecutive hyphens")
    if text[:1] == "-" or text[-1:] == "-":
        faults.append("must not begin or end with a hyphen")
    return faults
